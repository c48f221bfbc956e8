"""Throttles: never more than they allow, and no longer a wait than that takes."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.throttle import SECONDS, SLOTS, Meter, Spending, Window, ages, is_recorded, keep_spending
from coordinator.models import Throttle

Period = Literal["second", "minute", "hour", "day"]
NOW = 1_700_000_000.0
PERIODS: list[Period] = ["second", "minute", "hour", "day"]
RECORDED = st.sampled_from(PERIODS[1:])
# Gaps as parts of a period: within a slot, around a slot, and up to more than the whole period.
GAPS = st.one_of(st.floats(0, 0.003), st.floats(0, 1.2), st.just(1.0))
WISHES = st.lists(st.tuples(GAPS, st.integers(1, 40)), max_size=60)


def throttle(value: int, period: Period = "minute") -> Throttle:
    """A throttle."""
    return Throttle(type="throttle", period=period, value=value)


def meter(*throttles: Throttle, spent: tuple[Spending, ...] = ()) -> Meter:
    """A meter that begins now."""
    return Meter(throttles, ages(spent, NOW), NOW)


def moments(wishes: list[tuple[float, int]], period: float) -> list[Spending]:
    """The wishes with their times, from a period after the meter's beginning."""
    times = accumulate((gap * period for gap, _ in wishes), initial=NOW + period)
    return [(at, items) for at, (_, items) in zip(times, wishes, strict=False)]


def most(spent: list[Spending], period: float) -> int:
    """The most items in any window of one period; a window that holds the most ends at some spending."""
    return max((sum(items for at, items in spent if end - period < at <= end) for end, _ in spent), default=0)


@given(st.sampled_from(PERIODS), st.integers(1, 60), WISHES)
def test_no_window_holds_more_than_the_value(period: Period, value: int, wishes: list[tuple[float, int]]) -> None:
    """Wherever a window of one period is laid, no more than `value` items went in it."""
    subject = meter(throttle(value, period))
    went: list[Spending] = []
    for at, items in moments(wishes, SECONDS[period]):
        if items <= value and subject.allows(at, items):
            subject.spend(at, items)
            went.append((at, items))
    assert most(went, SECONDS[period]) <= value


@given(st.integers(1, 60), st.integers(1, 60), WISHES)
def test_several_throttles_all_apply(minute: int, hour: int, wishes: list[tuple[float, int]]) -> None:
    """With a throttle a minute and one an hour, neither is ever exceeded."""
    subject = meter(throttle(minute), throttle(hour, "hour"))
    went: list[Spending] = []
    for at, items in moments(wishes, SECONDS["minute"]):
        if items <= min(minute, hour) and subject.allows(at, items):
            subject.spend(at, items)
            went.append((at, items))
    assert most(went, SECONDS["minute"]) <= minute
    assert most(went, SECONDS["hour"]) <= hour


@given(RECORDED, st.integers(1, 60), st.integers(1, 60), st.integers(1, 100), WISHES)
def test_after_the_wait_it_may_go_and_not_before(
    period: Period, value: int, daily: int, items: int, wishes: list[tuple[float, int]]
) -> None:
    """wait() is 0 exactly when the items may go; after it they may, and shortly before it they may not."""
    subject = meter(throttle(value, period), throttle(daily, "day"))
    now = NOW
    for at, spent in moments(wishes, SECONDS[period]):
        if subject.allows(at, spent):
            subject.spend(at, spent)
        now = at
    wait = subject.wait(now, items)
    assert (wait == 0) is subject.allows(now, items)
    early = 1e-3
    if wait > early:
        assert not subject.allows(now + wait - early, items)
    assert subject.allows(now + wait + early, items)


def test_a_batch_larger_than_its_smallest_throttle_waits_for_the_others_too() -> None:
    """Where a batch may never fit one throttle, the wait is still that for all of it under the larger ones."""
    subject = meter(throttle(5), throttle(20, "hour"))
    subject.spend(NOW, 15)
    later = NOW + 60
    assert not subject.allows(later, 10)
    assert subject.wait(later, 10) == 3600 - 60


def test_a_larger_batch_goes_when_the_window_is_empty() -> None:
    """A batch that came back is not split: larger than the throttle, it passes an empty window and no other."""
    subject = meter(throttle(10))
    assert subject.allows(NOW, 100)
    subject.spend(NOW, 1)
    assert not subject.allows(NOW + 59.9, 100)
    assert subject.wait(NOW, 100) == 60
    assert subject.allows(NOW + 60, 100)
    subject.spend(NOW + 60, 100)
    assert not subject.allows(NOW + 119.9, 1)
    assert subject.allows(NOW + 120, 1)


def test_a_steady_trickle_below_the_throttle_is_never_held_back() -> None:
    """However small the gaps between spendings, what is older than a period does not count any more."""
    subject = meter(throttle(6000))
    for step in range(15_000):
        now = NOW + step * 0.02
        assert subject.allows(now, 1)
        subject.spend(now, 1)


def test_a_clock_that_is_set_back_gives_nothing_away() -> None:
    """What was spent before the clock went back is as late as it was."""
    window = Window(throttle(10))
    window.spend(NOW, 9)
    window.spend(NOW - 0.01, 1)
    assert window.room(NOW + 59.995) == 0
    assert keep_spending(((NOW, 9),), (NOW - 0.01, 1), 60.0) == ((NOW, 10),)


def test_no_throttle_no_limit() -> None:
    """Without throttles everything goes at once, and nothing need be recorded."""
    subject = meter()
    subject.spend(NOW, 10**9)
    assert subject.allows(NOW, 10**9)
    assert subject.wait(NOW, 10**9) == 0
    assert not subject.is_recorded


def test_which_periods_are_recorded() -> None:
    """Only a window that a change of owner may fall into is worth an entry in the registry: not that of a second."""
    assert [is_recorded(SECONDS[period]) for period in PERIODS] == [False, True, True, True]
    assert not meter(throttle(1, "second")).is_recorded
    assert meter(throttle(1, "second"), throttle(1)).is_recorded


@given(RECORDED, st.integers(1, 60), WISHES)
def test_the_next_owner_takes_up_where_the_last_one_left(
    period: Period, value: int, wishes: list[tuple[float, int]]
) -> None:
    """Whenever the owner changes, what the registry recorded keeps every window within the throttle."""
    length = SECONDS[period]
    recorded: tuple[Spending, ...] = ()
    went: list[Spending] = []
    for at, items in moments(wishes, length):
        subject = Meter([throttle(value, period)], ages(recorded, at), at)  # a new owner at each step
        if items <= value and subject.allows(at, items):
            recorded = keep_spending(recorded, (at, items), length)
            went.append((at, items))
    assert most(went, length) <= value


def test_a_window_of_a_second_starts_used_up() -> None:
    """What the last owner spent within the last second is not recorded, so the next one waits a second."""
    subject = meter(throttle(5, "second"))
    assert not subject.allows(NOW + 0.5, 1)
    assert subject.wait(NOW, 1) == 1.0
    assert subject.allows(NOW + 1, 5)


def test_recorded_spending_may_come_in_any_order() -> None:
    """A window is the same whatever the order of its entries."""
    spent = ((NOW - 30, 2), (NOW - 50, 3), (NOW - 61, 5))
    subject = meter(throttle(10), spent=spent)
    assert subject.allows(NOW, 5)
    assert not subject.allows(NOW, 6)
    assert subject.wait(NOW, 8) == 10


@given(WISHES)
def test_kept_spending_is_complete_and_short(wishes: list[tuple[float, int]]) -> None:
    """Nothing that a window can still see is forgotten, what none can see is, and no entry is dated back."""
    longest = SECONDS["hour"]
    kept: tuple[Spending, ...] = ()
    all_of_it = moments(wishes, longest)
    for number, (at, items) in enumerate(all_of_it, 1):
        kept = keep_spending(kept, (at, items), longest)
        past = all_of_it[:number]
        for moment, _ in past:
            assert sum(n for when, n in kept if when >= moment) >= sum(
                n for when, n in past if when >= moment > at - longest
            )
        assert kept[0][0] > at - longest
    assert len(kept) <= SLOTS + 1


def test_kept_spending_of_a_trickle_is_bounded() -> None:
    """A hundred spendings a second for three minutes leave a minute's worth, in at most one entry a slot."""
    kept: tuple[Spending, ...] = ()
    for step in range(18_000):
        kept = keep_spending(kept, (NOW + step / 100, 1), 60.0)
    assert len(kept) <= SLOTS + 1
    assert 6000 <= sum(items for _, items in kept) <= 6000 * (1 + 2 / SLOTS)

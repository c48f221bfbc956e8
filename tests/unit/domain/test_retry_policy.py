"""What becomes of a batch that came back: the whole table."""

from __future__ import annotations

from itertools import product

import pytest

from coordinator.domain.retry_policy import LAST_OFFERS, SUSPECT_AFTER, Memory, Verdict, judge
from coordinator.models import Batch

LIMIT = 5


def batch(attempt: int) -> Batch:
    """A batch at this attempt."""
    return Batch("b", "s", 1, attempt, (), "", 1, b'[{"id":"x"}]')


@pytest.mark.parametrize(("attempt", "stale"), list(product([1, LIMIT, LIMIT + 1], [False, True])))
def test_a_failed_last_offer_is_dead(attempt: int, stale: bool) -> None:  # noqa: FBT001 - a column of the table
    """A batch that failed even when it was offered alone goes to the dead letters, released seed or not."""
    assert judge(batch(attempt), failed=True, alone=True, stale=stale, limit=LIMIT) is Verdict.DEAD


@pytest.mark.parametrize(
    ("attempt", "failed", "alone"),
    [row for row in product([1, 3, LIMIT, LIMIT + 1], [False, True], [False, True]) if row[1:] != (True, True)],
)
def test_a_stale_batch_becomes_available(attempt: int, failed: bool, alone: bool) -> None:  # noqa: FBT001 - columns
    """What came back to a released or purged seed goes to its queue, however often it failed."""
    assert judge(batch(attempt), failed=failed, alone=alone, stale=True, limit=LIMIT) is Verdict.AVAILABLE


@pytest.mark.parametrize(("attempt", "alone"), list(product([1, 3, LIMIT, LIMIT + 1], [False, True])))
def test_a_return_without_fault_goes_out_again(attempt: int, alone: bool) -> None:  # noqa: FBT001 - a column
    """A batch given back without fault is sent again at once, whatever happened to it before."""
    assert judge(batch(attempt), failed=False, alone=alone, stale=False, limit=LIMIT) is Verdict.RESEND


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        (1, Verdict.RESEND),
        (SUSPECT_AFTER, Verdict.RESEND),
        (SUSPECT_AFTER + 1, Verdict.SUSPECT),
        (LIMIT - 1, Verdict.SUSPECT),
        (LIMIT, Verdict.ALONE),
        (LIMIT + 1, Verdict.ALONE),
    ],
)
def test_each_failure_makes_it_more_suspect(attempt: int, verdict: Verdict) -> None:
    """First it is sent again, then one suspect at a time, and at the limit with nothing beside it."""
    assert judge(batch(attempt), failed=True, alone=False, stale=False, limit=LIMIT) is verdict


@pytest.mark.parametrize("stale", [False, True])
def test_a_batch_that_is_never_alone_ends_too(stale: bool) -> None:  # noqa: FBT001 - a column of the table
    """Where no last offer stays alone to its end, as where an item kills its worker late, there are so many."""
    last = batch(LIMIT + LAST_OFFERS)
    assert judge(last, failed=True, alone=False, stale=stale, limit=LIMIT) is Verdict.DEAD


@pytest.mark.parametrize("limit", [1, 2])
def test_a_low_limit_leaves_no_suspects(limit: int) -> None:
    """Where the limit comes before suspicion, the batch is offered alone at once."""
    assert judge(batch(limit), failed=True, alone=False, stale=False, limit=limit) is Verdict.ALONE


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_batch_that_always_fails_ends(limit: int) -> None:
    """It is offered `limit` times and once more alone before it is dead."""
    one, alone, offers = batch(1), False, 1
    while (verdict := judge(one, failed=True, alone=alone, stale=False, limit=limit)) is not Verdict.DEAD:
        one, alone, offers = one.again("failed"), verdict is Verdict.ALONE, offers + 1
    assert offers == limit + 1


def test_memory_of_what_came_back() -> None:
    """A publication is new once; beyond its size the memory forgets the oldest."""
    memory = Memory(size=2)
    assert [memory.add(one) for one in ("a", "a", "b", "c", "a")] == [True, False, True, True, True]

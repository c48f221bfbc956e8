"""Rates: how many get through in a time, and how many callers are remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.rate_limit import BURST_SECONDS, Rates


def test_a_burst_and_then_the_rate() -> None:
    """At first as many get through as the rate gives in two seconds, then one more for each share of a second."""
    rates = Rates(10)
    assert [rates.take("a", 5.0) for _ in range(20)] == [0.0] * 20
    assert rates.take("a", 5.0) == 0.1
    assert rates.take("a", 5.05) > 0
    assert rates.take("a", 5.11) == 0.0
    assert rates.take("a", 5.11) > 0


def test_one_does_not_hinder_another() -> None:
    """Each has its own."""
    rates = Rates(1)
    assert [rates.take("a", 0.0) > 0 for _ in range(3)] == [False, False, True]
    assert rates.take("b", 0.0) == 0.0


def test_no_limit() -> None:
    """0 lets any number through and remembers nobody."""
    rates = Rates(0)
    assert [rates.take("a", 0.0) for _ in range(1000)] == [0.0] * 1000
    assert len(rates) == 0


def test_a_slow_rate_lets_one_through() -> None:
    """Less than one a second is one now and then, not none."""
    rates = Rates(0.1)
    assert rates.take("a", 0.0) == 0.0
    assert rates.take("a", 9.0) > 0
    assert rates.take("a", 10.0) == 0.0


def test_only_so_many_are_remembered() -> None:
    """Whoever came longest ago is forgotten, so that strangers cannot fill the memory."""
    rates = Rates(1, remembered=100)
    for number in range(1000):
        rates.take(str(number), 0.0)
    assert len(rates) == 100


@given(st.floats(0.5, 100), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_a_burst_and_the_rate(rate: float, gaps: list[float]) -> None:
    """From the first call to the last, at most a burst and what the rate gives in that time gets through."""
    rates = Rates(rate)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += rates.take("a", now) == 0.0
    assert passed <= max(1.0, rate * BURST_SECONDS) + now * rate + 1e-6

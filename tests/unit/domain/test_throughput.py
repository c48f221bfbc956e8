"""Rates out of totals."""

from __future__ import annotations

from coordinator.domain.throughput import SPAN, Pace


def test_a_rate_needs_two_looks() -> None:
    """Before the second there is none, nor of what is not known."""
    pace = Pace()
    assert pace.rate("s") == 0
    pace.saw(0.0, {"s": 100})
    assert pace.rate("s") == 0
    pace.saw(2.0, {"s": 110})
    assert (pace.rate("s"), pace.rate("other")) == (5.0, 0.0)


def test_only_the_last_while_counts() -> None:
    """What grew before is forgotten, so a seed that stands still comes to nothing."""
    pace = Pace()
    for second in range(int(SPAN) * 3):
        pace.saw(float(second), {"s": min(second, 5) * 10})
    assert pace.rate("s") == 0


def test_a_total_that_begins_anew() -> None:
    """A seed that was forgotten meanwhile has no rate below nothing."""
    pace = Pace()
    pace.saw(0.0, {"s": 10})
    pace.saw(1.0, {})
    assert pace.rate("s") == 0

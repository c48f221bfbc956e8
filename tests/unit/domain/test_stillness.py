"""What agreements to send nothing add up to: only those without a gap between them."""

from __future__ import annotations

import pytest

from coordinator.domain.stillness import Stillness


def test_nothing_is_still_before_all_have_agreed() -> None:
    """Nor is it before the last of them had."""
    stillness = Stillness()
    assert not stillness.lasts(begun=0.0, now=1.0)
    stillness.agreed(asked=10.0, answered=11.0, seconds=5.0)
    assert stillness.lasts(begun=11.0, now=12.0)
    assert not stillness.lasts(begun=10.5, now=12.0)


def test_it_ends_so_long_after_the_question() -> None:
    """The others count from when they heard it, which nobody else knows."""
    stillness = Stillness()
    stillness.agreed(asked=10.0, answered=11.0, seconds=5.0)
    assert stillness.lasts(begun=11.0, now=14.9)
    assert not stillness.lasts(begun=11.0, now=15.0)


@pytest.mark.parametrize(("answered", "is_one"), [(14.9, True), (15.0, False), (16.0, False)])
def test_renewed_in_time_it_goes_on(answered: float, *, is_one: bool) -> None:
    """After a gap somebody may have sent something."""
    stillness = Stillness()
    stillness.agreed(asked=10.0, answered=11.0, seconds=5.0)
    stillness.agreed(asked=14.0, answered=answered, seconds=5.0)
    assert stillness.lasts(begun=11.0, now=17.0) is is_one
    assert stillness.lasts(begun=answered, now=17.0)


def test_an_answer_that_takes_longer_than_the_pause_is_worth_nothing() -> None:
    """By then whoever agreed goes on, and so does whoever asked."""
    stillness = Stillness()
    stillness.agreed(asked=10.0, answered=17.0, seconds=5.0)
    assert not stillness.lasts(begun=17.0, now=17.0)


def test_what_is_broken_begins_anew() -> None:
    """As where a coordinator comes that nobody asked."""
    stillness = Stillness()
    stillness.agreed(asked=10.0, answered=10.5, seconds=5.0)
    stillness.broken()
    assert not stillness.lasts(begun=10.5, now=11.0)
    stillness.agreed(asked=11.0, answered=11.5, seconds=5.0)
    assert not stillness.lasts(begun=10.5, now=12.0)
    assert stillness.lasts(begun=11.5, now=12.0)

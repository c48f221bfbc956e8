"""The account of what was published: what the broker's figures allow to be said, and nothing more."""

from __future__ import annotations

from coordinator.domain.ledger import Ledger, PublishedBatch


def ledger_with(*times: float) -> Ledger:
    """A ledger of one-item batches of one seed in the queue `work`, confirmed at these times."""
    ledger = Ledger()
    for number, at in enumerate(times):
        ledger.published("work", PublishedBatch(f"p{number}", f"b{number}", "s", 1, 1, at))
    return ledger


def test_the_last_published_are_those_that_wait() -> None:
    """A work queue is first in, first out."""
    ledger = ledger_with(1, 2, 3)
    ledger.saw_depth("work", ready=1, asked=5, now=6)
    assert ledger.counts() == {"s": (1, 2)}
    assert [(one.batch, one.at) for one in ledger.delivered()] == [("b0", 6), ("b1", 6)]


def test_a_figure_says_nothing_of_what_was_published_after_it_was_asked_for() -> None:
    """A confirm that overtakes the answer does not make its batch a delivered one; the next figure may."""
    ledger = ledger_with(1, 3)
    ledger.saw_depth("work", ready=0, asked=2, now=4)
    assert ledger.counts() == {"s": (1, 1)}
    ledger.saw_depth("work", ready=0, asked=5, now=6)
    assert ledger.counts() == {"s": (0, 2)}


def test_more_may_wait_than_is_known_of() -> None:
    """Other coordinators publish to the same queues."""
    ledger = ledger_with(1, 2)
    ledger.saw_depth("work", ready=9, asked=3, now=4)
    ledger.saw_depth("elsewhere", ready=0, asked=3, now=4)
    assert ledger.counts() == {"s": (2, 0)}


def test_a_figure_that_lagged_is_put_right() -> None:
    """What was taken to be delivered and is found to be waiting still waits; what a lease holds is known not to."""
    ledger = ledger_with(1, 2, 3)
    ledger.left_queue("p0", now=4)
    ledger.saw_depth("work", ready=0, asked=5, now=6)
    assert ledger.counts() == {"s": (0, 3)}
    ledger.saw_depth("work", ready=3, asked=7, now=8)
    assert ledger.counts() == {"s": (2, 1)}
    assert [one.batch for one in ledger.delivered()] == ["b0"]
    ledger.saw_depth("work", ready=1, asked=9, now=10)
    assert [one.batch for one in ledger.delivered()] == ["b0", "b1"]


def test_what_others_published_waits_behind() -> None:
    """Of a shared queue as many wait as the broker tells: a batch does if fewer than those came after it."""
    ledger = Ledger()
    for number, others in enumerate((0.0, 10.0, 20.0)):
        ledger.published("work", PublishedBatch(f"p{number}", f"b{number}", "s", 1, 1, number, others))
    ledger.saw_depth("work", ready=12, asked=5, now=6, others=25.0)
    assert ledger.counts() == {"s": (1, 2)}
    ledger.saw_depth("work", ready=17, asked=7, now=8, others=25.0)
    assert ledger.counts() == {"s": (2, 1)}
    ledger.saw_depth("work", ready=0, asked=9, now=10, others=25.0)
    assert ledger.counts() == {"s": (0, 3)}


def test_who_came_after_the_figure_hides_nobody() -> None:
    """A figure that may be older than a delivery does not count it, so it leaves room for all that are older."""
    ledger = ledger_with(1, 2, 3)
    ledger.saw_depth("work", ready=1, asked=4, now=5)
    ledger.left_queue("p2", now=8)
    assert ledger.saw_unacked("work", 2, {"b2"}, before=7) == []
    assert [one.batch for one in ledger.saw_unacked("work", 2, {"b2"}, before=9)] == ["b0"]

"""Queues that are left alone for what they did: longer each time, and no more once they are well."""

from __future__ import annotations

from coordinator.domain.queue_backoff import FIRST, MOST, QueueBackoff


def test_a_queue_is_left_alone_for_a_while() -> None:
    """It alone, and until its time is over."""
    quarantine = QueueBackoff()
    assert quarantine.struck("work.a", 100.0) == FIRST
    assert quarantine.holds("work.a", 100.0 + FIRST - 0.1)
    assert quarantine.left("work.a", 100.0 + 1.0) == FIRST - 1.0
    assert not quarantine.holds("work.a", 100.0 + FIRST)
    assert quarantine.left("work.a", 100.0 + FIRST + 1.0) == 0.0
    assert not quarantine.holds("work", 100.0)


def test_each_time_twice_as_long() -> None:
    """Up to a most; what was well begins anew."""
    quarantine = QueueBackoff()
    pauses = [quarantine.struck("work", 0.0) for _ in range(8)]
    assert pauses[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert pauses[-1] == MOST
    quarantine.is_well("work")
    assert quarantine.struck("work", 0.0) == FIRST


def test_a_queue_that_was_well_for_long_begins_anew() -> None:
    """Weeks later, a strike says nothing of the earlier ones."""
    quarantine = QueueBackoff()
    quarantine.struck("work", 0.0)
    assert quarantine.struck("work", FIRST + MOST - 0.1) == 2 * FIRST
    assert quarantine.struck("work", FIRST + MOST + 2 * FIRST + MOST + 0.1) == FIRST

"""Why a seed does not move, whether it is done, and what is wrong with a work queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.domain.why import Crew, Obstacle, Standing, is_drained, warning, why

IDLE = Standing(state="running", available=0, queued=0, sent=0, in_hand=0)
WAITS = replace(IDLE, available=5)
QUEUED = replace(IDLE, queued=5)
ONE = Crew(workers=1, held=2, consumers=1)
TWO = Crew(workers=2, held=1, consumers=2)
FREE = Obstacle()
THROTTLED = Obstacle(throttled_until=1_767_268_800.5)
FULL = Obstacle(is_full=True)


@pytest.mark.parametrize(
    ("standing", "tags", "crew", "obstacle", "expected"),
    [
        (replace(WAITS, state="released"), (), Crew(), None, "released"),
        (IDLE, ("web",), Crew(), None, None),
        (replace(IDLE, sent=3), (), Crew(), None, None),
        (WAITS, (), Crew(), FREE, "no worker is there"),
        (WAITS, ("web",), Crew(), FREE, "no worker has the tag web"),
        (QUEUED, ("web", "eu"), Crew(), FREE, "no worker has the tags eu, web"),
        (WAITS, (), ONE, None, "no coordinator dispatches it now"),
        (WAITS, (), ONE, THROTTLED, "throttled until 2026-01-01T12:00:00.500Z"),
        (WAITS, (), ONE, FREE, None),
        (WAITS, (), ONE, FULL, "the work queue is full: 1 worker holds 2 batches"),
        (WAITS, (), TWO, FULL, "the work queue is full: 2 workers hold 1 batch"),
        (QUEUED, (), ONE, FREE, "its batches wait for a worker: 1 worker holds 2 batches"),
        (QUEUED, (), ONE, THROTTLED, "its batches wait for a worker: 1 worker holds 2 batches"),
        (WAITS, (), Crew(consumers=1), FREE, None),
    ],
)
def test_why(
    standing: Standing, tags: tuple[str, ...], crew: Crew, obstacle: Obstacle | None, expected: str | None
) -> None:
    """What an operator can change comes first: a release, then missing workers, then throttles, then full queues."""
    assert why(standing, tags, crew, obstacle) == expected


def test_done() -> None:
    """Only while no place holds anything, and no batch is there that nobody accounts for."""
    assert is_drained(IDLE)
    for left in (
        replace(IDLE, available=1),
        replace(IDLE, queued=1),
        replace(IDLE, sent=1),
        replace(IDLE, in_hand=1),
        replace(IDLE, held=1),
        replace(IDLE, is_certain=False),
    ):
        assert not is_drained(left), left


@pytest.mark.parametrize(
    ("ready", "crew", "seeds", "expected"),
    [
        (None, ONE, 1, "the broker does not answer for this queue"),
        (1, Crew(), 0, "no worker has the tag web"),
        (0, Crew(), 1, "no worker has the tag web"),
        (0, Crew(), 0, None),
        (9, ONE, 1, None),
        (9, Crew(consumers=1), 1, None),
    ],
)
def test_warning(ready: int | None, crew: Crew, seeds: int, expected: str | None) -> None:
    """A queue that nobody may take from matters once something is in it, or may come into it."""
    assert warning(("web",), ready, crew, seeds) == expected

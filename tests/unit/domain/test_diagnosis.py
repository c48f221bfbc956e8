"""Why a seed does not move, when it is drained, what is wrong with a work queue, and how a worker is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.domain.diagnosis import EligibleWorkers, Obstacle, Standing, is_drained, state_of, warning, why

WAITING = Standing(state="running", available=5, queued=2, sent=1, in_hand=0)
NOTHING = Standing(state="running", available=0, queued=0, sent=0, in_hand=0)
CREW = EligibleWorkers(workers=2, held=7, consumers=2)
FREE = Obstacle()
AT = 1_767_225_600.5


@pytest.mark.parametrize(
    ("standing", "eligible", "obstacle", "expected"),
    [
        (replace(NOTHING, state="released"), CREW, None, "released"),
        (NOTHING, EligibleWorkers(), None, None),
        (WAITING, EligibleWorkers(), FREE, "no worker has the tag web"),
        (WAITING, CREW, None, "no coordinator dispatches it now"),
        (
            WAITING,
            CREW,
            Obstacle(AT, is_full=True, is_paused=True),
            "dispatch stands still: a batch that failed again and again is about to be tried alone",
        ),
        (WAITING, CREW, Obstacle(AT, is_full=True), "throttled until 2026-01-01T00:00:00.500Z"),
        (WAITING, CREW, Obstacle(is_full=True), "the work queue is full: 2 workers hold 7 batches"),
        (WAITING, EligibleWorkers(1, 1, 0), Obstacle(is_full=True), "the work queue is full: 1 worker holds 1 batch"),
        (WAITING, EligibleWorkers(1, 0, 1), Obstacle(is_full=True), "the work queue is full: 1 worker holds nothing"),
        (
            WAITING,
            EligibleWorkers(0, 0, 2),
            Obstacle(is_full=True),
            "the work queue is full: 2 consumers do not say what is held",
        ),
        (replace(WAITING, available=0), CREW, FREE, "its batches wait for a worker: 2 workers hold 7 batches"),
        (
            replace(WAITING, available=0, suspected=2),
            CREW,
            FREE,
            "its batches failed again and again, and wait to be tried one by one",
        ),
        (WAITING, CREW, FREE, None),
        (WAITING, EligibleWorkers(consumers=1), FREE, None),
    ],
)
def test_why(standing: Standing, eligible: EligibleWorkers, obstacle: Obstacle | None, expected: str | None) -> None:
    """The first thing that stands in the way is told, and nothing where nothing does."""
    assert why(standing, ("web",), eligible, obstacle) == expected


def test_why_names_all_tags() -> None:
    """In order; and where there are none, that nobody is there at all."""
    assert why(WAITING, ("a", "b"), EligibleWorkers(), FREE) == "no worker has the tags a, b"
    assert why(WAITING, (), EligibleWorkers(), FREE) == "no worker is there"


@pytest.mark.parametrize("left", ["available", "queued", "sent", "in_hand", "held"])
def test_a_seed_is_drained_when_nothing_is_left(left: str) -> None:
    """Anything that is left anywhere keeps it from being drained, and so does doubt."""
    assert is_drained(NOTHING)
    assert is_drained(replace(NOTHING, state="released"))
    changes: dict[str, int] = {left: 1}
    assert not is_drained(replace(NOTHING, **changes))  # type: ignore[arg-type]
    assert not is_drained(replace(NOTHING, is_certain=False))


@pytest.mark.parametrize(
    ("ready", "eligible", "seeds", "expected"),
    [
        (None, CREW, 1, "the broker does not answer for this queue"),
        (3, EligibleWorkers(), 0, "no worker has the tag web"),
        (0, EligibleWorkers(), 1, "no worker has the tag web"),
        (0, EligibleWorkers(), 0, None),
        (3, CREW, 1, None),
    ],
)
def test_warnings(ready: int | None, eligible: EligibleWorkers, seeds: int, expected: str | None) -> None:
    """A queue that nobody may take from is warned of only where that matters."""
    assert warning(("web",), ready, eligible, seeds) == expected


@pytest.mark.parametrize(
    ("draining", "there", "fenced", "expected"),
    [
        (True, True, True, "draining"),
        (False, True, True, "live"),
        (False, False, True, "fenced"),
        (False, False, False, "silent"),
    ],
)
def test_how_a_worker_is(*, draining: bool, there: bool, fenced: bool, expected: str) -> None:
    """What was asked of it comes first, then whether it is heard of."""
    assert state_of(is_draining=draining, is_there=there, is_fenced=fenced) == expected

"""Why a seed does not move, and what is wrong with a work queue, each in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from coordinator.domain.tags import TagSet
from coordinator.models import WorkerState
from coordinator.times import rfc3339


@dataclass(frozen=True, slots=True)
class EligibleWorkers:
    """Who may take from a work queue: workers that are there and have its tags, and the batches that these hold.

    `consumers` are the queue's own, of whom not every one need say who it is.
    """

    workers: int = 0
    held: int = 0
    consumers: int = 0

    @property
    def is_missing(self) -> bool:
        """Whether nobody takes from it."""
        return not self.workers and not self.consumers


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What its owner knows to stand in a seed's way.

    Attributes:
        throttled_until: Unix time in seconds at which its throttles let the next batch go; None where they do now.
        is_full: whether its work queue takes no more for now.
        is_paused: whether all dispatch stands still for a last offer.
    """

    throttled_until: float | None = None
    is_full: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a seed stands: its items by place, those that workers say they have, and what its coordinators know.

    `suspected` are those of the queued ones that failed so often that they go out one batch at a time. `is_certain` is
    False while a work queue holds batches that no coordinator can account for, and while what was taken does not show
    in the workers' presence yet.
    """

    state: Literal["running", "released"]
    available: int
    queued: int
    sent: int
    in_hand: int
    held: int = 0
    suspected: int = 0
    is_certain: bool = True


def is_drained(standing: Standing) -> bool:
    """Whether a seed is done: nothing available, queued or sent, and nothing in any worker's hands."""
    waiting = standing.available + standing.queued + standing.sent
    return not (waiting or standing.in_hand or standing.held) and standing.is_certain


def why(standing: Standing, tags: TagSet, crew: EligibleWorkers, obstacle: Obstacle | None) -> str | None:
    """Why a seed's items wait; None where none wait, or nothing stands in their way.

    Args:
        standing: where the seed stands.
        tags: those of its next batches.
        crew: who may take them.
        obstacle: what its owner says; None where no coordinator dispatches it now.
    """
    if standing.state == "released":
        return "released"
    found = None
    if not standing.available and not standing.queued:
        pass
    elif crew.is_missing:
        found = missing(tags)
    elif obstacle is None:
        found = "no coordinator dispatches it now"
    elif obstacle.is_paused and standing.available:
        found = "dispatch stands still: a batch that failed again and again is about to be tried alone"
    elif standing.available and obstacle.throttled_until is not None:
        found = f"throttled until {rfc3339(obstacle.throttled_until)}"
    elif standing.queued == standing.suspected and not standing.available:
        found = "its batches failed again and again, and wait to be tried one by one"
    elif obstacle.is_full or not standing.available:
        what = "the work queue is full" if obstacle.is_full else "its batches wait for a worker"
        found = f"{what}: {_holders(crew)}"
    return found


def warning(tags: TagSet, ready: int | None, crew: EligibleWorkers, seeds: int) -> str | None:
    """What an operator should know of a work queue.

    Args:
        tags: those of its batches.
        ready: how many batches wait in it; None where the broker does not tell.
        crew: who may take from it.
        seeds: how many running seeds fill it.
    """
    if ready is None:
        return "the broker does not answer for this queue"
    if crew.is_missing and (ready or seeds):
        return missing(tags)
    return None


def state_of(*, is_draining: bool, is_there: bool, is_fenced: bool) -> WorkerState:
    """How a worker is.

    Args:
        is_draining: whether it was asked to take no more, or says so itself.
        is_there: whether anything is heard of it.
        is_fenced: whether it was cut off for its silence.
    """
    if is_draining:
        return "draining"
    if is_there:
        return "live"
    return "fenced" if is_fenced else "silent"


def missing(tags: Iterable[str]) -> str:
    """That nobody may take batches with these tags."""
    named = sorted(tags)
    if not named:
        return "no worker is there"
    return f"no worker has the {'tag' if len(named) == 1 else 'tags'} {', '.join(named)}"


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _holders(crew: EligibleWorkers) -> str:
    if not crew.workers:
        return f"{_count(crew.consumers, 'consumer')} {'does' if crew.consumers == 1 else 'do'} not say what is held"
    hold = "holds" if crew.workers == 1 else "hold"
    return f"{_count(crew.workers, 'worker')} {hold} {_count(crew.held, 'batch') if crew.held else 'nothing'}"

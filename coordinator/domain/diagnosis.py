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
    """Who can get batches of a work queue: present workers with its tags, and the batches that these hold.

    `consumers` are those of the queue; a stock client among them need not be a known worker.
    """

    workers: int = 0
    held: int = 0
    consumers: int = 0

    @property
    def is_missing(self) -> bool:
        """Whether the queue has neither workers nor consumers."""
        return not self.workers and not self.consumers


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What holds a seed up, according to the replica that owns it.

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
    """Where a seed stands: its items by place, those that workers report, and what the replicas know.

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
    """Return whether a seed is done: nothing available, queued or sent, and nothing in any worker's hands."""
    waiting = standing.available + standing.queued + standing.sent
    return not (waiting or standing.in_hand or standing.held) and standing.is_certain


def why(standing: Standing, tags: TagSet, eligible: EligibleWorkers, obstacle: Obstacle | None) -> str | None:
    """Return why a seed's items wait; None where none wait, or nothing holds them up.

    Args:
        standing: where the seed stands.
        tags: those of its next batches.
        eligible: who can get them.
        obstacle: what holds it up; None where no replica dispatches it now.
    """
    if standing.state == "released":
        return "released"
    found = None
    if not standing.available and not standing.queued:
        pass
    elif eligible.is_missing:
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
        found = f"{what}: {_holders(eligible)}"
    return found


def warning(tags: TagSet, ready: int | None, eligible: EligibleWorkers, seeds: int) -> str | None:
    """Return what an operator should know of a work queue; None where nothing is wrong.

    Args:
        tags: those of its batches.
        ready: how many batches wait in it; None where the broker does not answer.
        eligible: who can get them.
        seeds: how many running seeds fill it.
    """
    if ready is None:
        return "the broker does not answer for this queue"
    if eligible.is_missing and (ready or seeds):
        return missing(tags)
    return None


def state_of(*, is_draining: bool, is_there: bool, is_fenced: bool) -> WorkerState:
    """Return the state of a worker.

    Args:
        is_draining: whether it was asked to accept no more, or reports so itself.
        is_there: whether it sends heartbeats, fetches or is connected.
        is_fenced: whether it was cut off for its silence.
    """
    if is_draining:
        return "draining"
    if is_there:
        return "live"
    return "fenced" if is_fenced else "silent"


def missing(tags: Iterable[str]) -> str:
    """Return the sentence that no worker can get batches with these tags."""
    named = sorted(tags)
    if not named:
        return "no worker is there"
    return f"no worker has the {'tag' if len(named) == 1 else 'tags'} {', '.join(named)}"


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _holders(eligible: EligibleWorkers) -> str:
    if not eligible.workers:
        verb = "does" if eligible.consumers == 1 else "do"
        return f"{_count(eligible.consumers, 'consumer')} {verb} not say what is held"
    verb = "holds" if eligible.workers == 1 else "hold"
    held = _count(eligible.held, "batch") if eligible.held else "nothing"
    return f"{_count(eligible.workers, 'worker')} {verb} {held}"

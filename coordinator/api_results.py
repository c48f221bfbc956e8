"""What the API answers to a call that does something. The OpenAPI description is made from these models."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, SkipValidation

from coordinator.api_models import Answer, Count
from coordinator.models import Item


class Said(Answer):
    """What was done, or what prevented it, in a sentence."""

    message: str


class Fault(Answer):
    """What is wrong with one field."""

    field: str
    message: str


class Stopped(Said):
    """What prevented the call; the number of items that were accepted before, and of items whose outcome is unknown."""

    accepted: Count = 0
    unconfirmed: Count = 0


class Invalid(Stopped):
    """The input does not validate; each error names a field."""

    errors: Annotated[list[Fault], Field(min_length=1)]


class Accepted(Said):
    """The number of items or results that the broker has confirmed."""

    accepted: Count


class FetchedBatch(Answer):
    """A batch that an HTTP worker fetched: `id` is the handle to settle it with, `batch` the batch's own id."""

    id: str
    batch: str
    seed: str
    epoch: Count
    attempt: Annotated[int, Field(ge=1)]
    tags: list[str]
    created: str
    items: Annotated[SkipValidation[list[Item]], Field(min_length=1)]
    """Unchanged: the coordinator has validated them, or trusts their sender."""
    redelivered: bool = False
    """Whether it may have been delivered before with the same attempt; left out if not."""


class Fetched(Answer):
    """The fetched batches. The list is empty if no batch waits for this worker."""

    batches: list[FetchedBatch]
    draining: bool = False
    """Whether this worker was asked to take no more batches; left out if not."""


class Result(Answer):
    """What became of one id."""

    id: str
    status: Literal[200, 404]
    message: str


class CallbackResult(Answer):
    """Whether a worker's callback accepted the notice; a `pending` callback is tried again in the background."""

    worker: str
    status: Literal["told", "pending", "failed"]
    message: str | None = None


class SeedReleased(Result):
    """A released seed: items that are available again, items that workers still hold, batches out of the queue."""

    epoch: Annotated[int, Field(ge=2)] = 2
    returned: Count = 0
    held: Count = 0
    batches: tuple[str, ...] = ()
    callbacks: tuple[CallbackResult, ...] = ()
    unanswered: tuple[str, ...] = ()
    """Coordinators that did not answer in time and could not be disconnected; left out if there are none."""


class WorkerReleased(Result):
    """A released worker, and the number of batches that it was known to hold."""

    batches: Count = 0


class WorkerDraining(Result):
    """A worker that was asked to drain, and the number of batches that it is known to hold."""

    batches: Count = 0


class SeedPurged(Result):
    """A purged seed, and the number of discarded items."""

    purged: Count = 0


R = TypeVar("R", bound=Result)


class Results(Answer, Generic[R]):
    """What became of each id, in the given order. Ids that were found are done even if the status is 404."""

    message: str
    results: list[R]


class Settled(Results[Result]):
    """What became of each handle."""


class Resumed(Results[Result]):
    """What became of each seed to resume."""


class SeedsReleased(Results[SeedReleased]):
    """What became of each seed to release."""


class WorkersReleased(Results[WorkerReleased]):
    """What became of each worker to release."""


class WorkersDraining(Results[WorkerDraining]):
    """What became of each worker to drain."""


class SeedsPurged(Results[SeedPurged]):
    """What became of the seed to purge."""


class Effect(Answer):
    """An effect of a command: `what` it concerns, and what `then` becomes of that. Together they are a sentence."""

    what: str
    then: str


class DryRun(Answer):
    """What a command on this id would do now."""

    id: str
    effects: list[Effect]


class Ready(Said):
    """The coordinator can do its work."""

    instance: str
    seeds: Count

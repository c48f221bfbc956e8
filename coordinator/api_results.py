"""What the API answers to a call that does something. The OpenAPI description is made from these models."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, SkipValidation

from coordinator.api_models import Answer, Count
from coordinator.models import Item


class Said(Answer):
    """Done, or what stood in the way, in a sentence."""

    message: str


class Fault(Answer):
    """What is wrong with one field."""

    field: str
    message: str


class Stopped(Said):
    """What stood in the way; how many items were taken before, and of how many more nobody knows."""

    accepted: Count = 0
    unconfirmed: Count = 0


class Invalid(Stopped):
    """The input does not validate: what is wrong, field by field."""

    errors: Annotated[list[Fault], Field(min_length=1)]


class Accepted(Said):
    """How many items or results the broker has confirmed."""

    accepted: Count


class FetchedBatch(Answer):
    """A batch in the hands of an HTTP worker: `id` is the handle to settle it with, `batch` the batch's own id."""

    id: str
    batch: str
    seed: str
    epoch: Count
    attempt: Annotated[int, Field(ge=1)]
    tags: list[str]
    created: str
    items: Annotated[SkipValidation[list[Item]], Field(min_length=1)]
    """As they came; the coordinator has validated them, or trusts who sent them."""
    redelivered: bool = False
    """Whether it may have been delivered before, though its attempt does not say so; left out when not."""


class Fetched(Answer):
    """The batches that were fetched; none where there is nothing to hand out."""

    batches: list[FetchedBatch]
    draining: bool = False
    """Whether this worker was asked to take no more; left out when not."""


class Result(Answer):
    """What became of one id."""

    id: str
    status: Literal[200, 404]
    message: str


class CallbackResult(Answer):
    """Whether a worker's callback has taken the notice; a `pending` one is tried further in the background."""

    worker: str
    status: Literal["told", "pending", "failed"]
    message: str | None = None


class SeedReleased(Result):
    """A released seed: items that became available again, items still in workers' hands, batches taken back unsent."""

    epoch: Annotated[int, Field(ge=2)] = 2
    returned: Count = 0
    held: Count = 0
    batches: tuple[str, ...] = ()
    callbacks: tuple[CallbackResult, ...] = ()
    unanswered: tuple[str, ...] = ()
    """Coordinators that neither answered in time nor could be cut off; left out where there are none."""


class WorkerReleased(Result):
    """A released worker, and how many batches it held as far as is known."""

    batches: Count = 0


class WorkerDraining(Result):
    """A worker that was asked to drain, and how many batches it holds as far as is known."""

    batches: Count = 0


class SeedPurged(Result):
    """A purged seed, and how many items were discarded."""

    purged: Count = 0


R = TypeVar("R", bound=Result)


class Results(Answer, Generic[R]):
    """What became of each id, in the order given; what is found is carried out even where the status is 404."""

    message: str
    results: list[R]


class Settled(Results[Result]):
    """What became of each handle."""


class Resumed(Results[Result]):
    """What became of each seed that was to run again."""


class SeedsReleased(Results[SeedReleased]):
    """What became of each seed that was to be released."""


class WorkersReleased(Results[WorkerReleased]):
    """What became of each worker that was to be released."""


class WorkersDraining(Results[WorkerDraining]):
    """What became of each worker that was asked to drain."""


class SeedsPurged(Results[SeedPurged]):
    """What became of the seed that was to be purged."""


class Effect(Answer):
    """What a command concerns, and what becomes of it: together a sentence."""

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

"""The words of the contract as types: seeds, items, batches, policies, and what workers say of themselves."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NotRequired, Required

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    with_config,
)
from typing_extensions import TypedDict

MAX_ITEMS = 1000
MAX_TEXT = 65_536
MAX_DEPTH = 32
WORKER_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

Priority = Literal["low", "medium", "high"]
Transport = Literal["amqp", "http"]
WorkerState = Literal["live", "silent", "fenced", "draining"]
"""A worker is heard of, or not any more; it was cut off for its silence; or it was asked to take no more."""


def _no_control(text: str) -> str:
    if text.isprintable():  # almost every text, and far quicker than a look at each character
        return text
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return text


def _seed_id(text: str) -> str:
    _no_control(text)
    size = len(text.encode())
    if not 1 <= size <= 200:  # noqa: PLR2004 - the contract's own bound
        raise ValueError(f"must be 1 to 200 bytes of UTF-8, not {size}")
    return text


def _tag(text: str) -> str:
    if "," in text:
        raise ValueError("must not hold a comma, which separates tags")
    return _no_control(text)


def _described(pattern: str, **bounds: int | str) -> WithJsonSchema:
    """What a JSON schema says of a text that a function checks: the pattern is read by ECMAScript and Python alike."""
    return WithJsonSchema({"type": "string", "pattern": pattern, **bounds})


_NO_CONTROL = r"\u0000-\u001f\u007f-\u009f"


def _whole(value: object) -> object:
    """A whole number as JSON may write it, such as `5.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_AS_WHOLE = BeforeValidator(_whole)

SeedId = Annotated[
    str, AfterValidator(_seed_id), _described(rf"^[^{_NO_CONTROL}]+$", minLength=1, maxLength=200, format="seed-id")
]
WorkerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_tag),
    _described(rf"^[^,{_NO_CONTROL}]+$", minLength=1, maxLength=64),
]
ItemText = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT),
    AfterValidator(_no_control),
    _described(rf"^[^{_NO_CONTROL}]*$", maxLength=MAX_TEXT),
]
ItemId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TEXT),
    AfterValidator(_no_control),
    _described(rf"^[^{_NO_CONTROL}]+$", minLength=1, maxLength=MAX_TEXT),
]


@with_config(ConfigDict(extra="allow"))
class Item(TypedDict):
    """One thing to work on; further fields are kept and passed on untouched."""

    id: Required[ItemId]
    action: NotRequired[Literal["process", "scan"]]
    url: NotRequired[ItemText | None]
    metadata: NotRequired[dict[str, object] | None]


class Throttle(BaseModel):
    """At most `value` items dispatched in any window of one `period`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["throttle"]
    period: Literal["second", "minute", "hour", "day"]
    value: Annotated[int, Field(strict=True, ge=1, le=10**9), _AS_WHOLE]


class Route(BaseModel):
    """Batches of the seed go only to workers that have the tag `routeTo`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: Literal["route"]
    route_to: Annotated[Tag, Field(alias="routeTo")]


Policy = Annotated[Throttle | Route, Field(discriminator="type")]


class SeedSpec(BaseModel):
    """What a manager says of a seed: everything left out is at its default again."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    priority: Priority = "medium"
    policies: Annotated[tuple[Policy, ...], Field(max_length=32)] = ()
    batch_size: Annotated[int, Field(alias="batchSize", strict=True, ge=1, le=MAX_ITEMS), _AS_WHOLE] = 100

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that batches of this seed carry: sorted, each once."""
        return tuple(sorted({policy.route_to for policy in self.policies if isinstance(policy, Route)}))

    @property
    def throttles(self) -> tuple[Throttle, ...]:
        """The throttles, all of which apply."""
        return tuple(policy for policy in self.policies if isinstance(policy, Throttle))

    @property
    def largest_batch(self) -> int:
        """How many items a batch may hold: `batchSize`, or less where a throttle would never let it pass."""
        return min([self.batch_size, *(throttle.value for throttle in self.throttles)])


class WorkerSpec(BaseModel):
    """What a worker says of itself when it registers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tags: Annotated[tuple[Tag, ...], Field(max_length=32)] = ()
    transport: Transport = "amqp"
    callback: (
        Annotated[
            str, StringConstraints(max_length=2000), _described("^https?://[!-~]+$", maxLength=2000, format="callback")
        ]
        | None
    ) = None


Number = Annotated[int, Field(ge=0, le=2**53)]
"""As large as every reader of JSON keeps exactly."""


class HeldBatch(BaseModel):
    """A batch that a worker holds unacked; `since` is RFC 3339.

    It is `begun` when the worker's handler has it, and None where nobody can say.
    """

    batch: str
    seed: str
    count: Number
    since: str
    begun: bool | None = False


class Presence(BaseModel):
    """A worker's heartbeat."""

    worker: WorkerId
    tags: tuple[Tag, ...] = ()
    transport: Transport = "amqp"
    capacity: Number = 1
    held: tuple[HeldBatch, ...] = ()
    taken: dict[str, Number] = {}
    draining: bool = False
    """Whether it takes no more."""


@dataclass(slots=True)
class ItemResult:
    """What became of one item."""

    id: str
    status: Literal["ok", "failed"]
    data: object | None = None
    error: str | None = None


class BatchResults(BaseModel):
    """What a worker made of a batch."""

    batch: str
    seed: SeedId
    worker: WorkerId
    attempt: Annotated[int, Field(strict=True, ge=1), _AS_WHOLE]
    results: tuple[ItemResult, ...]


@dataclass(slots=True)
class Batch:
    """Items of one seed on their way to a worker; nobody changes one.

    Neither this nor what else is made for each batch is frozen: that would take ten times as long to make.

    `items` is the JSON text of the array, never decoded on the way through; `count` says how many it holds.
    """

    id: str
    seed: str
    epoch: int
    attempt: int
    tags: tuple[str, ...]
    created: str
    count: int
    items: bytes
    history: tuple[str, ...] = ()
    """What happened to it before, a line for each delivery that failed; travels in a header, not in the body."""

    def encode(self, *, handle: str | None = None, redelivered: bool = False) -> bytes:
        """The JSON of the contract; with a `handle`, that is its id and `batch` holds the batch's own.

        Over HTTP there are no headers, so there the body says whether it may have been delivered before.
        """
        head: dict[str, object] = {"id": self.id if handle is None else handle}
        if handle is not None:
            head["batch"] = self.id
        head |= {
            "seed": self.seed,
            "epoch": self.epoch,
            "attempt": self.attempt,
            "tags": self.tags,
            "created": self.created,
        }
        if redelivered:
            head["redelivered"] = True
        return b'%b,"items":%b}' % (orjson.dumps(head)[:-1], self.items)

    def again(self, note: str) -> Batch:
        """The same batch after a delivery that failed, with a note of why."""
        return replace(self, attempt=self.attempt + 1, history=(*self.history, note))

    def under(self, epoch: int) -> Batch:
        """The same batch under its seed's current epoch."""
        return replace(self, epoch=epoch)

    def with_history(self, history: tuple[str, ...]) -> Batch:
        """The same batch with what its headers say of earlier deliveries."""
        return replace(self, history=history)

    def load_items(self) -> list[Item]:
        """The items, decoded."""
        items: list[Item] = orjson.loads(self.items)
        return items

"""Every name that this project has on the broker: exchanges, queues, headers, and the arguments they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import quote, unquote

from coordinator.errors import InvalidInputError

ITEMS: Final = "items"
NEW_SEEDS: Final = "items.unrouted"
WORK: Final = "work"
COMMANDS: Final = "commands"
CONTROL: Final = "control"
PRESENCE: Final = "presence"
RESULTS: Final = "results"
RETURNS: Final = "returns"
DEAD: Final = "dead"
SUSPECTS: Final = "suspects"
COORDINATORS: Final = "coordinators"
REGISTRY: Final = "registry"


class Header:
    """Names of the AMQP headers."""

    SEED: Final = "seed"
    EPOCH: Final = "epoch"
    ATTEMPT: Final = "attempt"
    COUNT: Final = "count"
    REASON: Final = "reason"
    REDELIVERED: Final = "redelivered"
    CHECKED: Final = "checked"
    """How many items a page holds, said by a producer that has validated them."""
    PAGE: Final = "page"
    """A checked page's identity, where it is not its message id."""
    PUBLICATION: Final = "publication"
    """One sending of a batch: what tells a broker's repeated dead-letter from a batch that failed twice."""
    ALONE: Final = "alone"
    """This was the last offer, with nothing else in the hands of any worker."""
    HISTORY: Final = "history"


# A broker's default differs by version (none before 4.0, 20 after it, and then it DROPS): each queue says its own.
UNLIMITED_DELIVERIES: Final = 2_000_000_000
WORK_BACKSTOP: Final = 600
MAX_QUEUE_NAME: Final = 255
REGISTRY_BYTES: Final = 200_000_000
REGISTRY_SEGMENT_BYTES: Final = 10_000_000

Arguments = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: Literal["direct", "fanout", "topic"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; `bindings` are pairs of exchange and routing key."""

    name: str
    arguments: Arguments = field(default_factory=dict)
    bindings: tuple[tuple[str, str], ...] = ()


def _quorum(**arguments: str | int | bool) -> Arguments:
    return {"x-queue-type": "quorum"} | {name.replace("_", "-"): value for name, value in arguments.items()}


EXCHANGES: Final = (
    Exchange(NEW_SEEDS, "fanout"),
    Exchange(ITEMS, "direct"),
    Exchange(COMMANDS, "topic"),
    Exchange(CONTROL, "fanout"),
    Exchange(PRESENCE, "fanout"),
    Exchange(RESULTS, "topic"),
    Exchange(RETURNS, "fanout"),
    Exchange(COORDINATORS, "fanout"),
)

# `returns` comes before any work queue: a dead letter whose target is missing is tried again only after minutes. One
# coordinator reads it, so that it knows a repeated dead letter again; one reads `suspects`, so that alone means alone;
# one reads `commands`, so that they are carried out in the order in which they came.
QUEUES: Final = (
    Queue(
        RETURNS,
        _quorum(x_single_active_consumer=True, x_delivery_limit=UNLIMITED_DELIVERIES),
        ((RETURNS, ""),),
    ),
    Queue(SUSPECTS, _quorum(x_single_active_consumer=True, x_delivery_limit=UNLIMITED_DELIVERIES)),
    Queue(NEW_SEEDS, _quorum(x_delivery_limit=UNLIMITED_DELIVERIES), ((NEW_SEEDS, ""),)),
    Queue(
        COMMANDS,
        _quorum(x_single_active_consumer=True, x_delivery_limit=UNLIMITED_DELIVERIES),
        ((COMMANDS, "#"),),
    ),
    Queue(DEAD, _quorum(x_delivery_limit=UNLIMITED_DELIVERIES)),
    Queue(
        REGISTRY,
        {
            "x-queue-type": "stream",
            "x-max-length-bytes": REGISTRY_BYTES,
            "x-stream-max-segment-size-bytes": REGISTRY_SEGMENT_BYTES,
        },
    ),
)


def seed_queue_name(seed: str) -> str:
    """The queue of a seed's available pages."""
    return f"seed.{seed}"


def seed_of_queue(queue: str) -> str | None:
    """The seed whose available pages a queue holds; None of any other queue."""
    return queue.removeprefix("seed.") if queue.startswith("seed.") else None


def seed_queue(seed: str) -> Queue:
    """The queue of a seed's available pages: one active consumer, so one owner."""
    return Queue(
        seed_queue_name(seed),
        _quorum(x_single_active_consumer=True, x_delivery_limit=UNLIMITED_DELIVERIES),
        ((ITEMS, seed),),
    )


@lru_cache(maxsize=4096)
def work_queue_name(tags: tuple[str, ...] | frozenset[str]) -> str:
    """The queue of unsent batches that carry exactly these tags.

    Raises:
        InvalidInputError: the tags together make a longer name than the broker takes.
    """
    if not tags:
        return WORK
    name = f"{WORK}.{'+'.join(quote(tag, safe='') for tag in sorted(tags))}"
    if len(name) > MAX_QUEUE_NAME:
        raise InvalidInputError(
            [("policies", f"the tags together are longer than a queue name of {MAX_QUEUE_NAME} bytes")]
        )
    return name


def tags_of_work_queue(name: str) -> tuple[str, ...]:
    """The tags that a work queue's name holds: sorted."""
    return tuple(sorted(unquote(part) for part in name.removeprefix(f"{WORK}.").split("+"))) if name != WORK else ()


def work_queue(tags: tuple[str, ...]) -> Queue:
    """A queue of unsent batches.

    A delivery limit of 0 sends each batch whose delivery failed to `returns` at once, and with it no neighbour.
    """
    return Queue(
        work_queue_name(tags),
        _quorum(
            x_delivery_limit=0,
            x_dead_letter_exchange=RETURNS,
            x_dead_letter_strategy="at-least-once",
            x_overflow="reject-publish",
            x_max_length=WORK_BACKSTOP,
        ),
    )


def worker_queue_name(worker: str) -> str:
    """A library worker's own queue, for notices."""
    return f"worker.{worker}"


def coordinator_queue_name(instance: str) -> str:
    """A coordinator's own queue, for what others ask and answer."""
    return f"coordinator.{instance}"


def coordinator_connection_name(instance: str, purpose: str) -> str:
    """The name of a coordinator's connection."""
    return f"coordinator:{instance}:{purpose}"


def worker_connection_name(worker: str) -> str:
    """The connection name by which the broker's connections are known as a worker's."""
    return f"worker:{worker}"

"""A batch that a worker holds, and the interface between a worker and its transport."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from coordinator.batch_validation import open_batch
from coordinator.models import Batch, HeldBatch, Item, Presence
from coordinator.times import rfc3339


@dataclass(slots=True, eq=False)
class Job:
    """A batch and its progress.

    `receipt` is what the transport needs to settle it. A job that is `taken` is acked and lies in the spool, so this
    worker must finish it. A job that is `void` no longer belongs to this worker, which must not publish its results.
    `since` is the Unix time of its arrival, and `recall` says why its unfinished items must be given back.
    """

    batch: Batch
    receipt: object
    redelivered: bool
    unread: bytes | None = None
    """The body of a batch whose items are decoded only when its turn comes. Decoded early, they would have left the
    processor's caches by then, which costs as much as decoding."""
    since: float = field(default_factory=time.time)
    done: int = 0
    begun: bool = False
    taken: bool = False
    void: bool = False
    recall: str | None = None

    def read(self) -> list[Item]:
        """Its decoded items. They are not kept: they would take much memory until the batch is settled.

        Raises:
            InvalidInputError: it is not the JSON of a batch.
        """
        if self.unread is not None:
            self.batch, items = open_batch(self.batch, self.unread)
            self.unread = None
            return items
        return self.batch.load_items()

    @property
    def is_resumed(self) -> bool:
        """Whether it comes from an earlier run's spool."""
        return self.receipt is None

    @property
    def left(self) -> int:
        """The number of unfinished items."""
        return self.batch.count - self.done

    def rest(self) -> Batch:
        """The unfinished items as a batch. A whole batch keeps its id, a rest gets an id derived from it."""
        if not self.done:
            return self.batch
        left = self.batch.load_items()[self.done :]
        return replace(
            self.batch,
            id=f"{self.batch.id}-{self.done}",
            count=len(left),
            items=orjson.dumps(left),
            history=(),
        )

    def report(self) -> HeldBatch:
        """Its entry in the worker's heartbeat."""
        since = rfc3339(self.since)
        return HeldBatch(
            batch=self.batch.id, seed=self.batch.seed, count=self.batch.count, since=since, begun=self.begun
        )


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a batch: `entries` has one entry, as in the protocol, for each item that was worked on."""

    batch: str
    seed: str
    worker: str
    attempt: int
    entries: list[dict[str, object]]

    def encode(self) -> bytes:
        """The JSON of the protocol."""
        return orjson.dumps(
            {
                "batch": self.batch,
                "seed": self.seed,
                "worker": self.worker,
                "attempt": self.attempt,
                "results": self.entries,
            }
        )


class Inbox(Protocol):
    """What a transport calls."""

    def arrived(self, job: Job) -> None:
        """A batch was delivered."""

    def released(self, seed: str, epoch: int) -> None:
        """A seed was released: batches of an older epoch that have not begun go back."""

    def drain(self) -> None:
        """The worker was asked to finish its batches and take no more."""

    def lost(self) -> None:
        """The connection is gone, and all unacked batches with it."""

    @property
    def room(self) -> int:
        """The number of batches that the worker has room for."""

    @property
    def seeds(self) -> frozenset[str]:
        """The seeds of the worker's batches."""


class Transport(Protocol):
    """How a worker speaks to the coordinator. Every method raises `BrokerUnavailableError` without a connection."""

    async def run(self, inbox: Inbox) -> None:
        """Connect, register, take batches, and connect again, until cancelled."""

    async def wait_connected(self) -> None:
        """Wait until it is connected."""

    async def stop_receiving(self) -> None:
        """Ask for no more batches."""

    async def ack(self, job: Job) -> None:
        """Ack a batch: the worker has taken responsibility."""

    async def reject(self, job: Job) -> None:
        """Reject a batch that failed here."""

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Give back the rest of a batch without a fault, confirmed, and settle the batch."""

    async def results(self, results: Results) -> None:
        """Publish the results of a batch, confirmed."""

    async def submit(self, seed: str, items: Sequence[Item], key: str, *, again: bool) -> None:
        """Add discovered items to a seed, confirmed.

        Args:
            seed: the seed's id.
            items: the discovered items.
            key: distinguishes this submission from others.
            again: whether the items may have been added before; they are marked then, if the transport can.
        """

    async def heartbeat(self, presence: Presence) -> None:
        """Send a heartbeat."""

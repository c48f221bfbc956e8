"""A batch in a worker's hands, and the port through which a worker speaks to the coordinator."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from coordinator.batch_validation import open_batch
from coordinator.models import Batch, HeldBatch, Item, Presence


@dataclass(slots=True, eq=False)
class Job:
    """A batch and how far it is.

    `receipt` is what the transport needs to settle it. A job that is `taken` is acked and lies in the spool, so it is
    this worker's to finish. One that is `void` is no longer this worker's, and nothing of it may be told to anybody.
    `since` is when it came, in Unix time, and `recall` says why what has not begun of it is to be given back.
    """

    batch: Batch
    receipt: object
    redelivered: bool
    unread: bytes | None = None
    """The body of a batch whose items are decoded only when its turn comes: those of many that wait would by then have
    left the processor's caches, which costs as much as to decode them."""
    since: float = field(default_factory=time.time)
    done: int = 0
    begun: bool = False
    taken: bool = False
    void: bool = False
    recall: str | None = None

    def read(self) -> list[Item]:
        """Its items, decoded; they are not kept, for they would take much memory until the batch is settled.

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
        """Items not finished."""
        return self.batch.count - self.done

    def rest(self) -> Batch:
        """What is left as a batch of its own; the whole keeps its id, a rest gets one derived from it."""
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
        """What presence says of it."""
        since = dt.datetime.fromtimestamp(self.since, dt.UTC).isoformat(timespec="milliseconds")
        return HeldBatch(
            batch=self.batch.id, seed=self.batch.seed, count=self.batch.count, since=since, begun=self.begun
        )


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a batch: its `entries` are as the contract has them, one for each item that was worked on."""

    batch: str
    seed: str
    worker: str
    attempt: int
    entries: list[dict[str, object]]

    def encode(self) -> bytes:
        """The JSON of the contract."""
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
    """What a transport tells the worker."""

    def arrived(self, job: Job) -> None:
        """A batch was delivered."""

    def released(self, seed: str, epoch: int) -> None:
        """A seed was released: what is older than this epoch and has not begun goes back."""

    def drain(self) -> None:
        """The worker was asked to finish what it has and take no more."""

    def lost(self) -> None:
        """The connection is gone, and with it everything that was not acked."""

    @property
    def room(self) -> int:
        """How many more batches the worker would like to have."""

    @property
    def seeds(self) -> frozenset[str]:
        """Seeds of which the worker has batches."""


class Transport(Protocol):
    """How a worker speaks to the coordinator. Every method raises `BrokerUnavailableError` while it cannot."""

    async def run(self, inbox: Inbox) -> None:
        """Connect, register, take batches, and connect again, until cancelled."""

    async def wait_connected(self) -> None:
        """Wait until it can speak."""

    async def stop_taking(self) -> None:
        """Ask for no more batches."""

    async def ack(self, job: Job) -> None:
        """The worker has taken responsibility."""

    async def reject(self, job: Job) -> None:
        """The batch failed here."""

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Give back without fault what is left of a batch, confirmed, and settle it."""

    async def results(self, results: Results) -> None:
        """Tell what became of a batch, confirmed."""

    async def submit(self, seed: str, items: Sequence[Item], key: str, *, again: bool) -> None:
        """Add discovered items to a seed, confirmed.

        Args:
            seed: the seed's id.
            items: what was discovered.
            key: tells one submission from another.
            again: whether they may have been added before: then they are marked, where the transport can.
        """

    async def say(self, presence: Presence) -> None:
        """Send a heartbeat."""

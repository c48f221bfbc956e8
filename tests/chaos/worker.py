"""The reference worker as a party: the worker itself, with what passes between it and its transport written down.

`python -m tests.chaos.worker ID` with the settings of `Config` as JSON on standard input.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel

from coordinator import logs
from coordinator.client.http_worker import HttpWorker
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError
from coordinator.models import Batch, Item, Presence
from tests.chaos.handler import Work
from tests.chaos.hands import Hands, hands_beside
from tests.chaos.history import SPOOL, Delivered, How, Produced, Recorder, Settled
from worker_stub.amqp_transport import AmqpTransport
from worker_stub.http_transport import HttpTransport
from worker_stub.job import Inbox, Job, Results, Transport
from worker_stub.spool import Spool
from worker_stub.worker import Identity, Worker


class Config(BaseModel):
    """How a worker of the load is set up.

    Attributes:
        id: the worker's.
        history: the folder of the history.
        transport: `amqp` or `http` for the reference worker; a stock client speaks AMQP.
        tags: what it can do.
        queues: what a stock client consumes.
        amqp_urls: the broker's nodes as this worker reaches them.
        http_url: a coordinator; the reference worker registers there.
        spool: where it keeps what it acked at once; else it acks what is done.
        seconds: what an item takes it, at most.
    """

    id: str
    history: Path
    transport: Literal["amqp", "http"] = "amqp"
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    amqp_urls: tuple[str, ...] = ()
    http_url: str = ""
    spool: Path | None = None
    seconds: float = 0.004
    rejects: float = 0.002


class Ledger:
    """Gives each delivery a name, and writes down what becomes of it."""

    def __init__(self, recorder: Recorder, hands: Hands, transport: str, worker: str) -> None:
        self.recorder = recorder
        self._hands = hands
        self._transport = transport
        self._worker = worker
        self._numbers = itertools.count(1)
        self._holds: dict[Job, str] = {}
        self._unsettled: set[Job] = set()

    def came(self, job: Job) -> None:
        """A batch was delivered."""
        hold = self._holds[job] = f"{self._worker}.{os.getpid()}.{next(self._numbers)}"
        batch = job.batch
        self.recorder.write(
            Delivered(
                hold=hold,
                worker=self._worker,
                transport=self._transport,
                batch=batch.id,
                seed=batch.seed,
                epoch=batch.epoch,
                attempt=batch.attempt,
                flag=job.redelivered,
                header=False,
                items=ids_of(batch.load_items()),
            )
        )
        self._unsettled.add(job)
        self._hands.hold(len(self._unsettled))

    def settled(self, job: Job, how: How, items: Sequence[Item] = ()) -> None:
        """Something was done with a batch, or with some of its items; what came from a spool has no delivery here."""
        hold = self._holds.get(job, f"{self._worker}{SPOOL}")
        self.recorder.write(Settled(hold=hold, how=how, items=ids_of(items)))
        self._unsettled.discard(job)
        self._hands.hold(len(self._unsettled))

    def done(self, job: Job) -> None:
        """Nothing more will come of this delivery."""
        self._holds.pop(job, None)

    def spooled(self, batch: Batch) -> None:
        """What an earlier process took is still here, whatever that was about to do with it."""
        self.recorder.write(Settled(hold=f"{self._worker}{SPOOL}", how="acked", items=ids_of(batch.load_items())))

    def lost(self) -> None:
        """The connection ended: what is not taken is no longer ours."""
        for job in [job for job in self._holds if not job.taken]:
            self.settled(job, "lost")
            self.done(job)


class RecordingInbox:
    """Stands before a worker."""

    def __init__(self, inner: Inbox, ledger: Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    def arrived(self, job: Job) -> None:
        """Write it down first: the worker may ack at once."""
        self._ledger.came(job)
        self._inner.arrived(job)

    def released(self, seed: str, epoch: int) -> None:
        """Pass it on."""
        self._inner.released(seed, epoch)

    def drain(self) -> None:
        """Pass it on."""
        self._inner.drain()

    def lost(self) -> None:
        """Write down what is lost; the worker marks its jobs first, for it may have taken some meanwhile."""
        self._inner.lost()
        self._ledger.lost()

    @property
    def room(self) -> int:
        """The worker's."""
        return self._inner.room

    @property
    def seeds(self) -> frozenset[str]:
        """The worker's."""
        return self._inner.seeds


class RecordingTransport:
    """Stands before a transport. Intents are written before they are carried out, since a kill may come between."""

    def __init__(self, inner: Transport, ledger: Ledger, *, is_spooling: bool) -> None:
        self._inner = inner
        self._ledger = ledger
        self._is_spooling = is_spooling

    async def run(self, inbox: Inbox) -> None:
        """Pass it on."""
        await self._inner.run(RecordingInbox(inbox, self._ledger))

    async def wait_connected(self) -> None:
        """Pass it on."""
        await self._inner.wait_connected()

    async def stop_receiving(self) -> None:
        """Pass it on."""
        await self._inner.stop_receiving()

    async def ack(self, job: Job) -> None:
        """Write down how it went."""
        self._ledger.settled(job, "acking")
        try:
            await self._inner.ack(job)
        except BrokerUnavailableError:
            self._ledger.settled(job, "ack lost")
            raise
        self._ledger.settled(job, "acked")
        if not self._is_spooling:  # else it may still be given back
            self._ledger.done(job)

    async def reject(self, job: Job) -> None:
        """Write it down; what was taken is named, for it may have come to an earlier process."""
        self._ledger.settled(job, "rejected", job.batch.load_items() if job.taken else ())
        await self._inner.reject(job)

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Write down what goes back; with it goes the ack of what is done."""
        items = job.batch.load_items()
        if job.done:
            self._ledger.settled(job, "acking", items[: job.done])
        self._ledger.settled(job, "given back", items[job.done :])
        await self._inner.give_back(job, rest, reason)

    async def results(self, results: Results) -> None:
        """Pass it on."""
        await self._inner.results(results)

    async def submit(self, seed: str, items: Sequence[Item], key: str, *, again: bool) -> None:
        """Write down what was discovered."""
        begun = asyncio.get_running_loop().time()
        told = {"seed": seed, "items": ids_of(items), "begun": begun, "via": "worker"}
        try:
            await self._inner.submit(seed, items, key, again=again)
        except (BrokerUnavailableError, BrokerRefusedError):
            self._ledger.recorder.write(Produced(outcome="unknown", **told))  # type: ignore[arg-type]
            raise
        except asyncio.CancelledError:
            self._ledger.recorder.write(Produced(outcome="unknown", **told))  # type: ignore[arg-type]
            raise
        self._ledger.recorder.write(Produced(outcome="confirmed", **told))  # type: ignore[arg-type]

    async def heartbeat(self, presence: Presence) -> None:
        """Pass it on."""
        await self._inner.heartbeat(presence)


class RecordingSpool(Spool):
    """A spool that tells what it was found with."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        super().__init__(folder)
        self._ledger = ledger

    def load(self) -> list[Batch]:
        """Write down what is there."""
        batches = super().load()
        for batch in batches:
            self._ledger.spooled(batch)
        return batches


def ids_of(items: Sequence[Item]) -> tuple[str, ...]:
    """The items' ids."""
    return tuple(item["id"] for item in items)


async def work(config: Config) -> None:
    """Run the worker until SIGTERM."""
    recorder = Recorder(config.history, config.id)
    identity = Identity(config.id, tuple(sorted(config.tags)), config.transport)
    doings = Work(recorder, config.id, config.seconds, config.rejects)
    doings.listen()
    api = HttpWorker(config.http_url, config.id, identity.tags)
    inner: Transport
    if config.transport == "http":
        inner = HttpTransport(identity, api)
    else:

        async def register() -> Sequence[str]:
            registered = await api.register("amqp")
            first = (registered.amqp_url or "").partition(",")[0]  # of a cluster's nodes; all have the same users
            return [with_address(first, own) for own in config.amqp_urls]

        inner = AmqpTransport(identity, register)
    ledger = Ledger(recorder, Hands(hands_beside(config.history), config.id), config.transport, config.id)
    transport = RecordingTransport(inner, ledger, is_spooling=config.spool is not None)
    spool = RecordingSpool(config.spool, ledger) if config.spool else None
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with api:
        await Worker(identity, transport, doings.handle, spool, stop_timeout=10.0).run(stop)


def with_address(url: str, own: str) -> str:
    """A URL's user and virtual host at the address of another."""
    parts, address = urlsplit(url), urlsplit(own).netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{address}"))


def main() -> None:
    """Read the settings and run."""
    logs.configure("info", "json")
    asyncio.run(work(Config.model_validate_json(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()

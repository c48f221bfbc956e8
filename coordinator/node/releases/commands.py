"""Commands: release, resume, purge. The same for managers on the broker and on HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final

import orjson
import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.domain.counters import Counters
from coordinator.domain.registry import Seed
from coordinator.domain.registry_events import SeedPurged, SeedReleased, SeedResumed
from coordinator.errors import (
    BrokerUnavailableError,
    InvalidInputError,
    ManagementError,
    NotFoundError,
    QueueSilentError,
    UnroutableError,
)
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.registry import Registry
from coordinator.node.releases.seed_release import ReleasedItems, SeedReleases
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.workers.callbacks import Callbacks
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.workers import Workers
from coordinator.validation import check_seed_id, check_worker_id, parse_ids

log = structlog.get_logger(__name__)

OK, NOT_FOUND, INVALID, UNAVAILABLE = 200, 404, 406, 503
PREFETCH = 50
AGAIN = 1.0
"""Seconds until a command that could not be carried out is tried again."""

RELEASE_WORKER: Final = "release.worker"
DRAIN_WORKER: Final = "drain.worker"
RELEASE_SEED: Final = "release.seed"
RESUME_SEED: Final = "resume.seed"
PURGE_SEED: Final = "purge.seed"

Answer = dict[str, object]


class Commands:
    """Carries commands out, id by id."""

    def __init__(
        self,
        *,
        registry: Registry,
        seeds: SeedCatalog,
        seed_releases: SeedReleases,
        seed_stats: SeedStats,
        heartbeats: Heartbeats,
        workers: Workers,
        callbacks: Callbacks,
        publishing: Channel,
        counters: Counters,
    ) -> None:
        self._counters = counters
        self._registry = registry
        self._catalog = seeds
        self.seed_releases = seed_releases
        self._seed_stats = seed_stats
        self._heartbeats = heartbeats
        self._workers = workers
        self._callbacks = callbacks
        self._publishing = publishing
        self._acts: dict[str, tuple[Callable[[str], str], Callable[[str], Awaitable[Answer]]]] = {
            RELEASE_WORKER: (check_worker_id, self._release_worker),
            DRAIN_WORKER: (check_worker_id, self._drain_worker),
            RELEASE_SEED: (check_seed_id, self._release_seed),
            RESUME_SEED: (check_seed_id, self._resume_seed),
            PURGE_SEED: (check_seed_id, self._purge_seed),
        }

    def knows(self, name: str) -> bool:
        """Whether there is such a command."""
        return name in self._acts

    def check(self, name: str, ids: list[str]) -> None:
        """See that a command may be carried out on these ids.

        Raises:
            InvalidInputError: an id is none.
        """
        check, _ = self._acts[name]
        for ident in ids:
            check(ident)

    async def carry_out(self, name: str, ids: list[str]) -> tuple[int, Answer]:
        """Carry a command out on these ids; returns the HTTP status and the answer's JSON.

        Raises:
            InvalidInputError: an id is none; then nothing is done.
            BrokerUnavailableError: nothing, or not all, is known to be done; calling again is harmless.
        """
        self.check(name, ids)
        _, act = self._acts[name]
        began = time.monotonic()
        results = await asyncio.gather(*(self._one(act, ident) for ident in ids))
        if name in (RELEASE_WORKER, RELEASE_SEED):
            self._counters.releases[name].add(time.monotonic() - began)
        missing = sum(result["status"] == NOT_FOUND for result in results)
        message = f"{name}: {len(results) - missing} done" + (f", {missing} not found" if missing else "")
        return (NOT_FOUND if missing else OK), {"message": message, "results": results}

    @staticmethod
    async def _one(act: Callable[[str], Awaitable[Answer]], ident: str) -> Answer:
        try:
            return {"id": ident, "status": OK, **await act(ident)}
        except NotFoundError as error:
            return {"id": ident, "status": NOT_FOUND, "message": str(error)}

    async def _release_worker(self, ident: str) -> Answer:
        batches = await self._workers.release(ident)
        return {"message": "released; what it had not acked goes to others", "batches": batches}

    async def _drain_worker(self, ident: str) -> Answer:
        held = await self._workers.drain(ident)
        return {"message": "asked to finish what it holds and take no more", "batches": held}

    async def _release_seed(self, ident: str) -> Answer:
        """Stop the seed, then take its items back from wherever no worker has begun them."""
        await self._known(ident)
        recalled = await self.seed_releases.stop(ident, await self._registry.append(SeedReleased, seed=ident))
        recalled += await self.seed_releases.sweep(ident)
        epoch = self._catalog.get(ident).epoch
        await self._tell({"type": "seed.released", "seed": ident, "epoch": epoch})
        sent = (await self._seed_stats.of([ident]))[ident].sent
        returned, held = recalled.items, sent + self._heartbeats.in_hand(ident)
        log.info("seed.released", seed=ident, epoch=epoch, returned=returned, held=held)
        answer: Answer = {
            "message": "released; its items stay available until it is resumed",
            "epoch": epoch,
            "returned": returned,
            "held": held,
            "batches": recalled.batches,
            "callbacks": await self._callbacks.released(ident, epoch),
        }
        return answer | ({"unanswered": recalled.missing} if recalled.missing else {})

    async def _resume_seed(self, ident: str) -> Answer:
        seed = await self._known(ident)
        if seed.state == "running":  # so it was: another coordinator may have released it a moment ago
            await self._registry.sync()
            seed = self._catalog.get(ident)
        if seed.state == "released":
            await self._registry.append(SeedResumed, seed=ident)
            await self._tell({"type": "seed.resumed", "seed": ident, "epoch": seed.epoch})
            log.info("seed.resumed", seed=ident)
        return {"message": "running"}

    async def _purge_seed(self, ident: str) -> Answer:
        """Forget the seed, and discard what of it no worker has; also where an earlier purge did not end so."""
        async with self._catalog.purging(ident):
            recalled = ReleasedItems()
            if not await self._catalog.has_leftovers(ident):
                await self._known(ident)
                recalled = await self.seed_releases.stop(ident, await self._registry.append(SeedPurged, seed=ident))
            waited = await self._catalog.discard_items(ident, recalled.traffic)
        recalled += await self.seed_releases.sweep(ident)
        purged = recalled.items + waited
        log.info("seed.purged", seed=ident, items=purged)
        return {"message": "purged and forgotten", "purged": purged}

    async def _known(self, ident: str) -> Seed:
        """A seed; that there is none is said only of now, for what this coordinator knows may be old.

        Others may have cut it off, as where it hung or lost the broker, and gone on without it.

        Raises:
            NotFoundError: there is none.
            BrokerUnavailableError: that cannot be known.
        """
        with contextlib.suppress(NotFoundError):
            return self._catalog.get(ident)
        await self._registry.sync()
        return self._catalog.get(ident)

    async def _tell(self, notice: dict[str, object]) -> None:
        await self._publishing.publish(topology.CONTROL, "", Message(orjson.dumps(notice)))


class CommandReader:
    """Reads commands from the broker, carries them out and answers: at one coordinator at a time.

    What concerns the same seed or worker is carried out in the order in which it came, also where it must be tried
    again: else a release that is late would undo the resume that was sent after it.
    """

    def __init__(self, commands: Commands, publishing: Channel, dead: DeadLetters) -> None:
        self._commands = commands
        self._publishing = publishing
        self._dead_letters = dead
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()
        self._latest: dict[str, asyncio.Task[None]] = {}
        """The command that came last, by what it concerns."""

    async def run(self, connection: Connection) -> None:
        """Read until cancelled. A command is acked once it is carried out, so a crash before that repeats it."""
        await connection.consume(topology.COMMANDS, self._inbox.put_nowait, prefetch=PREFETCH)
        async with asyncio.TaskGroup() as group:
            while True:
                delivery = await self._inbox.get()
                try:
                    name, ids = self._read(delivery)
                except InvalidInputError as error:
                    group.create_task(self._refuse(delivery, error))
                    continue
                keys = [f"{name.rpartition('.')[2]} {ident}" for ident in ids]
                before = {self._latest[key] for key in keys if key in self._latest}
                task = group.create_task(self._handle(delivery, name, ids, before))
                self._latest |= dict.fromkeys(keys, task)
                task.add_done_callback(partial(self._forget, keys))

    def _read(self, delivery: Delivery) -> tuple[str, list[str]]:
        """What a command is, and what it concerns."""
        name = delivery.routing_key
        if not self._commands.knows(name):
            raise InvalidInputError([("routing key", f"{name!r} is no command")])
        try:
            body = orjson.loads(delivery.body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
        ids = parse_ids(body)
        self._commands.check(name, ids)
        return name, ids

    def _forget(self, keys: list[str], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._latest.get(key) is task:
                del self._latest[key]

    async def _refuse(self, delivery: Delivery, error: InvalidInputError) -> None:
        if delivery.reply_to:
            await self._reply(delivery, describe(error) | {"status": INVALID})
        else:
            await self._dead_letters.bury_message(delivery, "command", "", str(error))
        await delivery.ack()

    async def _handle(
        self, delivery: Delivery, name: str, ids: list[str], before: Collection[asyncio.Task[None]]
    ) -> None:
        if before:
            await asyncio.wait(before)
        status, answer = await self._carry_out(name, ids)
        while status == UNAVAILABLE and not delivery.reply_to:  # nobody would repeat it
            await asyncio.sleep(AGAIN)
            status, answer = await self._carry_out(name, ids)
        if delivery.reply_to:
            await self._reply(delivery, answer | {"status": status})
        await delivery.ack()

    async def _carry_out(self, name: str, ids: list[str]) -> tuple[int, Answer]:
        try:
            return await self._commands.carry_out(name, ids)
        except (BrokerUnavailableError, ManagementError, QueueSilentError) as error:
            log.warning("command.failed", command=name, problem=str(error))
            return UNAVAILABLE, {"message": str(error)}

    async def _reply(self, delivery: Delivery, answer: Answer) -> None:
        message = Message(orjson.dumps(answer), correlation_id=delivery.correlation_id)
        try:
            await self._publishing.publish("", delivery.reply_to or "", message, mandatory=True)
        except UnroutableError:
            log.info("command.reply_unwanted", command=delivery.routing_key)


def describe(error: InvalidInputError) -> Answer:
    """An answer that names what is wrong, field by field."""
    return {
        "message": str(error),
        "errors": [{"field": field, "message": what} for field, what in error.problems],
    }

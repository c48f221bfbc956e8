"""Commands: release, drain, resume, purge. The same for managers on the broker and on HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
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
CHECKS: Final[dict[str, Callable[[str], str]]] = {
    RELEASE_WORKER: check_worker_id,
    DRAIN_WORKER: check_worker_id,
    RELEASE_SEED: check_seed_id,
    RESUME_SEED: check_seed_id,
    PURGE_SEED: check_seed_id,
}
"""The commands, and what checks an id of each."""

Answer = dict[str, object]


@dataclass(slots=True, kw_only=True)
class Commands:
    """Carries commands out, id by id."""

    registry: Registry
    catalog: SeedCatalog
    seed_releases: SeedReleases
    seed_stats: SeedStats
    heartbeats: Heartbeats
    workers: Workers
    callbacks: Callbacks
    publishing: Channel
    counters: Counters

    def knows(self, name: str) -> bool:
        """Return whether there is such a command."""
        return name in CHECKS

    def check(self, name: str, ids: list[str]) -> None:
        """Check that a command can be carried out on these ids.

        Raises:
            InvalidInputError: an id is not valid.
        """
        check = CHECKS[name]
        for ident in ids:
            check(ident)

    def _act(self, name: str) -> Callable[[str], Awaitable[Answer]]:
        return {
            RELEASE_WORKER: self._release_worker,
            DRAIN_WORKER: self._drain_worker,
            RELEASE_SEED: self._release_seed,
            RESUME_SEED: self._resume_seed,
            PURGE_SEED: self._purge_seed,
        }[name]

    async def carry_out(self, name: str, ids: list[str]) -> tuple[int, Answer]:
        """Carry a command out on these ids; returns the HTTP status and the answer as JSON.

        Raises:
            InvalidInputError: an id is not valid; then nothing is done.
            BrokerUnavailableError: nothing, or not all, is known to be done; calling again is harmless.
        """
        self.check(name, ids)
        act = self._act(name)
        began = time.monotonic()
        results = await asyncio.gather(*(self._one(act, ident) for ident in ids))
        if name in (RELEASE_WORKER, RELEASE_SEED):
            self.counters.releases[name].add(time.monotonic() - began)
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
        batches = await self.workers.release(ident)
        return {"message": "released; what it had not acked goes to others", "batches": batches}

    async def _drain_worker(self, ident: str) -> Answer:
        held = await self.workers.drain(ident)
        return {"message": "asked to finish what it holds and take no more", "batches": held}

    async def _release_seed(self, ident: str) -> Answer:
        """Stop the seed, then take its items back from wherever no worker has begun them."""
        await self._known(ident)
        recalled = await self.seed_releases.stop(ident, await self.registry.append(SeedReleased, seed=ident))
        recalled += await self.seed_releases.sweep(ident)
        epoch = self.catalog.get(ident).epoch
        await self._announce({"type": "seed.released", "seed": ident, "epoch": epoch})
        sent = (await self.seed_stats.of([ident]))[ident].sent
        returned, held = recalled.items, sent + self.heartbeats.in_hand(ident)
        log.info("seed.released", seed=ident, epoch=epoch, returned=returned, held=held)
        answer: Answer = {
            "message": "released; its items stay available until it is resumed",
            "epoch": epoch,
            "returned": returned,
            "held": held,
            "batches": recalled.batches,
            "callbacks": await self.callbacks.released(ident, epoch),
        }
        return answer | ({"unanswered": recalled.missing} if recalled.missing else {})

    async def _resume_seed(self, ident: str) -> Answer:
        seed = await self._known(ident)
        if seed.state == "running":  # another replica may have released it a moment ago
            await self.registry.sync()
            seed = self.catalog.get(ident)
        if seed.state == "released":
            await self.registry.append(SeedResumed, seed=ident)
            await self._announce({"type": "seed.resumed", "seed": ident, "epoch": seed.epoch})
            log.info("seed.resumed", seed=ident)
        return {"message": "running"}

    async def _purge_seed(self, ident: str) -> Answer:
        """Forget the seed, and discard its items that no worker has; also where an earlier purge was cut short."""
        async with self.catalog.purging(ident):
            recalled = ReleasedItems()
            if not await self.catalog.has_leftovers(ident):
                await self._known(ident)
                recalled = await self.seed_releases.stop(ident, await self.registry.append(SeedPurged, seed=ident))
            waited = await self.catalog.discard_items(ident, recalled.traffic)
        recalled += await self.seed_releases.sweep(ident)
        purged = recalled.items + waited
        log.info("seed.purged", seed=ident, items=purged)
        return {"message": "purged and forgotten", "purged": purged}

    async def _known(self, ident: str) -> Seed:
        """Return a seed. Before an unknown one is refused, the registry is read to its end.

        Else a replica that hung, and was cut off, would deny a seed that the others made meanwhile.

        Raises:
            NotFoundError: there is no such seed.
            BrokerUnavailableError: the registry cannot be read to its end.
        """
        with contextlib.suppress(NotFoundError):
            return self.catalog.get(ident)
        await self.registry.sync()
        return self.catalog.get(ident)

    async def _announce(self, notice: dict[str, object]) -> None:
        await self.publishing.publish(topology.CONTROL, "", Message(orjson.dumps(notice)))


@dataclass(slots=True, kw_only=True)
class CommandReader:
    """Reads commands from the broker, carries them out and answers: at one replica at a time.

    Commands for the same seed or worker are carried out in the order in which they came, also where one must be tried
    again: else a late release would undo the resume that was sent after it.
    """

    commands: Commands
    publishing: Channel
    dead_letters: DeadLetters
    _inbox: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue, init=False)
    _latest: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    """The last command for each seed and worker."""

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
        """Return the command and its ids."""
        name = delivery.routing_key
        if not self.commands.knows(name):
            raise InvalidInputError([("routing key", f"{name!r} is not a command")])
        try:
            body = orjson.loads(delivery.body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
        ids = parse_ids(body)
        self.commands.check(name, ids)
        return name, ids

    def _forget(self, keys: list[str], task: asyncio.Task[None]) -> None:
        for key in keys:
            if self._latest.get(key) is task:
                del self._latest[key]

    async def _refuse(self, delivery: Delivery, error: InvalidInputError) -> None:
        if delivery.reply_to:
            await self._reply(delivery, describe(error) | {"status": INVALID})
        else:
            await self.dead_letters.keep_message(delivery, "command", "", str(error))
        await delivery.ack()

    async def _handle(
        self, delivery: Delivery, name: str, ids: list[str], before: Collection[asyncio.Task[None]]
    ) -> None:
        if before:
            await asyncio.wait(before)
        status, answer = await self._carry_out(name, ids)
        while (
            status == UNAVAILABLE and not delivery.reply_to
        ):  # its sender does not wait for an answer, so it would not repeat it
            await asyncio.sleep(AGAIN)
            status, answer = await self._carry_out(name, ids)
        if delivery.reply_to:
            await self._reply(delivery, answer | {"status": status})
        await delivery.ack()

    async def _carry_out(self, name: str, ids: list[str]) -> tuple[int, Answer]:
        try:
            return await self.commands.carry_out(name, ids)
        except (BrokerUnavailableError, ManagementError, QueueSilentError) as error:
            log.warning("command.failed", command=name, problem=str(error))
            return UNAVAILABLE, {"message": str(error)}

    async def _reply(self, delivery: Delivery, answer: Answer) -> None:
        message = Message(orjson.dumps(answer), correlation_id=delivery.correlation_id)
        try:
            await self.publishing.publish("", delivery.reply_to or "", message, mandatory=True)
        except UnroutableError:
            log.info("command.reply_unwanted", command=delivery.routing_key)


def describe(error: InvalidInputError) -> Answer:
    """Return an answer that names what is wrong, field by field."""
    return {
        "message": str(error),
        "errors": [{"field": field, "message": what} for field, what in error.problems],
    }

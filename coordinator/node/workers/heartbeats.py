"""Heartbeats of workers: they come every two seconds, and a worker whose heartbeats stop has failed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson
import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.domain.counters import Counters
from coordinator.domain.membership import Silence
from coordinator.domain.registry import WORKER_MEMORY
from coordinator.domain.registry_events import WorkerDrained, WorkerSeen
from coordinator.domain.tags import TagSet, eligible
from coordinator.errors import InvalidInputError, UnroutableError
from coordinator.models import Presence, Transport
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.validation import check_worker_id, invalid

log = structlog.get_logger(__name__)

TICK = 0.5
LONG_TICK = 2.0
"""Seconds between two ticks from which on this process was held up itself, and may have missed heartbeats."""
LONGEST_FETCH = 60.0
"""Seconds that a fetch may wait: an HTTP worker may be silent for so long."""
RECORDED_EVERY = 3600.0
"""Seconds between entries in the registry for a worker that stays as it is, or as it registered."""
CHANGES_RECORDED_EVERY = 10.0
"""Seconds between entries for a worker whose tags or transport change each time, as where callers share an id."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A presence message; `at` is when it came, in Unix time."""

    presence: Presence
    at: float
    since: float
    """When it came, by the monotonic clock."""


@dataclass(slots=True, kw_only=True)
class Heartbeats:
    """Which workers there are and what they hold.

    Attributes:
        registry: keeps the known workers.
        publishing: the channel for answers to workers.
        dead_letters: get malformed heartbeats.
        replicas: one of them deals with a silent worker.
        events: record what a worker holds.
        timeout: seconds of silence after which a worker has failed.
        counters: count the silent workers.
        on_silence: is called with a silent worker until it is forgotten or heard again.
    """

    registry: Registry
    publishing: Channel
    dead_letters: DeadLetters
    replicas: Replicas
    events: Events
    timeout: float
    counters: Counters
    on_silence: Callable[[str], Awaitable[None]] | None = field(default=None, init=False)
    _silence: Silence = field(default_factory=Silence, init=False)
    _heard: dict[str, Heartbeat] = field(default_factory=dict, init=False)
    _called: dict[str, float] = field(default_factory=dict, init=False)
    _inbox: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue, init=False)

    async def run(self, connection: Connection) -> None:
        """Receive heartbeats until cancelled."""
        channel = await connection.channel()
        own = await channel.declare_own_queue("", [(topology.PRESENCE, "")])
        await channel.consume(own, self._inbox.put_nowait, prefetch=200)
        while True:
            delivery = await self._inbox.get()
            try:
                presence = Presence.model_validate_json(delivery.body)
            except ValidationError as error:
                await self.dead_letters.keep_message(delivery, "presence", "", str(invalid(error)))
            else:
                await self._hear(presence, delivery)
            await delivery.ack()

    async def watch(self) -> None:
        """Find the workers that have fallen silent, until cancelled.

        Their silence counts only while this replica hears itself through the broker, and is not held up itself: an
        alarm of the broker, a lost connection or a pause of this process silences all workers, and none has failed.
        """
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            elapsed, last = now - last, now
            if not self.replicas.is_hearing or elapsed > LONG_TICK:
                continue
            self._silence.passed(elapsed)
            for worker in self._silence.longer_than(self.timeout):
                if self.on_silence is not None and self.replicas.owns(f"worker {worker}"):
                    self.counters.silent += 1
                    log.warning("worker.silent", worker=worker, seconds=self.timeout)
                    await self.on_silence(worker)

    def heard(self, worker: str) -> Heartbeat | None:
        """Return the last heartbeat of a worker, if it is recent."""
        found = self._heard.get(worker)
        return found if found is not None and time.monotonic() - found.since < self.timeout else None

    def present(self) -> list[Heartbeat]:
        """Return all recent heartbeats."""
        limit = time.monotonic() - self.timeout
        return [heard for heard in self._heard.values() if heard.since >= limit]

    def held(self) -> set[str]:
        """Return the ids of the batches that library workers hold unacked."""
        return {batch.batch for heard in self.present() for batch in heard.presence.held}

    def in_hand(self, seed: str) -> int:
        """Return the items of a seed that workers have acked and not finished."""
        return sum(heard.presence.taken.get(seed, 0) for heard in self.present())

    def items_by_seed(self) -> tuple[Counter[str], Counter[str]]:
        """Return by seed the items that workers have acked and not finished, and those that they hold unacked."""
        taken: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for heard in self.present():
            taken.update(heard.presence.taken)
            for batch in heard.presence.held:
                held[batch.seed] += batch.count
        return taken, held

    def called(self) -> dict[str, float]:
        """Return when each HTTP worker fetched here last (Unix time in seconds), if that is recent."""
        limit = time.time() - max(self.timeout, LONGEST_FETCH)
        self._called = {worker: at for worker, at in self._called.items() if at >= limit}
        return dict(self._called)

    def forget(self, worker: str) -> None:
        """Drop the heartbeat of a removed worker."""
        self._heard.pop(worker, None)
        self._called.pop(worker, None)
        self._silence.forget(worker)

    async def record(self, worker: str, tags: tuple[str, ...], transport: Transport) -> None:
        """Record a sign of life, if the registry does not say the same already.

        Raises:
            InvalidInputError: the id is not valid.
        """
        if transport == "http":
            self._called[worker] = time.time()
        known = self.registry.state.workers.get(worker)
        silence = time.time() - known.seen if known is not None else WORKER_MEMORY
        is_same = known is not None and (
            known.registered or (known.spec.tags, known.spec.transport) == (tags, transport)
        )
        if silence > (RECORDED_EVERY if is_same else CHANGES_RECORDED_EVERY):
            await self.registry.append(WorkerSeen, worker=worker, tags=tags, transport=transport)
            if known is None:
                log.info("worker.seen", worker=worker, tags=list(tags), transport=transport)

    async def _hear(self, presence: Presence, delivery: Delivery) -> None:
        before = self._heard.get(presence.worker)
        mine = self.replicas.owns(f"worker {presence.worker}")
        self.events.held(presence.worker, before.presence.held if before else (), presence.held, is_mine=mine)
        self._heard[presence.worker] = Heartbeat(presence, time.time(), time.monotonic())
        self._silence.heard(presence.worker)
        tags = tuple(sorted(presence.tags))
        await self.record(presence.worker, tags, presence.transport)
        await self._record_standing(presence, tags, is_new=bool(delivery.reply_to))
        if delivery.reply_to:
            await self._bring_up_to_date(presence, delivery.reply_to)

    async def _record_standing(self, presence: Presence, tags: TagSet, *, is_new: bool) -> None:
        """Record that a worker has drained, or that a worker that was cut off or drained has begun anew."""
        known = self.registry.state.workers.get(presence.worker)
        if known is None or known.standing == "free" or not self.replicas.owns(f"worker {presence.worker}"):
            return
        if presence.draining and known.standing == "draining" and not presence.held and not presence.taken:
            await self.registry.append(WorkerDrained, worker=presence.worker)
        elif is_new and not presence.draining:
            await self.registry.append(
                WorkerSeen, worker=presence.worker, tags=tags, transport=presence.transport, back=True
            )

    async def _bring_up_to_date(self, presence: Presence, reply_to: str) -> None:
        """Send a worker that has just connected the work queues of its tags, and what was released meanwhile."""
        state = self.registry.state
        notices = [tags_notice(tags) for tags in eligible(frozenset(presence.tags), state.tag_sets)]
        for ident in sorted({*presence.taken, *(batch.seed for batch in presence.held)}):
            seed = state.seeds.get(ident)
            if seed is not None and seed.epoch > 1:
                notices.append(released_notice(ident, seed.epoch))
        for notice in notices:
            try:
                await self.publishing.publish("", reply_to, notice, mandatory=True)
            except UnroutableError:
                return


def tags_notice(tags: tuple[str, ...]) -> Message:
    """Return the notice that there is a work queue for these tags."""
    notice = {"type": "tags.added", "tags": tags, "queue": topology.work_queue_name(tags)}
    return Message(orjson.dumps(notice))


def drain_notice(worker: str) -> Message:
    """Return the notice that a worker should finish what it has and accept no more."""
    return Message(orjson.dumps({"type": "worker.drain", "worker": worker}))


def released_notice(seed: str, epoch: int) -> Message:
    """Return the notice that a seed was released: batches older than this epoch are stale."""
    return Message(orjson.dumps({"type": "seed.released", "seed": seed, "epoch": epoch}))


def read_worker_name(connection_name: str) -> str | None:
    """Return the worker id in a connection's name, if there is one."""
    kind, _, ident = connection_name.partition(":")
    if kind != "worker":
        return None
    try:
        return check_worker_id(ident)
    except InvalidInputError:
        return None

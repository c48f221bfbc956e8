"""Presence: what workers say of themselves, every two seconds, and what it means when one of them stops."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
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
"""Seconds between two ticks after which this process was held up itself, and may have missed what was said."""
LONGEST_FETCH = 60.0
"""Seconds that a fetch may wait: a worker that speaks HTTP may be silent for as long."""
NOTED_EVERY = 3600.0
"""Seconds between entries in the registry of a worker that stays as it is, or as it registered."""
CHANGES_NOTED_EVERY = 10.0
"""Seconds between entries of a worker that says something else each time, as callers do that share an address."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A presence message and when it came (Unix time in seconds, to be shown)."""

    presence: Presence
    at: float
    since: float
    """The same by a clock that nobody sets."""


class Heartbeats:
    """Which workers there are and what they hold."""

    def __init__(
        self,
        *,
        registry: Registry,
        publishing: Channel,
        dead: DeadLetters,
        replicas: Replicas,
        events: Events,
        timeout: float,
        counters: Counters,
    ) -> None:
        """Make an empty roster.

        Args:
            registry: where known workers are kept.
            publishing: what answers to workers are published on.
            dead: where malformed presence goes.
            replicas: the other coordinators; one of them deals with a silent worker.
            events: where it is noted what a worker holds.
            timeout: seconds of silence after which a worker that sent presence counts as failed.
            counters: counts the silent.
        """
        self._replicas = replicas
        self._events = events
        self._timeout = timeout
        self._silence = Silence()
        self._on_silence: Callable[[str], Awaitable[None]] | None = None
        self._registry = registry
        self._publishing = publishing
        self._dead_letters = dead
        self._counters = counters
        self._heard: dict[str, Heartbeat] = {}
        self._called: dict[str, float] = {}
        self._inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def run(self, channel: Channel) -> None:
        """Listen until cancelled."""
        own = await channel.declare_own_queue("", [(topology.PRESENCE, "")])
        await channel.consume(own, self._inbox.put_nowait, prefetch=200)
        while True:
            delivery = await self._inbox.get()
            try:
                presence = Presence.model_validate_json(delivery.body)
            except ValidationError as error:
                await self._dead_letters.bury_message(delivery, "presence", "", str(invalid(error)))
            else:
                await self._hear(presence, delivery)
            await delivery.ack()

    def on_silence(self, act: Callable[[str], Awaitable[None]]) -> None:
        """Have this done to a worker whose presence has stopped, until it is forgotten or heard again."""
        self._on_silence = act

    async def watch(self) -> None:
        """Find the workers that have fallen silent, until cancelled.

        Their silence counts only while this coordinator hears itself through the broker, and is not held up itself:
        an alarm of the broker, a lost connection or a pause of this process silences all workers, and none has failed.
        """
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            elapsed, last = now - last, now
            if not self._replicas.is_hearing or elapsed > LONG_TICK:
                continue
            self._silence.passed(elapsed)
            for worker in self._silence.longer_than(self._timeout):
                if self._on_silence is not None and self._replicas.owns(f"worker {worker}"):
                    self._counters.silent += 1
                    log.warning("worker.silent", worker=worker, seconds=self._timeout)
                    await self._on_silence(worker)

    def heard(self, worker: str) -> Heartbeat | None:
        """The last presence of a worker, if it is recent enough to be true."""
        found = self._heard.get(worker)
        return found if found is not None and time.monotonic() - found.since < self._timeout else None

    def present(self) -> list[Heartbeat]:
        """All recent presence messages."""
        limit = time.monotonic() - self._timeout
        return [heard for heard in self._heard.values() if heard.since >= limit]

    def held(self) -> set[str]:
        """Ids of the batches that library workers hold unacked."""
        return {batch.batch for heard in self.present() for batch in heard.presence.held}

    def in_hand(self, seed: str) -> int:
        """Items of a seed that workers have taken and not finished."""
        return sum(heard.presence.taken.get(seed, 0) for heard in self.present())

    def items_by_seed(self) -> tuple[Counter[str], Counter[str]]:
        """Items that workers have taken and not finished, and those that they hold unacked, by seed."""
        taken: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for heard in self.present():
            taken.update(heard.presence.taken)
            for batch in heard.presence.held:
                held[batch.seed] += batch.count
        return taken, held

    def called(self) -> dict[str, float]:
        """When each worker that speaks HTTP has fetched here last (Unix time in seconds), if that is recent."""
        limit = time.time() - max(self._timeout, LONGEST_FETCH)
        self._called = {worker: at for worker, at in self._called.items() if at >= limit}
        return dict(self._called)

    def forget(self, worker: str) -> None:
        """Drop what a removed worker said."""
        self._heard.pop(worker, None)
        self._called.pop(worker, None)
        self._silence.forget(worker)

    async def note(self, worker: str, tags: tuple[str, ...], transport: Transport) -> None:
        """Record a sign of life, if the registry does not say the same already.

        Raises:
            InvalidInputError: the id is none.
        """
        if transport == "http":
            self._called[worker] = time.time()
        known = self._registry.state.workers.get(worker)
        silence = time.time() - known.seen if known is not None else WORKER_MEMORY
        is_same = known is not None and (
            known.registered or (known.spec.tags, known.spec.transport) == (tags, transport)
        )
        if silence > (NOTED_EVERY if is_same else CHANGES_NOTED_EVERY):
            await self._registry.append(WorkerSeen, worker=worker, tags=tags, transport=transport)
            if known is None:
                log.info("worker.seen", worker=worker, tags=list(tags), transport=transport)

    async def _hear(self, presence: Presence, delivery: Delivery) -> None:
        before = self._heard.get(presence.worker)
        mine = self._replicas.owns(f"worker {presence.worker}")
        self._events.held(presence.worker, before.presence.held if before else (), presence.held, is_mine=mine)
        self._heard[presence.worker] = Heartbeat(presence, time.time(), time.monotonic())
        self._silence.heard(presence.worker)
        tags = tuple(sorted(presence.tags))
        await self.note(presence.worker, tags, presence.transport)
        await self._note_standing(presence, tags, is_new=bool(delivery.reply_to))
        if delivery.reply_to:
            await self._bring_up_to_date(presence, delivery.reply_to)

    async def _note_standing(self, presence: Presence, tags: TagSet, *, is_new: bool) -> None:
        """Record that a worker has drained, or that one that was cut off or drained has begun anew."""
        known = self._registry.state.workers.get(presence.worker)
        if known is None or known.standing == "free" or not self._replicas.owns(f"worker {presence.worker}"):
            return
        if presence.draining and known.standing == "draining" and not presence.held and not presence.taken:
            await self._registry.append(WorkerDrained, worker=presence.worker)
        elif is_new and not presence.draining:
            await self._registry.append(
                WorkerSeen, worker=presence.worker, tags=tags, transport=presence.transport, back=True
            )

    async def _bring_up_to_date(self, presence: Presence, reply_to: str) -> None:
        """A worker that has just connected asks which work queues its tags allow, and what was released meanwhile."""
        state = self._registry.state
        notices = [tags_notice(tags) for tags in eligible(frozenset(presence.tags), state.tag_sets)]
        for ident in sorted({*presence.taken, *(batch.seed for batch in presence.held)}):
            seed = state.seeds.get(ident)
            if seed is not None and seed.epoch > 1:
                notices.append(released_notice(ident, seed.epoch))
        for notice in notices:
            try:
                await self._publishing.publish("", reply_to, notice, mandatory=True)
            except UnroutableError:
                return


def tags_notice(tags: tuple[str, ...]) -> Message:
    """The notice that there is a work queue for these tags."""
    notice = {"type": "tags.added", "tags": tags, "queue": topology.work_queue_name(tags)}
    return Message(orjson.dumps(notice))


def drain_notice(worker: str) -> Message:
    """The notice that a worker should finish what it has and take no more."""
    return Message(orjson.dumps({"type": "worker.drain", "worker": worker}))


def released_notice(seed: str, epoch: int) -> Message:
    """The notice that a seed was released: batches older than this epoch are stale."""
    return Message(orjson.dumps({"type": "seed.released", "seed": seed, "epoch": epoch}))


def read_worker_name(connection_name: str) -> str | None:
    """The worker id that a connection's name tells, if it tells one."""
    kind, _, ident = connection_name.partition(":")
    if kind != "worker":
        return None
    try:
        return check_worker_id(ident)
    except InvalidInputError:
        return None

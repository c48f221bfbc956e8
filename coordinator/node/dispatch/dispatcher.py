"""Dispatch: the pages of the seeds owned here become batches in the work queues, in fair turns."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator

import structlog

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery
from coordinator.domain.packing import Piece
from coordinator.domain.registry import Seed
from coordinator.domain.registry_events import (
    Event,
    SeedCreated,
    SeedPurged,
    SeedReleased,
    SeedResumed,
    SeedSet,
    SeedsSpent,
)
from coordinator.errors import CoordinatorError, InvalidInputError, QueueFullError, QueueSilentError
from coordinator.node.dispatch.planner import PlannedBatch, Planner
from coordinator.node.dispatch.seed_consumer import ConsumerChannels, SeedConsumer, prefetch_for, read_page
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues, settle
from coordinator.node.work_queues.publisher import Publisher, StaleBatchError

log = structlog.get_logger(__name__)

BURST = 64
"""Batches planned at once."""
MOST_FLYING = 256
"""Batches whose confirms are awaited at most."""
TENDED_AT_ONCE = 16
"""Seeds that are taken up or let go at the same time."""


class Dispatcher:
    """All lines of this coordinator, and the loop that serves them."""

    def __init__(
        self,
        *,
        connection: Connection,
        registry: Registry,
        work: Publisher,
        available: SeedQueues,
        dead: DeadLetters,
        replicas: Replicas,
        events: Events,
        trusted: frozenset[str],
        linger: float,
    ) -> None:
        self.lines: dict[str, SeedConsumer] = {}
        self.planner = Planner(self.lines, registry, work, linger)
        self._replicas = replicas
        self._events = events
        self._channels = ConsumerChannels(connection)
        self._registry = registry
        self._publisher = work
        self._seed_queues = available
        self._dead_letters = dead
        self._trusted = trusted
        self._wake = asyncio.Event()
        self._bursting = asyncio.Lock()
        self._flying: dict[asyncio.Future[str], SeedConsumer] = {}
        self._landing = asyncio.Event()
        self._lost: CoordinatorError | None = None
        self._tending: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self._malformed: asyncio.Queue[tuple[str, Delivery, str]] = asyncio.Queue()
        self._old: set[str] = set()
        """Seeds of earlier times whose queues nobody here has consumed yet."""
        self._fresh: set[SeedConsumer] = set()
        """Lines with pages at hand that were not synced yet."""
        self._full: set[SeedConsumer] = set()
        """Lines whose queue may bring no more pages: perhaps cramped."""
        self._looking: set[str] = set()
        self._is_stopping = False

    async def start(self) -> None:
        """Have the queues of all running seeds that belong here consumed.

        A queue is consumed only from here on, so whatever it brings comes after all releases that were replayed.
        """
        for tags in sorted(self._registry.state.tag_sets):
            await self._publisher.declare(tags)
        self._old.update(self._registry.state.seeds)
        for seed in self._registry.state.seeds:
            self._changed.put_nowait(seed)

    async def run(self) -> None:
        """Serve the lines until cancelled."""
        async with asyncio.TaskGroup() as looking:
            while True:
                await self._publisher.standstill.is_over.wait()
                while len(self._flying) > MOST_FLYING - BURST:
                    self._landing.clear()
                    await self._landing.wait()
                count = await self._burst()
                self._look_ahead(looking)
                if not count and self._publisher.standstill.is_over.is_set():
                    await self._rest()

    async def keep_up(self) -> None:
        """Follow the registry: take up seeds that come into being or run again, and new policies.

        Some at a time, for each waits for the broker: one by one a thousand would take half a minute, and if all were
        begun at once, the last would wait longer than a call may.
        """

        async def follow() -> None:
            while True:
                await self.tend(await self._changed.get())

        async with asyncio.TaskGroup() as group:
            for _ in range(TENDED_AT_ONCE):
                group.create_task(follow())

    async def bury(self) -> None:
        """Put malformed pages away."""
        while True:
            seed, delivery, reason = await self._malformed.get()
            await self._dead_letters.keep_message(delivery, "page", seed, reason)
            await delivery.ack()

    async def tend(self, ident: str) -> None:
        """Have a line for a seed that runs and belongs here, and none for any other."""
        async with self._tending[ident]:
            seed = self._registry.state.seeds.get(ident)
            line = self.lines.get(ident)
            if seed is None or seed.state != "running" or self._is_stopping or not self._replicas.owns(ident):
                if line is not None:
                    await self._close(line)
            elif line is None:
                await self._open(seed)
            elif line.is_lost:
                log.warning("seed.queue_missing", seed=ident)
                await line.reopen()
            elif line.spec != seed.spec:
                await self._publisher.declare(seed.spec.tags)
                self._configure(line, seed)
                self._wake.set()

    async def stop(self) -> None:
        """Close all lines for good: each page goes back as far as it was not sent."""
        self._is_stopping = True
        await asyncio.gather(*(self.tend(ident) for ident in list(self.lines)))

    def buffered(self, ident: str) -> tuple[int, int]:
        """Items of a seed that are at hand here, and the pages they came in."""
        line = self.lines.get(ident)
        return (line.buffer.items, len(line.buffer)) if line else (0, 0)

    def unfed(self) -> Iterator[tuple[str, int]]:
        """The seeds that have nothing at hand here, and nothing on its way; of each how many pages have come so far."""
        busy = set(self._flying.values())
        for ident, line in self.lines.items():
            if not len(line.buffer) and line not in busy:
                yield ident, self._seed_queues.pages.of(ident).took_pages

    async def renew(self, ident: str) -> None:
        """Consume a seed's queue anew, if that is still done here."""
        if line := self.lines.get(ident):
            await line.renew()

    async def _open(self, seed: Seed) -> None:
        """Make a line. A queue without a leader is tried again later; nothing else waits for it."""
        await self._publisher.declare(seed.spec.tags)
        self.lines[seed.id] = line = SeedConsumer(seed, self._on_page, self._on_loss, prefetch_for(len(self.lines) + 1))
        self.planner.note(line.queue)
        try:
            await line.open(self._channels, is_new=seed.id not in self._old)
        except QueueSilentError:
            del self.lines[seed.id]
            log.warning("seed.not_consumed", seed=seed.id)
            silence = self._channels.silence(seed.id)
            asyncio.get_running_loop().call_later(silence, self._changed.put_nowait, seed.id)
        else:
            self._old.discard(seed.id)
            self._events.seed("seed.owner", seed.id)

    async def _close(self, line: SeedConsumer) -> None:
        """Stop a line and give back what it has at hand.

        Its open confirms come first: from the moment the broker ends its consumer another owner may dispatch, and then
        nothing of this one's may still be on its way, or spent and not yet recorded.
        """
        async with self._bursting:
            self.lines.pop(line.id, None)
            self.planner.remove(line.id)
            self._fresh.discard(line)
            self._full.discard(line)
        if flying := [sent for sent, owner in self._flying.items() if owner is line]:
            await asyncio.wait(flying)
        await self._seed_queues.give_back(line.id, await line.close(self._channels))

    def wake(self) -> None:
        """Look for work again: something may go now that could not before."""
        self._wake.set()

    def on_event(self, event: Event) -> None:
        """Take up what the registry says of a seed."""
        if isinstance(event, (SeedCreated, SeedSet, SeedReleased, SeedResumed, SeedPurged)):
            self._changed.put_nowait(event.seed)

    def _on_loss(self, line: SeedConsumer) -> None:
        """Its queue was deleted: with the seed, or behind our back, and then it is made anew."""
        if self.lines.get(line.id) is line:
            self._changed.put_nowait(line.id)

    def rebalance(self) -> None:
        """Other coordinators have come or gone: take up what belongs here now, and let go of what does not."""
        for ident, seed in self._registry.state.seeds.items():
            if seed.state == "running" and (ident in self.lines) != self._replicas.owns(ident):
                self._changed.put_nowait(ident)

    def _on_page(self, line: SeedConsumer, delivery: Delivery) -> None:
        try:
            piece = read_page(delivery, line.id, self._trusted)
        except InvalidInputError as error:
            self._malformed.put_nowait((line.id, delivery, str(error)))
            return
        delivery.body = b""  # its text is in the piece, and thousands of pages would be held twice
        self._seed_queues.pages.took(line.id, piece.count)
        line.buffer.add(piece)
        if self.lines.get(line.id) is line:  # else it is being closed, and gives this back
            self._note_page(line, piece)
            self.planner.add(line.id)
            self._wake.set()

    def _note_page(self, line: SeedConsumer, piece: Piece) -> None:
        """Note what a page makes of its line, so that nobody has to look through thousands of lines for it."""
        if not line.is_synced:
            self._fresh.add(line)
        if len(line.buffer) >= line.prefetch:
            self._full.add(line)
        if piece.batch is not None:
            self.planner.note(topology.work_queue_name(piece.batch.tags))

    async def _burst(self) -> int:
        """Send what may go now; returns how many batches went. Their confirms come while the next ones go.

        Raises:
            BrokerUnavailableError: one that went before had no answer, since the connection is gone.
        """
        if self._lost:
            raise self._lost
        self._wake.clear()
        async with self._bursting:
            await self._sync()
            # A standstill may have begun meanwhile, and whoever asked for it was told that nothing is on its way.
            parcels = self.planner.plan(BURST) if self._publisher.standstill.is_over.is_set() else []
            if parcels:
                await self._record(parcels)
                for parcel in parcels:
                    self._send(parcel)
        for line in [parcel.line for parcel in parcels if not len(parcel.line.buffer)]:
            self.planner.remove(line.id)
        return len(parcels)

    async def _sync(self) -> None:
        """Before a line's first batch: read the registry up to now, so that no release of its time goes unseen."""
        if self._fresh:
            fresh = list(self._fresh)
            await self._registry.sync()
            for line in fresh:
                self._fresh.discard(line)
                seed = self._registry.state.seeds.get(line.id)
                if seed is not None:
                    await self._publisher.declare(seed.spec.tags)
                    self._configure(line, seed)
                    line.is_synced = True

    def _configure(self, line: SeedConsumer, seed: Seed) -> None:
        line.configure(seed)
        self.planner.note(line.queue)
        self._full.add(line)

    async def _record(self, parcels: list[PlannedBatch]) -> None:
        """Write throttled spending down before it happens, so that a next owner cannot spend it again."""
        items: defaultdict[str, int] = defaultdict(int)
        for parcel in parcels:
            if parcel.line.meter.is_recorded:
                items[parcel.line.id] += parcel.batch.count
        if items:
            await self._registry.append(SeedsSpent, items=dict(items))

    def _send(self, parcel: PlannedBatch) -> None:
        began = time.monotonic()
        try:
            sent = self._publisher.send(parcel.batch, redelivered=parcel.pieces[0].redelivered)
        except StaleBatchError as error:
            self._keep(parcel, error)
        else:
            self._flying[sent] = parcel.line
            sent.add_done_callback(lambda _: self._landed(parcel, began, sent))

    def _landed(self, parcel: PlannedBatch, began: float, sent: asyncio.Future[str]) -> None:
        del self._flying[sent]
        self._landing.set()
        match sent.exception():
            case None:
                self._publisher.landed(topology.work_queue_name(parcel.batch.tags))
                self._publisher.counters.bursts.add(time.monotonic() - began)
                settle(parcel.pieces)
            case QueueFullError() | QueueSilentError() as error:
                self._keep(parcel, error)
            case CoordinatorError() as error:
                self._lost = error
                self._wake.set()

    def _keep(self, parcel: PlannedBatch, error: CoordinatorError) -> None:
        """Put a batch back that did not go; whoever released its seed waits for this, and then takes it from there."""
        log.info("batch.kept", batch=parcel.batch.id, seed=parcel.batch.seed, reason=str(error))
        self._publisher.landed(topology.work_queue_name(parcel.batch.tags))
        unsure = isinstance(error, QueueSilentError)  # it may have arrived all the same
        parcel.line.buffer.put_back([piece.again() for piece in parcel.pieces] if unsure else parcel.pieces)
        if self.lines.get(parcel.line.id) is parcel.line:
            self._full.add(parcel.line)
            self.planner.add(parcel.line.id)
            self._wake.set()

    def _look_ahead(self, group: asyncio.TaskGroup) -> None:
        """Look at the queues that are short of room, while what is left of it is used up."""
        now = time.monotonic()
        for queue in self.planner.short - self._looking:
            if self._publisher.look_due(queue) <= now:
                self._looking.add(queue)
                group.create_task(self._look(queue))

    async def _look(self, queue: str) -> None:
        try:
            await self._publisher.look(queue)
        finally:
            self._looking.discard(queue)
            self._wake.set()

    async def _rest(self) -> None:
        """Wait until something may have changed: a page, room in a full queue, a throttle, or a page's patience."""
        while self._full:
            if (line := self._full.pop()).is_cramped:
                await line.widen()
        looks = (self._publisher.look_due(queue) for queue in self.planner.short - self._looking)
        until = min([self.planner.next_look, *looks], default=math.inf)
        now = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until == math.inf else max(0.0, until - now)):
                await self._wake.wait()

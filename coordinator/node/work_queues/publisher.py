"""The door through which batches leave for the work queues, and the account of what has left.

Coordinators share the work queues: each fills as much of what is free as its seeds' weights are of all that wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from secrets import token_hex

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import batch_message
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.get_pool import GetChannels
from coordinator.broker.types import Delivery, Depth, Message, OnDelivery
from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger, PublishedBatch
from coordinator.domain.membership import share
from coordinator.domain.publish_window import LEAST, LONGEST_LOOK, Window
from coordinator.domain.tags import TagSet
from coordinator.errors import (
    BrokerInternalError,
    BrokerTimeoutError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueFullError,
    QueueMissingError,
    QueueSilentError,
)
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.arrays import QueueLoad
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Settled
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import BATCH_SETTLED
from coordinator.node.work_queues.in_flight import InFlight
from coordinator.node.work_queues.peer_load import PeerLoads
from coordinator.node.work_queues.queue_channels import OnEnd, QueueChannels
from coordinator.node.work_queues.standstill import Standstill

log = structlog.get_logger(__name__)

LOOKAHEAD = 0.25
"""Seconds of its consumers' work that a work queue should hold."""


class StaleBatchError(CoordinatorError):
    """The batch's seed was released or purged: it must not be handed out."""


class Publisher:
    """All work queues as one coordinator sees them."""

    def __init__(
        self,
        *,
        connection: Connection,
        publishing: Channel,
        registry: Registry,
        replicas: Replicas,
        rpc: Rpc,
        events: Events,
        most: int,
        counters: Counters,
    ) -> None:
        self._events = events
        self.counters = counters
        self._channels = QueueChannels(connection)
        self._health = connection.health
        self.ledger = Ledger(counters)
        self.in_flight = InFlight()
        self.standstill = Standstill()
        self._connection = connection
        self._publishing = publishing
        self._registry = registry
        self._rpc = rpc
        self._peer_loads = PeerLoads(replicas)
        self._most = most
        self._demands: Callable[[], Mapping[str, float]] = dict
        self._windows: dict[str, Window] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._arrivals: list[Callable[[str], None]] = []
        self._room: list[Callable[[], None]] = []

    def wanted_by(self, demands: Callable[[], Mapping[str, float]]) -> None:
        """Ask here for the weight of the seeds that wait, by work queue."""
        self._demands = demands

    def on_arrival(self, listener: Callable[[str], None]) -> None:
        """Be told of the name of each work queue that has something, as soon as it is known."""
        self._arrivals.append(listener)

    def on_room(self, listener: Callable[[], None]) -> None:
        """Be told when a batch was fetched here: the broker would tell of its room only at the next look."""
        self._room.append(listener)

    async def declare(self, tags: TagSet) -> None:
        """Have the work queue for these tags."""
        name = topology.work_queue_name(tags)
        if name not in self._windows:
            await self._publishing.declare_queue(topology.work_queue(tags))
            self._windows[name] = Window(0, 0, time.monotonic())

    @property
    def queues(self) -> list[str]:
        """The work queues that are known, by name."""
        return list(self._windows)

    def send(self, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> asyncio.Future[str]:
        """Publish a batch to its work queue; gives the publication's id, once the broker has confirmed.

        A release waits for every send of its seed that has begun, and none begins after it: the check and the
        count are one step of the event loop.

        Raises:
            StaleBatchError: at once: its seed was released or purged since.
            QueueFullError: by what it returns, as the others: the work queue refuses more.
            QueueSilentError: the work queue confirms nothing: it may have arrived or not.
            BrokerUnavailableError: the same, for the connection is gone.
        """
        if self._registry.state.is_stale(batch.seed, batch.epoch):
            raise StaleBatchError(f"batch {batch.id} of seed {batch.seed!r} is stale")
        publication = token_hex(16)
        queue = topology.work_queue_name(batch.tags)
        message = batch_message(batch, publication, redelivered=redelivered, alone=alone)
        on_end = partial(self._ended, batch, queue, publication)
        sent = self.in_flight.begin(batch.seed, publication)
        if not self._channels.try_send(queue, message, on_end):
            task = asyncio.create_task(self._send_first(batch.tags, queue, message, on_end), name="send")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        return sent

    async def _send_first(self, tags: TagSet, queue: str, message: Message, on_end: OnEnd) -> None:
        """Publish where something is to be opened or declared before."""
        try:
            if queue not in self._windows:
                await self.declare(tags)
            await self._channels.publish(queue, message)
        except CoordinatorError as error:
            on_end(error)
        except asyncio.CancelledError:
            on_end(BrokerUnavailableError("the session has ended"))
            raise
        else:
            on_end(None)

    def _ended(self, batch: Batch, queue: str, publication: str, error: CoordinatorError | None) -> None:
        sent = self.in_flight.end(batch.seed, publication)
        if error is None:
            self._arrived(batch, queue, publication)
        elif isinstance(error, QueueFullError):
            self._windows[queue].refused(time.monotonic())
        if sent.done():  # nobody waits any more
            return
        if error is None:
            sent.set_result(publication)
        else:
            sent.set_exception(error)

    def _arrived(self, batch: Batch, queue: str, publication: str) -> None:
        self._windows[queue].took()
        self.counters.sent += 1
        self.counters.sent_items += batch.count
        at, others = time.monotonic(), self._peer_loads.published(queue)
        self.ledger.published(
            queue, PublishedBatch(publication, batch.id, batch.seed, batch.count, batch.attempt, at, others)
        )
        self._events.batch("batch.sent", batch)
        for listener in self._arrivals:
            listener(queue)

    @property
    def is_leaving(self) -> bool:
        """Whether any send is under way, or about to be."""
        return bool(self.in_flight) or any(window.flying for window in self._windows.values())

    @property
    def is_quiet(self) -> bool:
        """Whether all that this coordinator sent is known to be settled."""
        return not self.is_leaving and self.ledger.is_empty

    def reserve(self, queue: str) -> None:
        """Count a batch that is about to be sent against the queue's room, until it has `landed`."""
        window = self._windows[queue]
        window.sent += 1
        window.flying += 1

    def landed(self, queue: str) -> None:
        """A batch that was reserved for has arrived, or never will."""
        self._windows[queue].flying -= 1

    def room(self, queue: str) -> int:
        """How many more batches this work queue should get now."""
        window = self._windows.get(queue)
        if window is None or self._channels.is_broken(queue):
            return 0
        room = window.allowance - window.sent
        if self._health.is_alive(queue):
            return room
        return min(room, 1 - window.flying) if window.asked else 0  # a look first, then one by one

    def is_short(self, queue: str) -> bool:
        """Whether it is about to have no room: time to ask the broker for how much there is by now."""
        return self.room(queue) * 2 <= self._windows[queue].allowance if queue in self._windows else False

    def fetched(self, queue: str, publication: str) -> None:
        """A batch was taken out of this work queue here, so there is room for another at once."""
        window = self._windows[queue]
        window.sent -= 1
        window.taken += 1
        for listener in self._room:
            listener()
        self.ledger.left_queue(publication, time.monotonic())

    async def get(self, get_channels: GetChannels, queue: str, most: int) -> list[Delivery | None]:
        """Take up to so many batches out of a work queue; None for each that was not there.

        Raises:
            BrokerUnavailableError: the connection has ended.
            QueueSilentError: the queue ended it, or gave no answer in time, and is left alone for a while now, or there
                is none; channels are gone.
        """
        try:
            deliveries = await get_channels.get_many(queue, most)
        except QueueMissingError as error:
            raise QueueSilentError(f"the queue {queue!r} is gone") from error
        except BrokerUnavailableError as error:
            if not isinstance(error, BrokerInternalError | BrokerTimeoutError):
                raise
            self._channels.broke(queue, error)
            raise QueueSilentError(f"the queue {queue!r} gives nothing out") from error
        self._health.gave_message(queue)
        return deliveries

    def is_silent(self, queue: str, seconds: float) -> bool:
        """Whether this queue has given no answer for so many seconds."""
        return self._health.silent_for(queue, time.monotonic()) >= seconds

    async def likely(self, queue: str) -> int:
        """How many batches wait in this work queue, as far as can be known: some may just have been taken elsewhere.

        To ask an empty one for a message costs the broker as much as to hand one out. To ask one that is silent would
        hang, and one that has lost its leader ends the whole connection with an internal error.
        """
        if queue not in self._windows:  # another coordinator has made it
            await self.declare(topology.tags_of_work_queue(queue))
        window = self._windows[queue]
        is_fresh = window.asked and time.monotonic() - window.at < LONGEST_LOOK
        is_known = is_fresh and window.likely and not self._health.is_silent(queue)
        return window.likely if is_known else await self.look(queue)

    def look_due(self, queue: str) -> float:
        """When to look at a full work queue again, by the monotonic clock."""
        window = self._windows[queue]
        return window.at + window.pause

    async def look(self, queue: str, *, must_answer: bool = False) -> int:
        """Ask the broker how many batches wait in this work queue; one that it tells nothing of gets none.

        Raises:
            QueueSilentError: it must answer, and tells nothing.
        """
        asked = time.monotonic()
        try:
            depth = await self._depth(queue)
        except QueueSilentError as error:
            if self._health.is_new_silence(queue):
                log.warning("work.queue_silent", queue=queue, problem=str(error))
            self._windows[queue].went_silent(time.monotonic())
            if must_answer:
                raise
            return 0
        if depth != Depth(0, 0):  # that is also said of a queue without a leader
            self._health.showed_life(queue)
        now, window, peer_loads = time.monotonic(), self._windows[queue], self._peer_loads.of(queue)
        window.asked = asked
        theirs = sum(claim.queued for claim in peer_loads)
        self.ledger.saw_depth(queue, depth.ready, asked, now, self._peer_loads.published(queue))
        mine, _ = self.ledger.batches(queue)
        # What was confirmed since it was asked is in the ledger and not in the figure: it has not been taken.
        window.saw(window.flying + (mine if peer_loads else max(mine, depth.ready)), depth.consumers, now)
        rate = window.rate + sum(claim.rate for claim in peer_loads)
        target = min(self._most, max(LEAST, math.ceil(rate * LOOKAHEAD)))
        # Each has its part of the whole window, not of what happens to be free when it looks: else whoever looks most
        # often takes each place that gets free. What nobody accounts for takes up room as well.
        part = share(self._demands().get(queue, 0.0), (claim.demand for claim in peer_loads)) if peer_loads else 1.0
        window.strange = max(0, depth.ready - window.flying - mine - theirs)
        window.allow(math.ceil(part * (target - window.strange)) - window.flying - mine)
        if depth.ready:
            for listener in self._arrivals:
                listener(queue)
        return depth.ready

    async def surely_waiting(self, queue: str, on_delivery: OnDelivery) -> int:
        """How many batches wait in this work queue: one that seems empty may be without a leader.

        Args:
            queue: its name.
            on_delivery: is given a batch that comes while it is tried.

        Raises:
            QueueSilentError: it cannot be known now.
        """
        ready = await self.look(queue, must_answer=True)
        if not ready and not self._windows[queue].consumers:
            try:
                await self._connection.must_answer(queue, on_delivery)
            except QueueMissingError:
                return 0
            ready = await self.look(queue, must_answer=True)
        return ready

    async def _depth(self, queue: str) -> Depth:
        if self._channels.is_broken(queue):
            raise QueueSilentError(f"the queue {queue!r} gives nothing out")
        return await self._connection.depth(queue) or Depth(0, 0)

    def saw_unacked(self, queue: str, unacked: int, held: Collection[str], before: float) -> None:
        """So many deliveries of the queue are unacked; see `Ledger.saw_unacked`."""
        _, mine = self.ledger.batches(queue)
        part = self._peer_loads.part_of(unacked, queue, mine)
        self._events.acked(self.ledger.saw_unacked(queue, part, held, before))

    def bound(self, queue: str, most: int, leased: Collection[str]) -> None:
        """The queue's consumers hold so many batches at most; see `Ledger.bound`."""
        self._events.acked(self.ledger.bound(queue, most, leased))

    async def returned(self, publication: str) -> None:
        """A batch came back, whoever had sent it."""
        await self._note_settled(Settled(publication=publication, taken=False))

    async def taken(self, publication: str) -> None:
        """A batch was acked here, whoever had sent it."""
        await self._note_settled(Settled(publication=publication, taken=True))

    async def _note_settled(self, settled: Settled) -> None:
        if self.ledger.is_out(settled.publication):
            self.settled_by_peer(settled)
        elif settled.publication:
            await self._rpc.notify(BATCH_SETTLED, settled)

    def settled_by_peer(self, settled: Settled) -> None:
        """Another replica settled a batch that was published here."""
        settle = self.ledger.acked if settled.taken else self.ledger.came_back
        settle(settled.publication)

    def consumers(self, queue: str) -> int:
        """How many consumed this queue when it was last looked at."""
        window = self._windows.get(queue)
        return window.consumers if window else 0

    def asked(self, queue: str) -> float:
        """When the broker was last asked of this queue (monotonic seconds): it could not tell of what came later."""
        window = self._windows.get(queue)
        return window.asked if window else 0.0

    async def strange(self, queue: str) -> int:
        """Batches that wait in this queue and that no coordinator accounts for, as after all of them ended."""
        if queue in self._windows and queue not in self.ledger.busy():  # a busy one is looked at all the time
            await self.look(queue)
        window = self._windows.get(queue)
        return window.strange if window else 0

    def peer_load(self) -> dict[str, QueueLoad]:
        """Return the load of this replica by work queue, for the other replicas."""
        demands = self._demands()
        busy = {*demands, *self.ledger.busy()}.intersection(self._windows)
        return {queue: self._load(queue, demands.get(queue, 0.0)) for queue in self._windows if queue in busy}

    def _load(self, queue: str, demand: float) -> QueueLoad:
        window = self._windows[queue]
        queued, sent = self.ledger.batches(queue)
        return QueueLoad(
            demand=demand, rate=round(window.rate, 2), published=window.published, queued=queued, sent=sent
        )

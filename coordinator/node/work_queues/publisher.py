"""Publishes batches to the work queues, and keeps the account of what was published."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import batch_message
from coordinator.broker.get_pool import GetChannels
from coordinator.broker.types import Delivery, Message
from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger, PublishedBatch
from coordinator.domain.tags import TagSet
from coordinator.errors import (
    BrokerInternalError,
    BrokerTimeoutError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueMissingError,
    QueueSilentError,
)
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.messages import Settled
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import BATCH_SETTLED
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.depth import QueueDepths
from coordinator.node.work_queues.in_flight import InFlight, InFlightBatch
from coordinator.node.work_queues.outcome import Outcome, outcome_of
from coordinator.node.work_queues.peer_load import PeerLoads
from coordinator.node.work_queues.queue_channels import OnEnd, QueueChannels
from coordinator.node.work_queues.standstill import Standstill

log = structlog.get_logger(__name__)

OnOutcome = Callable[[Outcome, CoordinatorError | None], None]


@dataclass(frozen=True, slots=True)
class Publishing:
    """How publishing a batch ended, and the publication's id."""

    outcome: Outcome
    publication: str


@dataclass(slots=True, kw_only=True)
class Publisher:
    """The way into all work queues.

    Attributes:
        registry: knows which batches are stale.
        seed_queues: where a batch goes back that cannot be published.
        channels: a channel for each work queue.
        depth: the room in the work queues.
        in_flight: what is on its way.
        ledger: what was published and is not settled.
        peer_loads: what the others have published.
        rpc: reaches the other replicas, which have ledgers of their own.
        events: where it is recorded what happened.
        counters: counts what is published.
        standstill: when nothing may be published.
    """

    registry: Registry
    seed_queues: SeedQueues
    channels: QueueChannels
    depth: QueueDepths
    in_flight: InFlight
    ledger: Ledger
    peer_loads: PeerLoads
    rpc: Rpc
    events: Events
    counters: Counters
    standstill: Standstill = field(default_factory=Standstill)
    _opening: set[asyncio.Task[None]] = field(default_factory=set)

    def start(
        self,
        batch: Batch,
        on_outcome: OnOutcome,
        *,
        redelivered: bool = False,
        alone: bool = False,
        planned: InFlightBatch | None = None,
    ) -> InFlightBatch:
        """Begin to publish a batch; its outcome comes by `on_outcome`, at once where the batch is stale.

        A release waits for every batch of its seed that is in flight, and none begins after it: the check and the
        count are one step of the event loop.

        Args:
            batch: the batch.
            on_outcome: called once, in the step in which the batch stops to be in flight.
            redelivered: whether the batch may have been published before, and must be marked so.
            alone: whether it is offered while nothing else is out.
            planned: what `InFlight.begin` gave where the batch counts already.
        """
        queue = topology.work_queue_name(batch.tags)
        begun = planned or self.in_flight.begin(batch.seed, queue)
        if self.registry.state.is_stale(batch.seed, batch.epoch):
            self.in_flight.end(begun)
            on_outcome(Outcome.STALE, None)
            return begun
        message = batch_message(batch, begun.publication, redelivered=redelivered, alone=alone)
        on_end = partial(self.ended, batch, begun, on_outcome)
        if not self.channels.try_publish(queue, message, on_end):
            task = asyncio.create_task(self._publish_first(batch.tags, queue, message, on_end), name="publish")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        return begun

    async def publish(self, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> Publishing:
        """Publish a batch to its work queue and wait for the outcome.

        Raises:
            CoordinatorError: the connection is gone: the batch may have arrived or not.
        """
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        begun = self.start(batch, partial(_resolve, done), redelivered=redelivered, alone=alone)
        return Publishing(await done, begun.publication)

    async def publish_or_put_back(self, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> Publishing:
        """Publish a batch; one that is not published goes back to its seed's queue, marked if it may have arrived.

        A stale batch of a seed that was purged is discarded.

        Raises:
            CoordinatorError: the connection is gone: the batch may have arrived or not.
        """
        publishing = await self.publish(batch, redelivered=redelivered, alone=alone)
        outcome = publishing.outcome
        is_discarded = outcome is Outcome.STALE and batch.seed not in self.registry.state.seeds
        if outcome is not Outcome.PUBLISHED and not is_discarded:
            await self.seed_queues.put_batch(batch, redelivered=redelivered or outcome.may_have_arrived)
        return publishing

    async def _publish_first(self, tags: TagSet, queue: str, message: Message, on_end: OnEnd) -> None:
        """Publish where a channel must be opened or the queue declared first."""
        try:
            await self.depth.declare(tags)
            await self.channels.publish(queue, message)
        except CoordinatorError as error:
            on_end(error)
        except asyncio.CancelledError:
            on_end(BrokerUnavailableError("the session has ended"))
            raise
        else:
            on_end(None)

    def ended(self, batch: Batch, begun: InFlightBatch, on_outcome: OnOutcome, error: CoordinatorError | None) -> None:
        """Account for a batch that has its outcome."""
        self.in_flight.end(begun)
        outcome = outcome_of(error)
        if outcome is Outcome.PUBLISHED:
            self._record(batch, begun)
        elif outcome is Outcome.FULL:
            self.depth.refused(begun.queue)
        on_outcome(outcome, error)

    def _record(self, batch: Batch, begun: InFlightBatch) -> None:
        """Record that a batch was published."""
        self.counters.published += 1
        self.counters.published_items += batch.count
        at, others = time.monotonic(), self.peer_loads.published(begun.queue)
        self.ledger.published(
            begun.queue,
            PublishedBatch(begun.publication, batch.id, batch.seed, batch.count, batch.attempt, at, others),
        )
        self.events.batch("batch.sent", batch)
        self.depth.published(begun.queue)

    @property
    def is_quiet(self) -> bool:
        """Whether all that this coordinator published is known to be settled."""
        return not self.in_flight and self.ledger.is_empty

    async def get(self, get_channels: GetChannels, queue: str, most: int) -> list[Delivery | None]:
        """Get up to so many batches out of a work queue; None for each that was not there.

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
            self.channels.broke(queue, error)
            raise QueueSilentError(f"the queue {queue!r} gives nothing out") from error
        self.channels.gave_message(queue)
        return deliveries

    def fetched(self, queue: str, publication: str) -> None:
        """Record that a batch was fetched from this work queue here."""
        self.depth.fetched(queue)
        self.ledger.left_queue(publication, time.monotonic())

    def saw_unacked(self, queue: str, unacked: int, held: Collection[str], before: float) -> None:
        """So many deliveries of the queue are unacked; see `Ledger.saw_unacked`."""
        _, mine = self.ledger.batches(queue)
        part = self.peer_loads.part_of(unacked, queue, mine)
        self.events.acked(self.ledger.saw_unacked(queue, part, held, before))

    def bound(self, queue: str, most: int, leased: Collection[str]) -> None:
        """The queue's consumers hold so many batches at most; see `Ledger.bound`."""
        self.events.acked(self.ledger.bound(queue, most, leased))

    async def returned(self, publication: str) -> None:
        """Settle a batch that came back here, whichever coordinator published it."""
        await self._settle(Settled(publication=publication, taken=False))

    async def taken(self, publication: str) -> None:
        """Settle a batch that was acked here, whichever coordinator published it."""
        await self._settle(Settled(publication=publication, taken=True))

    async def _settle(self, settled: Settled) -> None:
        if self.ledger.is_out(settled.publication):
            self.settled_by_peer(settled)
        elif settled.publication:
            await self.rpc.notify(BATCH_SETTLED, settled)

    def settled_by_peer(self, settled: Settled) -> None:
        """Settle a batch that was published here, as another replica asks."""
        settle = self.ledger.acked if settled.taken else self.ledger.came_back
        settle(settled.publication)


def _resolve(done: asyncio.Future[Outcome], outcome: Outcome, error: CoordinatorError | None) -> None:
    """Bring the outcome to the coroutine that waits for it, if it still does."""
    if done.done():
        return
    if outcome is Outcome.LOST and error is not None:
        done.set_exception(error)
    else:
        done.set_result(outcome)

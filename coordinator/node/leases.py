"""Leases: deliveries held here for workers that speak HTTP, until they ack by handle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from secrets import token_urlsafe
from typing import Literal

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import is_marked, peek, publication_of, read_batch
from coordinator.broker.get_pool import GetChannels, GetPool
from coordinator.broker.types import Delivery
from coordinator.domain.tags import eligible
from coordinator.errors import BrokerUnavailableError, InvalidInputError, QueueSilentError
from coordinator.models import Batch
from coordinator.node.events import Events
from coordinator.node.registry import Registry
from coordinator.node.replicas.messages import SettledLeases, SettleLeases
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import LEASES_SETTLE
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.seeds.stale_batches import Swept
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

EXPIRY_STEP = 0.5
FETCH_TIME = 0.5
"""Seconds in which a fetch that is under way should know what it got."""

Settlement = Literal["ack", "give back"]


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A batch in the hands of an HTTP worker; `since` is Unix time in seconds, `until` monotonic."""

    handle: str
    worker: str
    batch: Batch
    publication: str
    delivery: Delivery
    since: float
    until: float

    @property
    def redelivered(self) -> bool:
        """Whether the batch may have been delivered before, though its attempt does not say so."""
        return self.delivery.redelivered or is_marked(self.delivery)


@dataclass(kw_only=True)
class Leases:
    """The table of held deliveries.

    Nothing consumes on behalf of idle workers: a call that waits costs a place in a list, and is woken when
    something is known to have come into one of its work queues.

    Attributes:
        get_pool: fetches batches.
        registry: knows which seeds run.
        publisher: keeps the account of the work queues.
        seed_queues: where batches of released seeds go.
        rpc: asks the other replicas, which have tables of their own; a handle begins with its replica's id.
        events: where it is recorded which worker got what.
        timeout: seconds that a batch may go without ack.
    """

    get_pool: InitVar[GetPool]
    registry: Registry
    publisher: Publisher
    seed_queues: SeedQueues
    rpc: Rpc
    events: Events
    timeout: float
    _get_channels: GetChannels = field(init=False)
    _leases: dict[str, Lease] = field(default_factory=dict)
    _taking: set[asyncio.Task[list[Lease]]] = field(default_factory=set)
    _stale: defaultdict[str, Swept] = field(default_factory=lambda: defaultdict(Swept))
    _waiting: dict[asyncio.Event, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self, get_pool: GetPool) -> None:
        self._get_channels = GetChannels(get_pool, self._lost)

    async def fetch(self, worker: str, tags: frozenset[str], most: int, wait: float) -> list[Lease]:
        """Take up to `most` batches that a worker with these tags may get; wait up to `wait` seconds for the first."""
        queues = [topology.work_queue_name(one) for one in eligible(tags, self.registry.state.tag_sets)]
        deadline = time.monotonic() + wait
        while not self.registry.state.is_draining(worker):
            woken = asyncio.Event()
            self._waiting[woken] = frozenset(queues)
            try:
                leases = await self._take_unhindered(worker, queues, most)
                left = deadline - time.monotonic()
                if leases or left <= 0:
                    return leases
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await woken.wait()
            finally:
                del self._waiting[woken]
            queues = [topology.work_queue_name(one) for one in eligible(tags, self.registry.state.tag_sets)]
        return []

    async def ack(self, handles: Sequence[str], worker: str | None = None) -> list[bool]:
        """Ack batches; returns False for each handle that no coordinator holds, or not for the worker that is named."""
        return await self._settle(handles, "ack", worker)

    async def give_back(self, handles: Sequence[str], worker: str | None = None) -> list[bool]:
        """The worker gives the batches back without fault; False as for `ack`."""
        return await self._settle(handles, "give back", worker)

    def is_held(self, lease: Lease) -> bool:
        """Whether a lease is still good."""
        return lease.handle in self._leases

    async def take_back(self, seed: str) -> int:
        """Take what is held of a released seed from the workers; returns how many items."""
        mine = self._pop(lease for lease in self._leases.values() if lease.batch.seed == seed)
        for lease in mine:
            await self._put_back(lease, "released", is_seen=True)
        return sum(lease.batch.count for lease in mine)

    async def found_stale(self, seed: str) -> Swept:
        """What fetches found of a stale seed since the last call; waits for those that are under way."""
        if self._taking:
            await asyncio.wait(self._taking, timeout=FETCH_TIME)
        return self._stale.pop(seed, None) or Swept()

    async def give_all_back(self) -> None:
        """Take back all that is held, without fault: this coordinator stops, and its handles end with it."""
        for lease in self._pop(self._leases.values()):
            await self._put_back(lease, "the coordinator stops", is_seen=True)

    async def _settle(self, handles: Sequence[str], how: Settlement, worker: str | None) -> list[bool]:
        """Settle what is held here, and have the others settle what they hold; if one is gone, so are its leases."""
        elsewhere: defaultdict[str, list[str]] = defaultdict(list)
        found = set()
        for handle in dict.fromkeys(handles):
            instance = handle.partition(".")[0]
            if instance in self.rpc.peers():
                elsewhere[instance].append(handle)
            elif await self._settle_here(handle, how, worker):
                found.add(handle)
        for instance, its in elsewhere.items():
            question = SettleLeases(handles=tuple(its), how=how, worker=worker)
            answers = await self.rpc.ask(LEASES_SETTLE, question, [instance])
            if answers.missing:
                raise BrokerUnavailableError(f"coordinator {instance}, which holds the batch, does not answer")
            found.update(handle for answer in answers.given.values() for handle in answer.found)
        return [handle in found for handle in handles]

    async def _settle_here(self, handle: str, how: Settlement, worker: str | None) -> bool:
        lease = self._leases.get(handle)
        if lease is None or worker not in {None, lease.worker}:
            return False
        del self._leases[handle]
        if how == "ack":
            await lease.delivery.ack()
            self.events.batch("batch.acked", lease.batch, lease.worker)
            await self.publisher.taken(lease.publication)
        else:
            await self._put_back(lease, "given back")
        return True

    async def settle_for_peer(self, question: SettleLeases) -> SettledLeases:
        """Answer another replica: settle leases that are held here."""
        how: Settlement = "ack" if question.how == "ack" else "give back"
        found = [handle for handle in question.handles if await self._settle_here(handle, how, question.worker)]
        return SettledLeases(found=tuple(found))

    async def release(self, worker: str) -> list[Lease]:
        """Take everything from a worker that failed; it goes back with its attempt raised."""
        mine = self._pop(lease for lease in self._leases.values() if lease.worker == worker)
        for lease in mine:
            await lease.delivery.reject()
        return mine

    async def expire(self) -> None:
        """Take back what was not acked in time, until cancelled."""
        while True:
            await asyncio.sleep(EXPIRY_STEP)
            now = time.monotonic()
            for lease in self._pop(lease for lease in self._leases.values() if lease.until <= now):
                log.warning("lease.expired", batch=lease.batch.id, seed=lease.batch.seed, worker=lease.worker)
                with contextlib.suppress(BrokerUnavailableError):  # then it has gone back without
                    await lease.delivery.reject()

    def held(self) -> list[Lease]:
        """All that is held, the longest first."""
        return sorted(self._leases.values(), key=lambda lease: lease.since)

    def fetched(self, queue: str, before: float) -> int:
        """How many of a work queue's batches are held that were fetched before that moment (monotonic seconds)."""
        return sum(
            lease.until - self.timeout < before and topology.work_queue_name(lease.batch.tags) == queue
            for lease in self._leases.values()
        )

    @property
    def is_awaited(self) -> bool:
        """Whether a call waits for batches."""
        return bool(self._waiting)

    async def _take_unhindered(self, worker: str, queues: list[str], most: int) -> list[Lease]:
        """Take batches to the end even when the caller gives up, and give them back then.

        A request to the broker that is cancelled half-way closes its channel, and with it goes every lease.
        """
        taking = asyncio.create_task(self._take(worker, queues, most), name="take")
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            for lease in await taking:
                await self._settle_here(lease.handle, "give back", worker)
            raise

    def _lost(self, _: str) -> None:
        """Forget what came by channels that are gone: the broker has taken it back."""
        gone = [handle for handle, lease in self._leases.items() if lease.delivery.channel.is_closed]
        for handle in gone:
            del self._leases[handle]
        if gone:
            log.warning("leases.lost", batches=len(gone))

    async def _take(self, worker: str, queues: list[str], most: int) -> list[Lease]:
        leases: list[Lease] = []
        for queue in queues:
            while len(leases) < most and (likely := await self.publisher.depth.likely(queue)):
                try:
                    deliveries = await self.publisher.get(self._get_channels, queue, min(likely, most - len(leases)))
                except QueueSilentError:
                    break  # what was fetched before is lost with the channel, and the broker redelivers it
                leased = [await self._lease(worker, queue, one) for one in deliveries if one is not None]
                leases += [lease for lease in leased if lease is not None]
                if None in deliveries:
                    break
        return [lease for lease in leases if self.is_held(lease)]

    async def _lease(self, worker: str, queue: str, delivery: Delivery) -> Lease | None:
        await self.publisher.in_flight.confirmed(publication_of(delivery))
        self.publisher.fetched(queue, publication_of(delivery))
        try:
            batch = self._read(delivery)
        except InvalidInputError:
            await delivery.reject()
            return None
        handle = f"{self.rpc.instance}.{token_urlsafe(16)}"
        now = time.monotonic()
        lease = Lease(handle, worker, batch, publication_of(delivery), delivery, time.time(), now + self.timeout)
        if self.registry.state.is_stale(batch.seed, batch.epoch):
            is_kept = await self._put_back(lease, "stale")
            self._stale[batch.seed].add(batch, is_kept=is_kept)
            return None
        if delivery.channel.is_closed:
            return None
        self._leases[handle] = lease
        self.events.batch("batch.held", batch, worker)
        return lease

    def _read(self, delivery: Delivery) -> Batch:
        """The batch that was fetched; of one that was published here the items are not decoded once more."""
        is_ours = self.publisher.ledger.is_out(publication_of(delivery))
        return (peek(delivery) if is_ours else None) or read_batch(delivery)

    async def _put_back(self, lease: Lease, reason: str, *, is_seen: bool = False) -> bool:
        """Make a batch available again, unless its seed was purged; returns whether it was so.

        It is marked if a worker has seen it, and did not give it back itself.
        """
        is_kept = lease.batch.seed in self.registry.state.seeds
        if is_kept:
            await self.seed_queues.put_batch(lease.batch, redelivered=is_seen or is_marked(lease.delivery))
        await lease.delivery.ack()
        self.publisher.counters.returned["available", False] += 1
        self.events.batch("batch.returned", lease.batch, lease.worker, reason)
        await self.publisher.returned(lease.publication)
        return is_kept

    def _pop(self, leases: Iterable[Lease]) -> list[Lease]:
        taken = list(leases)
        for lease in taken:
            del self._leases[lease.handle]
        return taken

    def wake_one(self, queue: str) -> None:
        """Wake one call that waits for a batch of this work queue."""
        for woken, queues in self._waiting.items():
            if queue in queues and not woken.is_set():
                woken.set()
                return

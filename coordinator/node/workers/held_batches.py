"""Who holds which batch, according to all replicas."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.models import HeldBatch
from coordinator.node.leases import Leases
from coordinator.node.replicas.messages import Empty, HeldHere, HeldRow
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import HELD_BATCHES
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.times import rfc3339


@dataclass(frozen=True, slots=True)
class Holding:
    """A batch that was delivered and not acked; `worker` is None where the holder is not known."""

    worker: str | None
    held: HeldBatch


@dataclass(slots=True, kw_only=True)
class HeldBatches:
    """Asks all replicas, this one included."""

    publisher: Publisher
    leases: Leases
    heartbeats: Heartbeats
    rpc: Rpc

    async def held(self) -> list[Holding]:
        """Return who holds which batch, the longest held first."""
        answers = await self.rpc.ask(HELD_BATCHES, Empty())
        leases = [*self._leased_here(), *(_read(row) for answer in answers.given.values() for row in answer.leases)]
        named = [
            *(
                Holding(heard.presence.worker, one)
                for heard in self.heartbeats.present()
                for one in heard.presence.held
            ),
            *leases,
        ]
        known = {one.held.batch for one in named}
        sent = [*self._sent_here(), *(_read(row) for answer in answers.given.values() for row in answer.sent)]
        return sorted([*named, *(one for one in sent if one.held.batch not in known)], key=lambda one: one.held.since)

    async def leased(self) -> list[Holding]:
        """Return what HTTP workers hold."""
        leases, _ = await self.callers()
        return leases

    async def callers(self) -> tuple[list[Holding], dict[str, float]]:
        """Return what HTTP workers hold, and when each fetched last (Unix time in seconds), if that is recent."""
        answers = await self.rpc.ask(HELD_BATCHES, Empty())
        called = self.heartbeats.called()
        for answer in answers.given.values():
            for worker, at in answer.called.items():
                called[worker] = max(at, called.get(worker, 0.0))
        theirs = (_read(row) for answer in answers.given.values() for row in answer.leases)
        return [*self._leased_here(), *theirs], called

    async def held_for_peer(self, _: Empty) -> HeldHere:
        """Answer another replica: what is held and sent here."""
        called = self.heartbeats.called()
        return HeldHere(leases=_write(self._leased_here()), sent=_write(self._sent_here()), called=called)

    def _leased_here(self) -> list[Holding]:
        return [
            Holding(
                lease.worker,
                HeldBatch(
                    batch=lease.batch.id,
                    seed=lease.batch.seed,
                    count=lease.batch.count,
                    since=rfc3339(lease.since),
                    begun=True,
                ),
            )
            for lease in self.leases.held()
        ]

    def _sent_here(self) -> list[Holding]:
        ago = time.time() - time.monotonic()
        return [
            Holding(
                None,
                HeldBatch(batch=one.batch, seed=one.seed, count=one.count, since=rfc3339(one.at + ago), begun=None),
            )
            for one in self.publisher.ledger.delivered()
        ]


def _write(held_batches: Iterable[Holding]) -> tuple[HeldRow, ...]:
    return tuple(HeldRow(worker=one.worker, **one.held.model_dump()) for one in held_batches)


def _read(row: HeldRow) -> Holding:
    return Holding(row.worker, HeldBatch(**row.model_dump(exclude={"worker"})))

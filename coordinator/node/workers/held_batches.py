"""Who holds which batch, as all coordinators know it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.models import HeldBatch
from coordinator.node.leases import Leases
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.times import rfc3339


@dataclass(frozen=True, slots=True)
class Holding:
    """A batch that was delivered and not acked; `worker` is None for what a client holds that does not say."""

    worker: str | None
    held: HeldBatch


class HeldBatches:
    """Asks all coordinators, this one included."""

    def __init__(self, *, work: Publisher, leases: Leases, heartbeats: Heartbeats, replicas: Replicas) -> None:
        self._publisher = work
        self._leases = leases
        self._heartbeats = heartbeats
        self._replicas = replicas

    async def held(self) -> list[Holding]:
        """Who holds which batch, the longest first."""
        answers = await self._replicas.ask("holdings", {})
        leases = [*self._leased_here(), *_read(answers.given.values(), "leases")]
        named = [
            *(
                Holding(heard.presence.worker, one)
                for heard in self._heartbeats.present()
                for one in heard.presence.held
            ),
            *leases,
        ]
        known = {one.held.batch for one in named}
        sent = [*self._sent_here(), *_read(answers.given.values(), "sent")]
        return sorted([*named, *(one for one in sent if one.held.batch not in known)], key=lambda one: one.held.since)

    async def leased(self) -> list[Holding]:
        """What HTTP workers hold."""
        leases, _ = await self.callers()
        return leases

    async def callers(self) -> tuple[list[Holding], dict[str, float]]:
        """What HTTP workers hold, and when each fetched last (Unix time in seconds), if that is recent."""
        answers = await self._replicas.ask("holdings", {})
        called = self._heartbeats.called()
        for body in answers.given.values():
            for worker, at in body.get("called", {}).items():
                called[worker] = max(at, called.get(worker, 0.0))
        return [*self._leased_here(), *_read(answers.given.values(), "leases")], called

    async def held_for_peer(self, _: Body) -> Body:
        """Answer another replica: what is held and sent here."""
        called = self._heartbeats.called()
        return {"leases": _write(self._leased_here()), "sent": _write(self._sent_here()), "called": called}

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
            for lease in self._leases.held()
        ]

    def _sent_here(self) -> list[Holding]:
        ago = time.time() - time.monotonic()
        return [
            Holding(
                None,
                HeldBatch(batch=one.batch, seed=one.seed, count=one.count, since=rfc3339(one.at + ago), begun=None),
            )
            for one in self._publisher.ledger.sent()
        ]


def _write(held_batches: Iterable[Holding]) -> list[Body]:
    return [{"worker": one.worker, **one.held.model_dump()} for one in held_batches]


def _read(bodies: Iterable[Body], name: str) -> list[Holding]:
    return [Holding(one["worker"], HeldBatch.model_validate(one)) for body in bodies for one in body.get(name, ())]

"""Workers: their registration with a broker user of their own, and their release."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_urlsafe

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.management import Management
from coordinator.broker.management_answers import BrokerConnection
from coordinator.domain.diagnosis import state_of
from coordinator.domain.registry import Worker
from coordinator.domain.registry_events import (
    WorkerDrained,
    WorkerDraining,
    WorkerRegistered,
    WorkerReleased,
    WorkerRemoved,
)
from coordinator.errors import ManagementError, NotFoundError
from coordinator.models import HeldBatch, WorkerSpec, WorkerState
from coordinator.node.leases import Leases
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import OneWorker, ReleasedLeases
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import WORKER_RELEASE
from coordinator.node.workers.broker_users import permissions, worker_user
from coordinator.node.workers.callbacks import Callbacks
from coordinator.node.workers.heartbeats import Heartbeats, drain_notice, read_worker_name
from coordinator.node.workers.held_batches import HeldBatches
from coordinator.settings import Settings
from coordinator.validation import check_worker_id

log = structlog.get_logger(__name__)

DESCRIBED_WITHIN, LOOK_AGAIN = 7.0, 0.2
"""Seconds after which a new connection's name is known at the latest, and between two looks for it."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as it is shown.

    `last_seen` is Unix time in seconds; `held` are the batches that it holds unacked, by its heartbeat and its leases.
    """

    worker: Worker
    last_seen: float
    is_connected: bool
    capacity: int | None
    held: tuple[HeldBatch, ...]
    state: WorkerState


@dataclass(slots=True, kw_only=True)
class Workers:
    """The workers of the cluster."""

    registry: Registry
    management: Management
    leases: Leases
    heartbeats: Heartbeats
    replicas: Replicas
    rpc: Rpc
    held_batches: HeldBatches
    callbacks: Callbacks
    publishing: Channel
    settings: Settings
    _connected: dict[str, list[BrokerConnection]] = field(default_factory=dict, init=False)

    async def look(self) -> set[str]:
        """Ask the broker which workers are connected, and record them; returns the names of all connections.

        Raises:
            ManagementError: the API does not answer.
        """
        connected: dict[str, list[BrokerConnection]] = {}
        described = await self.management.connections()
        for connection in described:
            ident = read_worker_name(connection.client_name)
            if ident is not None:
                connected.setdefault(ident, []).append(connection)
        self._connected = connected
        for ident in connected:
            known = self.registry.state.workers.get(ident)
            spec = known.spec if known is not None else WorkerSpec()
            await self.heartbeats.record(ident, spec.tags, spec.transport)
        return {connection.name for connection in described}

    async def register(self, ident: str, spec: WorkerSpec, address: str | None = None) -> str | None:
        """Register a worker; returns the AMQP URLs for its own broker user, or None for an HTTP worker.

        The user is made anew with a new password, which lifts an earlier release. `address` is the caller's: a callback
        must lead there.

        Raises:
            InvalidInputError: the id is not valid, or the callback may not be called.
            ManagementError: the broker did not make the user.
        """
        check_worker_id(ident)
        if spec.callback is not None:
            await self.callbacks.check(spec.callback, address)
        spec = spec.model_copy(update={"tags": tuple(sorted(set(spec.tags)))})
        url = user = None
        own = worker_user(self.settings.vhost(), ident)
        known = self.registry.state.workers.get(ident)
        if spec.transport == "amqp":
            user, password = own, token_urlsafe(24)
            await self.management.make_user(user, password, permissions(ident, spec.tags))
            url = self.settings.url_for_worker(user, password)
        elif known is not None and known.user is not None:  # a worker that spoke AMQP before keeps no way in
            await self.management.delete_user(own)
        await self.registry.append(WorkerRegistered, worker=ident, spec=spec, user=user, address=address)
        log.info("worker.registered", worker=ident, tags=list(spec.tags), transport=spec.transport)
        return url

    async def remove(self, ident: str) -> None:
        """Forget a worker and its broker user; what it holds goes back as from a failed worker.

        Raises:
            NotFoundError: it is not known, and has no broker user from before.
        """
        had_user = await self.management.delete_user(worker_user(self.settings.vhost(), ident))
        try:
            await self.release(ident)
        except NotFoundError:
            if not had_user:
                raise
        await self.registry.append(WorkerRemoved, worker=ident)
        self.heartbeats.forget(ident)

    async def drain(self, ident: str) -> int:
        """Ask a worker to finish what it has and accept no more; returns how many batches it holds.

        Raises:
            NotFoundError: it is not known.
        """
        view = await self.get(ident)
        await self.registry.append(WorkerDraining, worker=ident)
        await self.publishing.publish(topology.CONTROL, "", drain_notice(ident))
        log.info("worker.draining", worker=ident, held=len(view.held))
        return len(view.held)

    async def record_drained(self) -> None:
        """Record which HTTP workers have drained; the others report it in their heartbeats."""
        asked = [
            one.id
            for one in self.registry.state.workers.values()
            if one.standing == "draining" and one.spec.transport == "http" and self.replicas.owns(f"worker {one.id}")
        ]
        if asked:
            busy = {lease.worker for lease in await self.held_batches.leased()}
            for ident in asked:
                if ident not in busy:
                    await self.registry.append(WorkerDrained, worker=ident)

    async def release(self, ident: str, *, fenced: bool = False) -> int:
        """Cut a worker off, so that all it holds unacked goes to others; returns how many batches it held.

        `fenced` says that this is because of its silence, and not by command.

        Raises:
            NotFoundError: it is not known.
            ManagementError: the management API does not answer.
        """
        worker = self.registry.state.worker(ident, time.time())
        if worker is not None and worker.user is not None:
            await self.management.delete_user(worker.user)
        connections = await self._close_connections(ident, worker)
        heard = self.heartbeats.heard(ident)
        held = len(heard.presence.held) if heard else 0
        leases = len(await self.leases.release(ident))
        answers = await self.rpc.ask(WORKER_RELEASE, OneWorker(worker=ident))
        for instance in answers.missing:
            await self.replicas.cut_off(instance)
        leases += sum(answer.leases for answer in answers.given.values())
        self.heartbeats.forget(ident)
        if worker is not None:
            await self.registry.append(WorkerReleased, worker=ident, fenced=fenced)
        log.info("worker.released", worker=ident, connections=connections, held=held, leases=leases)
        return held + leases

    async def _close_connections(self, ident: str, worker: Worker | None) -> int:
        """Close the connections under the worker's name on a user that it shares; returns how many.

        Raises:
            NotFoundError: the worker is not known, and no connection has its name.
        """
        if worker is not None and (worker.user is not None or worker.spec.transport == "http"):
            await self.look()
        else:
            await self._until_described()
        connections = self._connected.get(ident, [])
        if worker is None and not connections:
            raise NotFoundError("worker", ident)
        for connection in connections:
            await self.management.close_connection(connection.name, f"worker {ident} was released")
        return len(connections)

    async def release_for_peer(self, question: OneWorker) -> ReleasedLeases:
        """Answer another replica: release what is held here for a worker."""
        self.heartbeats.forget(question.worker)
        return ReleasedLeases(leases=len(await self.leases.release(question.worker)))

    async def fence(self, ident: str) -> None:
        """Release a worker whose heartbeats have stopped."""
        try:
            await self.release(ident, fenced=True)
        except NotFoundError:
            self.heartbeats.forget(ident)
        except ManagementError as error:  # it stays silent, so it is tried again
            log.warning("management.failed", problem=str(error))

    async def _until_described(self) -> None:
        """Look until the broker knows the names of all present connections: it learns a new one's after a while.

        Workers with a user of their own need no name, so their connections are not waited for.
        """
        own = worker_user(self.settings.vhost(), "")
        users = await self.management.connection_users()
        new = {name for name, user in users.items() if not user.startswith(own)}
        deadline = time.monotonic() + DESCRIBED_WITHIN
        while True:
            new -= await self.look()
            if not new or time.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_AGAIN)
            new &= set(await self.management.connection_users())

    async def get(self, ident: str) -> WorkerView:
        """Return a worker.

        Raises:
            NotFoundError: it is not known.
        """
        worker = self.registry.state.worker(ident, time.time())
        if worker is None:
            raise NotFoundError("worker", ident)
        [view] = await self.views([worker])
        return view

    def is_known(self, ident: str) -> bool:
        """Return whether a worker is known: neither removed nor silent for a week."""
        return self.registry.state.worker(ident, time.time()) is not None

    def known(self) -> list[Worker]:
        """Return all known workers, by id."""
        now = time.time()
        known = [self.registry.state.worker(ident, now) for ident in sorted(self.registry.state.workers)]
        return [worker for worker in known if worker is not None]

    async def views(self, workers: Iterable[Worker]) -> list[WorkerView]:
        """Return these workers, each with what it holds."""
        leases, called = await self.held_batches.callers()
        held: defaultdict[str | None, list[HeldBatch]] = defaultdict(list)
        for lease in leases:
            held[lease.worker].append(lease.held)
        return [self._view(worker, held[worker.id], called.get(worker.id)) for worker in workers]

    def _view(self, worker: Worker, leased: list[HeldBatch], called: float | None) -> WorkerView:
        heard = self.heartbeats.heard(worker.id)
        connected = heard is not None or worker.id in self._connected or bool(leased)
        return WorkerView(
            worker=worker,
            last_seen=max(worker.seen, heard.at if heard else 0.0, called or 0.0),
            is_connected=connected,
            capacity=heard.presence.capacity if heard else None,
            held=(*(heard.presence.held if heard else ()), *leased),
            state=state_of(
                is_draining=worker.is_draining or (heard is not None and heard.presence.draining),
                is_there=connected or called is not None,
                is_fenced=worker.standing == "fenced",
            ),
        )

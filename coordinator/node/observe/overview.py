"""What there is beside seeds and workers: work queues, coordinators, and the broker."""

from __future__ import annotations

import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import structlog

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.management_answers import BrokerNode, Product, Totals
from coordinator.domain.diagnosis import warning
from coordinator.errors import ManagementError, QueueSilentError
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.observe.throughput import Throughput
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Description
from coordinator.times import rfc3339

log = structlog.get_logger(__name__)

FRESH: Final = 2.0
"""Seconds for which an answer of the management API is used again: it counts no more often itself."""


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A work queue: its batches that wait and that are unacked, its consumers, and the workers whose tags fit."""

    name: str
    tags: tuple[str, ...]
    ready: int
    unacked: int
    consumers: int
    eligible: int
    warning: str | None


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker: `known` is whether its management API answers, `blocked` whether it takes no messages now."""

    product: str
    version: str
    nodes: tuple[BrokerNode, ...]
    blocked: bool
    known: bool


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """An answer of the management API, and when it came (monotonic seconds)."""

    at: float
    product: Product
    nodes: tuple[BrokerNode, ...]
    totals: dict[str, Totals]


@dataclass(slots=True, kw_only=True)
class Overview:
    """Asks the broker and the other replicas."""

    registry: Registry
    owned_seeds: OwnedSeeds
    seed_stats: SeedStats
    replicas: Replicas
    throughput: Throughput
    reader: Connection
    writer: Connection
    management: Management
    _snapshot: _Snapshot | None = field(default=None, init=False)

    async def queues(self) -> list[WorkQueue]:
        """Return the work queues, by name."""
        state = self.registry.state
        seeds = Counter(seed.spec.tags for seed in state.seeds.values() if seed.state == "running")
        try:
            totals = (await self._ask()).totals
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            totals = {}
        depths = {}
        for tags in sorted(state.tag_sets):
            try:
                depths[tags] = await self.reader.depth(topology.work_queue_name(tags))
            except QueueSilentError:
                depths[tags] = None
        consumers = {tags: depth.consumers if depth else 0 for tags, depth in depths.items()}
        eligible = await self.seed_stats.eligible(consumers)
        return [
            WorkQueue(
                name=(name := topology.work_queue_name(tags)),
                tags=tags,
                ready=depth.ready if depth else 0,
                unacked=totals[name].unacked if name in totals else 0,
                consumers=consumers[tags],
                eligible=eligible[tags].workers,
                warning=warning(tags, depth.ready if depth else None, eligible[tags], seeds[tags]),
            )
            for tags, depth in depths.items()
        ]

    def coordinators(self) -> list[dict[str, Any]]:
        """Return the replicas, this one first."""
        others = [heartbeat.coordinator for _, heartbeat in self.replicas.heartbeats() if heartbeat.coordinator]
        others.sort(key=lambda other: other.instance)
        views = [(self.describe_self(), True), *((other, False) for other in others)]
        return [replica.model_dump() | {"you": is_this} for replica, is_this in views]

    async def broker(self) -> Broker:
        """Return what is known of the broker."""
        blocked = await self.writer.is_blocked()
        try:
            snapshot = await self._ask()
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            return Broker("", "", (), blocked, known=False)
        return Broker(snapshot.product.name, snapshot.product.version, snapshot.nodes, blocked, known=True)

    async def _ask(self) -> _Snapshot:
        """Return the last answer of the management API, or ask anew where it is too old.

        Raises:
            ManagementError: it does not answer.
        """
        if self._snapshot is None or time.monotonic() - self._snapshot.at > FRESH:
            product = await self.management.product()
            nodes = await self.management.nodes()
            totals = await self.management.totals()
            self._snapshot = _Snapshot(time.monotonic(), product, tuple(nodes), totals)
        return self._snapshot

    def describe_self(self) -> Description:
        """Return what this replica is: its version, its host, how many seeds it serves."""
        return Description(
            instance=self.replicas.instance,
            version=version("batch-coordinator"),
            host=platform.node(),
            since=rfc3339(self.throughput.since),
            seeds=len(self.owned_seeds.consumers),
            lag=round(self.throughput.lag, 4),
        )

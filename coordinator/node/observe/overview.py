"""What there is beside seeds and workers: work queues, coordinators, and the broker."""

from __future__ import annotations

import platform
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.management import BrokerNode, Management, Product, Totals
from coordinator.domain.diagnosis import warning
from coordinator.errors import ManagementError, QueueSilentError
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.observe.throughput import Throughput
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
from coordinator.times import rfc3339

log = structlog.get_logger(__name__)

FRESH: Final = 2.0
"""Seconds for which what the management API told is told again: it counts no more often itself."""


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
class _Told:
    """What the management API told, and when (monotonic seconds)."""

    at: float
    product: Product
    nodes: tuple[BrokerNode, ...]
    totals: dict[str, Totals]


class Overview:
    """Asks the broker and the other coordinators."""

    def __init__(
        self,
        *,
        registry: Registry,
        dispatcher: Dispatcher,
        seed_stats: SeedStats,
        replicas: Replicas,
        throughput: Throughput,
        reader: Connection,
        writer: Connection,
        management: Management,
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._seed_stats = seed_stats
        self._replicas = replicas
        self._throughput = throughput
        self._reader = reader
        self._writer = writer
        self._management = management
        self._told: _Told | None = None

    async def queues(self) -> list[WorkQueue]:
        """The work queues, by name."""
        state = self._registry.state
        seeds = Counter(seed.spec.tags for seed in state.seeds.values() if seed.state == "running")
        try:
            totals = (await self._ask()).totals
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            totals = {}
        depths = {}
        for tags in sorted(state.tag_sets):
            try:
                depths[tags] = await self._reader.depth(topology.work_queue_name(tags))
            except QueueSilentError:
                depths[tags] = None
        consumers = {tags: depth.consumers if depth else 0 for tags, depth in depths.items()}
        crews = await self._seed_stats.crews(consumers)
        return [
            WorkQueue(
                name=(name := topology.work_queue_name(tags)),
                tags=tags,
                ready=depth.ready if depth else 0,
                unacked=totals[name].unacked if name in totals else 0,
                consumers=consumers[tags],
                eligible=crews[tags].workers,
                warning=warning(tags, depth.ready if depth else None, crews[tags], seeds[tags]),
            )
            for tags, depth in depths.items()
        ]

    def coordinators(self) -> list[Body]:
        """The coordinators that are heard of, this one first."""
        others = [body for _, body in self._replicas.told("coordinator")]
        others.sort(key=lambda body: str(body["instance"]))
        return [self.describe_self() | {"you": True}, *(body | {"you": False} for body in others)]

    async def broker(self) -> Broker:
        """The broker, as far as it tells."""
        blocked = await self._writer.is_blocked()
        try:
            told = await self._ask()
        except ManagementError as error:
            log.info("management.failed", problem=str(error))
            return Broker("", "", (), blocked, known=False)
        return Broker(told.product.name, told.product.version, told.nodes, blocked, known=True)

    async def _ask(self) -> _Told:
        """What the management API tells, asked anew where the last answer is not fresh.

        Raises:
            ManagementError: it does not answer.
        """
        if self._told is None or time.monotonic() - self._told.at > FRESH:
            product = await self._management.product()
            nodes = await self._management.nodes()
            self._told = _Told(time.monotonic(), product, tuple(nodes), await self._management.totals())
        return self._told

    def describe_self(self) -> Body:
        """Say what this replica is: its version, its host, how many seeds it serves."""
        return {
            "instance": self._replicas.instance,
            "version": version("batch-coordinator"),
            "host": platform.node(),
            "since": rfc3339(self._throughput.since),
            "seeds": len(self._dispatcher.lines),
            "lag": round(self._throughput.lag, 4),
        }

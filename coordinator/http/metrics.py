"""Metrics for Prometheus, collected for each request. Between requests, the other modules only count.

Labels are bounded: they never hold the id of a seed or a worker, and at most `MOST_QUEUES` work queues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from coordinator import topology
from coordinator.domain.counters import Counters, Durations
from coordinator.domain.retry_policy import Verdict
from coordinator.errors import BrokerUnavailableError, QueueSilentError
from coordinator.models import WorkerState
from coordinator.node.coordinator import Coordinator
from coordinator.node.releases.commands import RELEASE_SEED, RELEASE_WORKER
from coordinator.node.wiring import Session

MOST_QUEUES: Final = 50
"""Work queues with a label of their own; the emptier ones are added up as `OTHER`."""
OTHER: Final = "other"
DEAD_KINDS: Final = ("batch", "page", "return", "command", "presence")
"""Kinds that are 0 from the start: for Prometheus, a counter that begins at 1 did not increase."""
WATCHED: Final = (topology.DEAD, topology.RETURNS, topology.SUSPECTS, topology.COMMANDS, topology.NEW_SEEDS)
"""Queues with fixed names, whose depth is shown."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A work queue as this coordinator sees it; `eligible` counts the workers that may take from it."""

    queue: str
    queued: int
    sent: int
    consumers: int
    eligible: int


async def exposition(node: Coordinator) -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    metrics = [*_of_process(node), *_of_tally(node.counters)]
    if node.is_ready:
        try:
            metrics += await _of_session(node.session)
        except BrokerUnavailableError:  # the session ended meanwhile
            metrics[0] = GaugeMetricFamily("coordinator_ready", "1 while connected to the broker", 0)
    registry.register(_Gathered(metrics))
    return generate_latest(registry)


class _Gathered(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _of_process(node: Coordinator) -> list[Metric]:
    build = GaugeMetricFamily("coordinator_build_info", "Always 1; the version is a label", labels=["version"])
    build.add_metric([version("batch-coordinator")], 1)
    return [GaugeMetricFamily("coordinator_ready", "1 while connected to the broker", int(node.is_ready)), build]


def _of_tally(tally: Counters) -> list[Metric]:
    returned = CounterMetricFamily(
        "coordinator_batches_returned", "Batches that came back, by where they went", labels=["to", "cause"]
    )
    for verdict in Verdict:
        for failed, cause in ((False, "no_fault"), (True, "failure")):
            to = verdict.name.lower()
            returned.add_metric([to, cause], tally.returned[to, failed])
    dead = CounterMetricFamily("coordinator_dead_letters", "Dead letters made", labels=["kind"])
    for kind in sorted({*DEAD_KINDS, *tally.dead}):
        dead.add_metric([kind], tally.dead[kind])
    releases = HistogramMetricFamily(
        "coordinator_release_seconds", "From a release's beginning to its reply", labels=["target"]
    )
    for command in (RELEASE_SEED, RELEASE_WORKER):
        durations = tally.releases[command]
        releases.add_metric([command.removeprefix("release.")], _buckets(durations), durations.total)
    return [
        CounterMetricFamily("coordinator_batches_sent", "Batches put into work queues", tally.published),
        CounterMetricFamily("coordinator_items_sent", "Items put into work queues", tally.published_items),
        CounterMetricFamily("coordinator_batches_acked", "Batches that workers have taken", tally.acked),
        CounterMetricFamily("coordinator_items_acked", "Items that workers have taken", tally.acked_items),
        returned,
        dead,
        releases,
        CounterMetricFamily("coordinator_workers_silent", "Workers whose presence stopped", tally.silent),
        CounterMetricFamily(
            "coordinator_broker_sessions", "Sessions begun: each after the first is a reconnect", tally.sessions
        ),
        _histogram("coordinator_publish_confirm_seconds", "From a burst of batches to its last confirm", tally.bursts),
        _histogram("coordinator_event_loop_lag_seconds", "How late the event loop wakes who sleeps", tally.lag),
    ]


async def _of_session(session: Session) -> list[Metric]:
    states = [seed.state for seed in session.catalog.all()]
    counts = session.publisher.ledger.counts().values()
    workers = Counter(view.state for view in await session.workers.views(session.workers.known()))
    lanes = bounded(await _lanes(session))
    return [
        GaugeMetricFamily(
            "coordinator_blocked", "1 while the broker blocks publishers", int(await session.writer.is_blocked())
        ),
        GaugeMetricFamily(
            "coordinator_coordinators", "Coordinators that share the seeds", len(session.replicas.members)
        ),
        _labelled(
            "coordinator_seeds", "Known seeds", "state", {one: states.count(one) for one in ("running", "released")}
        ),
        GaugeMetricFamily(
            "coordinator_seeds_owned", "Seeds that this coordinator dispatches", len(session.owned_seeds.consumers)
        ),
        _labelled(
            "coordinator_items",
            "Items in batches that this coordinator published",
            "place",
            {"queued": sum(queued for queued, _ in counts), "sent": sum(sent for _, sent in counts)},
        ),
        _labelled(
            "coordinator_workers",
            "Known workers, by whether anything is heard of them",
            "state",
            {state: workers[state] for state in get_args(WorkerState)},
        ),
        GaugeMetricFamily("coordinator_leases", "Batches held for HTTP workers", len(session.leases.held())),
        *_of_lanes(lanes),
        _labelled("coordinator_queue_messages", "Messages that wait", "queue", await _depths(session)),
    ]


async def _lanes(session: Session) -> list[Lane]:
    queues = session.depth.queues
    consumers = {topology.tags_of_work_queue(queue): session.depth.consumers(queue) for queue in queues}
    eligible = await session.seed_stats.eligible(consumers)
    lanes = []
    for queue in queues:
        tags = topology.tags_of_work_queue(queue)
        lanes.append(Lane(queue, *session.publisher.ledger.batches(queue), consumers[tags], eligible[tags].workers))
    return lanes


def bounded(lanes: list[Lane]) -> list[Lane]:
    """The fullest work queues, and the sum of the others."""
    ordered = sorted(lanes, key=lambda lane: (-lane.queued, -lane.sent, lane.queue))
    shown, rest = ordered[:MOST_QUEUES], ordered[MOST_QUEUES:]
    if rest:
        shown.append(
            Lane(
                OTHER,
                sum(lane.queued for lane in rest),
                sum(lane.sent for lane in rest),
                sum(lane.consumers for lane in rest),
                min(lane.eligible for lane in rest),
            )
        )
    return shown


def _of_lanes(lanes: Iterable[Lane]) -> list[Metric]:
    batches = GaugeMetricFamily(
        "coordinator_work_queue_batches", "Batches that this coordinator published", labels=["queue", "place"]
    )
    consumers = GaugeMetricFamily("coordinator_work_queue_consumers", "AMQP consumers", labels=["queue"])
    eligible = GaugeMetricFamily(
        "coordinator_work_queue_eligible_workers",
        "Workers that are there and have all of the queue's tags",
        labels=["queue"],
    )
    for lane in lanes:
        batches.add_metric([lane.queue, "queued"], lane.queued)
        batches.add_metric([lane.queue, "sent"], lane.sent)
        consumers.add_metric([lane.queue], lane.consumers)
        eligible.add_metric([lane.queue], lane.eligible)
    return [batches, consumers, eligible]


async def _depths(session: Session) -> dict[str, int]:
    depths = {}
    for queue in WATCHED:
        try:
            depth = await session.reader.depth(queue)
        except QueueSilentError:  # no figure is better than a wrong one
            continue
        if depth is not None:
            depths[queue] = depth.ready
    return depths


def _labelled(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, what: str, durations: Durations) -> Metric:
    return HistogramMetricFamily(name, what, buckets=_buckets(durations), sum_value=durations.total)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    bounds = [*map(str, durations.bounds), "+Inf"]
    return list(zip(bounds, durations.cumulative(), strict=True))

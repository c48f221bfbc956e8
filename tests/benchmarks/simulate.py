r"""Past one machine: the real pure code of turns, throttles and ownership, with measured costs and simulated time.

    python -m tests.benchmarks.simulate --seeds 100000 --workers 10000 --items 1e9 --clusters 4 \
        --coordinator-us 103.3 --broker-us 120 --queue-rate 12013 --queue-kb 137
    python -m tests.benchmarks.simulate --behind 1000

Seeds belong to clusters and, in each, to coordinators by `domain.membership.owner`; each coordinator serves its seeds
by `domain.fairness.Turns`, within their `domain.throttle.Meter`, as far as its processor, its cluster's processors and
the window of the work queue allow. Workers empty the work queues at a fixed pace. Steps are of simulated time; the rate
is that of their second half. It prints how far each resource is used, and which one is the limit.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from coordinator.domain.fairness import WEIGHTS, Turns
from coordinator.domain.membership import owner
from coordinator.domain.throttle import Meter
from coordinator.models import Priority, Throttle

STEP = 0.25
"""Seconds: what a work queue holds for its consumers (`LOOKAHEAD` of the node)."""
BATCH = 100
COSTS = ("coordinator_us", "broker_us", "queue_rate", "queue_kb")


@dataclass(frozen=True)
class Costs:
    """What was measured on one machine; `docs/scale.md` says where each figure is from."""

    coordinator_us: float
    """Processor time of a coordinator for a batch: one core at most, since it is one process."""
    broker_us: float
    """Processor time of a broker for a batch, from its page's publication to its ack."""
    queue_rate: float
    """Batches a second that one queue passes on at most: to the broker it is one process."""
    queue_kb: float
    """Memory of a broker for a quorum queue with its consumer."""
    window: int = 200


@dataclass(frozen=True)
class Plan:
    """What is simulated."""

    seeds: int
    workers: int
    items: float
    clusters: int
    nodes: int
    """Coordinators of each cluster."""
    cores: int
    """Cores of each cluster's brokers."""
    batch_seconds: float
    """How long a worker is busy with a batch."""
    throttled: float
    """The part of the seeds that a throttle holds to 100 items a second."""
    steps: int


@dataclass
class Node:
    """A coordinator: its seeds, their turns, and what they have left."""

    turns: Turns = field(default_factory=Turns)
    left: dict[str, int] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    priority: dict[str, Priority] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)

    def add(self, seed: str, batches: int, priority: Priority, meter: Meter | None) -> None:
        """Take up a seed."""
        self.left[seed] = batches
        self.priority[seed] = priority
        if meter is not None:
            self.meters[seed] = meter
        self.turns.add(seed)

    def send(self, now: float, most: int) -> int:
        """Send as many batches as it may; how many went."""
        for count in range(most):
            if self.send_one(now) is None:
                return count
        return most

    def send_one(self, now: float) -> str | None:
        """Send a batch of the seed whose turn it is; of which, None if of none."""
        seed = self.turns.next(lambda one: self._cost(one, now), lambda one: WEIGHTS[self.priority[one]])
        if seed is not None:
            self.left[seed] -= 1
            self.sent[seed] += 1
            if seed in self.meters:
                self.meters[seed].spend(now, BATCH)
            if not self.left[seed]:
                self.turns.remove(seed)
        return seed

    def _cost(self, seed: str, now: float) -> int:
        meter = self.meters.get(seed)
        return BATCH if meter is None or meter.allows(now, BATCH) else 0


@dataclass
class Cluster:
    """Brokers, coordinators, and the workers that consume there."""

    nodes: list[Node]
    workers: int
    unsent: float = 0.0
    sent: int = 0
    limits: Counter[str] = field(default_factory=Counter)

    def step(self, now: float, plan: Plan, costs: Costs) -> int:
        """One step of simulated time; how many batches went out."""
        pace = self.workers / plan.batch_seconds
        self.unsent = max(0.0, self.unsent - pace * STEP)
        # As the node's window: what the consumers need until the next look, within its bounds.
        target = min(costs.window, max(4, math.ceil(pace * STEP)))
        looks = max(1.0, pace * STEP / costs.window)
        caps = {
            "workers": (target - self.unsent) * looks if pace * STEP > target else target - self.unsent,
            "work queue": costs.queue_rate * STEP,
            "broker": plan.cores * STEP * 1e6 / costs.broker_us,
            "coordinators": len(self.nodes) * STEP * 1e6 / costs.coordinator_us,
        }
        limit = min(caps, key=lambda name: caps[name])
        most = max(0, int(caps[limit]))
        went = 0
        for number, node in enumerate(self.nodes):
            went += node.send(now, (most - went) // (len(self.nodes) - number))
        self.limits["seeds" if went < most else limit] += 1
        self.unsent += went
        self.sent += went
        return went


def build(plan: Plan) -> list[Cluster]:
    """Spread seeds over clusters and coordinators as the product does; a tenth of the seeds is of high priority."""
    chance = random.Random(7)  # noqa: S311 - the same run each time
    names = [f"cluster-{number}" for number in range(plan.clusters)]
    clusters = {name: Cluster([Node() for _ in range(plan.nodes)], plan.workers // plan.clusters) for name in names}
    members = [str(number) for number in range(plan.nodes)]
    each = max(1, int(plan.items / BATCH / plan.seeds))
    slow = Throttle(type="throttle", period="second", value=BATCH)
    for number in range(plan.seeds):
        seed = f"seed-{number}"
        meter = Meter([slow], [], -10.0) if chance.random() < plan.throttled else None
        priority: Priority = "high" if chance.random() < 0.1 else "medium"
        node = clusters[owner(seed, names)].nodes[int(owner(seed, members))]
        node.add(seed, each, priority, meter)
    return list(clusters.values())


def run(plan: Plan, costs: Costs) -> tuple[float, list[Cluster]]:
    """Batches a second once it is steady, and the clusters as they are then."""
    clusters = build(plan)
    steady = 0
    for step in range(plan.steps):
        went = sum(cluster.step(step * STEP, plan, costs) for cluster in clusters)
        if step >= plan.steps // 2:
            steady += went
    return steady / ((plan.steps - plan.steps // 2) * STEP), clusters


def fairness(clusters: Iterable[Cluster]) -> float:
    """Jain's index of what seeds of equal weight without a throttle got at their coordinator: 1 is perfectly even."""
    worst = 1.0
    for node in (node for cluster in clusters for node in cluster.nodes):
        got = [node.sent[seed] for seed in node.left if seed not in node.meters and node.priority[seed] == "medium"]
        if sum(got) >= 2 * len(got) > 0:
            worst = min(worst, sum(got) ** 2 / (len(got) * sum(one * one for one in got)))
    return worst


def wait_of_small(large: int, window: int) -> int:
    """Batches that are taken until a seed of one batch is through, behind so many large ones and a full work queue."""
    node = Node()
    for number in range(large):
        node.add(f"large-{number}", 1_000_000, "medium", None)
    queue = deque(node.send_one(0.0) for _ in range(window))
    for taken in itertools.count():
        if taken == 3 * large:
            node.add("small", 1, "medium", None)
        if queue.popleft() == "small":
            break
        queue.append(node.send_one(0.0))
    return taken - 3 * large


def report(plan: Plan, costs: Costs) -> str:
    """What it comes to, for a person."""
    rate, clusters = run(plan, costs)
    limits = sum((cluster.limits for cluster in clusters), Counter[str]())
    seeds = plan.seeds / plan.clusters
    used = {
        "coordinators, of a core each": rate * costs.coordinator_us / 1e6 / (plan.clusters * plan.nodes),
        "brokers, of their cores": rate * costs.broker_us / 1e6 / (plan.clusters * plan.cores),
        "work queues": rate / (plan.clusters * costs.queue_rate),
        "workers": rate * plan.batch_seconds / plan.workers,
    }
    hours = plan.items / (rate * BATCH) / 3600
    lines = [
        f"{rate:,.0f} batches/s, {rate * BATCH:,.0f} items/s; all through in {hours:,.1f} h",
        *(f"{name}: {part:.0%}" for name, part in used.items()),
        f"memory of a cluster's brokers for queues: {seeds * costs.queue_kb / 1024:,.0f} MB",
        f"limit: {limits.most_common(1)[0][0]}",
        f"evenness of equal seeds at one coordinator, at worst: {fairness(clusters):.3f}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--items", type=float, default=1e9)
    parser.add_argument("--clusters", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=3, help="coordinators of each cluster")
    parser.add_argument("--cores", type=int, default=16, help="cores of each cluster's brokers")
    parser.add_argument("--batch-seconds", type=float, default=1.0, help="how long a worker is busy with a batch")
    parser.add_argument("--throttled", type=float, default=0.1, help="part of the seeds with a throttle")
    parser.add_argument("--steps", type=int, default=240, help="steps of 0.25 s that are simulated")
    parser.add_argument("--behind", type=int, help="instead: how long a small seed waits behind so many large ones")
    parser.add_argument("--coordinator-us", type=float, help="processor time a batch, as dispatch measures")
    parser.add_argument("--broker-us", type=float, help="the same of the broker")
    parser.add_argument("--queue-rate", type=float, help="batches a second of one queue: the C relay's")
    parser.add_argument("--queue-kb", type=float, help="memory of a seed's queue: tests.benchmarks.queues measures it")
    options = vars(parser.parse_args())
    if behind := options.pop("behind"):
        window = Costs.window
        sys.stdout.write(f"{wait_of_small(behind, window) / window:.2f} windows of {window} batches\n")
        return
    if missing := [name for name in COSTS if options[name] is None]:
        parser.error(f"needed: --{missing[0].replace('_', '-')}")
    costs = Costs(*(options.pop(name) for name in COSTS))
    sys.stdout.write(report(Plan(**options), costs))


if __name__ == "__main__":
    main()

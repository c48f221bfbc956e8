"""The share of one replica in a seed: it is read, and nothing changes by that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger, PublishedBatch
from coordinator.domain.seed_traffic import Traffic
from coordinator.models import Presence
from coordinator.node.observe.broker_poller import BrokerPoller
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.replicas.messages import SeedList


class House:
    """A work queue with two delivered batches, and one library worker that can hold a single one."""

    def __init__(self) -> None:
        self.ledger = Ledger(Counters())
        for number in range(2):
            self.ledger.published("work", PublishedBatch(f"p{number}", f"b{number}", "s", 10, 1, 0.0, 0.0))
            self.ledger.left_queue(f"p{number}", 1.0)
        heard = SimpleNamespace(presence=Presence(worker="w", capacity=1))
        self.heartbeats = cast("Any", SimpleNamespace(present=lambda: [heard], held=lambda: {"b0", "b1"}, called=dict))
        self.leases = cast("Any", SimpleNamespace(held=list, fetched=lambda *_: 0, is_awaited=False))
        self.publisher = cast(
            "Any",
            SimpleNamespace(
                ledger=self.ledger,
                depth=SimpleNamespace(consumers=lambda _: 1, asked=lambda _: 2.0, look=None),
                bound=self.ledger.bound,
            ),
        )

    def stats(self) -> SeedStats:
        """Return what reads the figures."""
        nothing = cast("Any", None)
        return SeedStats(
            registry=nothing,
            catalog=cast("Any", SimpleNamespace(traffic=lambda _: Traffic(1, 20, 1, 20))),
            owned_seeds=cast(
                "Any", SimpleNamespace(buffered=lambda _: (5, 1), planner=SimpleNamespace(obstacle=lambda _: None))
            ),
            publisher=self.publisher,
            leases=self.leases,
            isolation=cast("Any", SimpleNamespace(waiting=lambda: {"s": 3})),
            heartbeats=self.heartbeats,
            throughput=cast("Any", SimpleNamespace(rate=lambda _: 1.5, is_settled=lambda _: True)),
            rpc=nothing,
            management=nothing,
        )


async def test_reading_figures_does_not_move_the_ledger() -> None:
    """However often it is asked, what is sent stays sent: the poller bounds it, and not whoever looks."""
    house = House()
    for _ in range(2):
        answer = await house.stats().shares_for_peer(SeedList(seeds=("s",)))
    share = answer.seeds["s"]
    assert (share.at_hand, share.queued, share.sent, share.taken) == (5, 0, 20, 0)
    assert (share.suspected, share.traffic, share.rate, share.exact) == (3, Traffic(1, 20, 1, 20), 1.5, True)


async def test_the_poller_bounds_what_is_sent_by_what_workers_can_hold() -> None:
    """A worker that can hold one batch has acked the other."""
    house = House()
    nothing = cast("Any", None)
    poller = BrokerPoller(
        publisher=house.publisher,
        workers=nothing,
        leases=house.leases,
        heartbeats=house.heartbeats,
        management=nothing,
        broker_tick=0.0,
    )
    bound = "_bound_by_capacity"
    getattr(poller, bound)()
    share = (await house.stats().shares_for_peer(SeedList(seeds=("s",)))).seeds["s"]
    assert (share.sent, share.taken) == (10, 10)

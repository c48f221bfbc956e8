"""What the other coordinators have in the work queues that all share."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.node.replicas.membership import Replicas


@dataclass(frozen=True, slots=True)
class PeerLoad:
    """What another coordinator has in a work queue, as of `ago` seconds before.

    Attributes:
        ago: seconds since it said so.
        demand: the weight of its seeds that wait.
        rate: the batches a second that it publishes.
        published: how many it has published in all.
        queued: its batches that wait in the queue.
        delivered: its batches that are unacked on a consumer.
    """

    ago: float
    demand: float
    rate: float
    published: int
    queued: int
    delivered: int

    @property
    def published_by_now(self) -> float:
        """How many it is likely to have published by now."""
        return self.published + self.rate * self.ago


@dataclass(frozen=True, slots=True)
class PeerLoads:
    """The loads of the others, as each announced them last.

    Attributes:
        replicas: brings the heartbeats of the others, with their load of each queue.
    """

    replicas: Replicas

    def of(self, queue: str) -> list[PeerLoad]:
        """The load of each of them in a queue; those without one are left out."""
        return [
            PeerLoad(ago, load.demand, load.rate, load.published, load.queued, load.sent)
            for ago, heartbeat in self.replicas.heartbeats()
            if (load := heartbeat.work.get(queue)) is not None
        ]

    def published(self, queue: str) -> float:
        """How many batches they are likely to have published there by now."""
        return sum(load.published_by_now for load in self.of(queue))

    def part_of(self, figure: int, queue: str, mine: int) -> int:
        """How much of the broker's figure of a queue's unacked batches is likely of the coordinator with so many."""
        others = sum(load.delivered for load in self.of(queue))
        return figure if not others else round(figure * mine / (mine + others))

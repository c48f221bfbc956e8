"""What coordinators say to each other of the work queues that they share."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.node.replicas.membership import Replicas


@dataclass(frozen=True, slots=True)
class PeerLoad:
    """What another coordinator says of a work queue.

    That is the weight of its seeds that wait, the batches a second that it sends, how many it has published in all, and
    its batches queued and sent, as of `ago` seconds before.
    """

    ago: float
    demand: float
    rate: float
    published: int
    queued: int
    sent: int

    @property
    def published_by_now(self) -> float:
        """How many it is likely to have published by now."""
        return self.published + self.rate * self.ago


class PeerLoads:
    """The others' claims, as they were told last."""

    def __init__(self, replicas: Replicas) -> None:
        """Make them.

        Args:
            replicas: brings the heartbeats of the others, with their load of each queue.
        """
        self._replicas = replicas

    def of(self, queue: str) -> list[PeerLoad]:
        """What each of them says of a queue, if anything."""
        return [
            PeerLoad(ago, load.demand, load.rate, load.published, load.queued, load.sent)
            for ago, heartbeat in self._replicas.heartbeats()
            if (load := heartbeat.work.get(queue)) is not None
        ]

    def published(self, queue: str) -> float:
        """How many batches they are likely to have published there by now."""
        return sum(claim.published_by_now for claim in self.of(queue))

    def part_of(self, figure: int, queue: str, mine: int) -> int:
        """How much of the broker's figure of a queue's unacked batches is likely of the one that has sent so many."""
        others = sum(claim.sent for claim in self.of(queue))
        return figure if not others else round(figure * mine / (mine + others))

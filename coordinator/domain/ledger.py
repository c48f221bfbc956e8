"""Which published batches are queued, which are sent, and which are taken, as far as anybody can know.

The broker tells how many batches wait in a work queue and how many are unacked, not which. Work queues are first in,
first out, so of what was published the last ones are those that wait. Library workers and HTTP leases name what they
hold; what else is unacked is with stock clients, and the latest delivered are taken to be it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sending:
    """One publication of a batch to a work queue; `at` is Unix time in seconds."""

    publication: str
    batch: str
    seed: str
    count: int
    attempt: int
    at: float


@dataclass(slots=True)
class _Lane:
    queued: OrderedDict[str, Sending] = field(default_factory=OrderedDict)
    sent: OrderedDict[str, Sending] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True)
class Counts:
    """Items of one seed; `exact` is False where a figure is an estimate."""

    available: int
    queued: int
    sent: int
    taken: int
    exact: bool


class Ledger:
    """The account of one coordinator's publications."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._taken: dict[str, int] = {}

    def published(self, queue: str, sending: Sending) -> None:
        """A batch was confirmed by its work queue."""
        self._lanes.setdefault(queue, _Lane()).queued[sending.publication] = sending

    def saw_depth(self, queue: str, ready: int) -> None:
        """So many batches wait in the queue: all but the last ones have been delivered."""
        lane = self._lanes.get(queue)
        while lane is not None and len(lane.queued) > ready:
            publication, sending = lane.queued.popitem(last=False)
            lane.sent[publication] = sending

    def saw_unacked(self, queue: str, unacked: int, held: Collection[str], before: float) -> None:
        """So many deliveries of the queue are unacked, and the batches `held` are with workers that say so.

        Args:
            queue: the work queue.
            unacked: the broker's figure, which lags.
            held: ids of batches in the hands of library workers and HTTP leases.
            before: what was published after this moment (Unix time in seconds) the figure does not show yet.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return
        named = {publication for publication, sending in lane.sent.items() if sending.batch in held}
        others = [one for one, sending in lane.sent.items() if one not in named and sending.at <= before]
        strangers = max(0, unacked - len(named))
        for publication in others[: len(others) - strangers]:
            self._take(lane.sent.pop(publication))

    def left_queue(self, publication: str) -> None:
        """This very publication was delivered (an HTTP lease)."""
        for lane in self._lanes.values():
            sending = lane.queued.pop(publication, None)
            if sending is not None:
                lane.sent[publication] = sending

    def acked(self, publication: str) -> None:
        """This very publication was acked."""
        sending = self._remove(publication)
        if sending is not None:
            self._take(sending)

    def came_back(self, publication: str) -> None:
        """This very publication was returned, swept or discarded."""
        self._remove(publication)

    def forget(self, seed: str) -> None:
        """Drop all of a seed."""
        self._taken.pop(seed, None)
        for lane in self._lanes.values():
            for side in (lane.queued, lane.sent):
                for publication in [one for one, sending in side.items() if sending.seed == seed]:
                    del side[publication]

    def counts(self, seed: str) -> tuple[int, int, int]:
        """Items of a seed that are queued, sent and taken."""
        queued = sum(one.count for lane in self._lanes.values() for one in lane.queued.values() if one.seed == seed)
        sent = sum(one.count for lane in self._lanes.values() for one in lane.sent.values() if one.seed == seed)
        return queued, sent, self._taken.get(seed, 0)

    def sent(self) -> dict[str, list[Sending]]:
        """What was delivered and not acked, as far as known, by work queue."""
        return {queue: list(lane.sent.values()) for queue, lane in self._lanes.items() if lane.sent}

    def _remove(self, publication: str) -> Sending | None:
        for lane in self._lanes.values():
            for side in (lane.queued, lane.sent):
                sending = side.pop(publication, None)
                if sending is not None:
                    return sending
        return None

    def _take(self, sending: Sending) -> None:
        self._taken[sending.seed] = self._taken.get(sending.seed, 0) + sending.count

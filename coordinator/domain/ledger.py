"""Which published batches are queued, which are sent, and which are taken, as far as anybody can know.

The broker tells how many batches wait in a work queue and how many are unacked, not which. Work queues are first in,
first out, so of what was published the last ones are those that wait. Library workers and HTTP leases name what they
hold; what else is unacked is with stock clients, and the latest delivered are taken to be it.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from coordinator.domain.counters import Counters


@dataclass(slots=True)
class PublishedBatch:
    """One publication of a batch to a work queue.

    `at` is when it was published or delivered (monotonic seconds), and all that ever changes; `others` is how many
    batches others had published to that queue by then, as far as known.
    """

    publication: str
    batch: str
    seed: str
    count: int
    attempt: int
    at: float
    others: float = 0.0


@dataclass(slots=True)
class _Lane:
    queued: OrderedDict[str, PublishedBatch] = field(default_factory=OrderedDict)
    sent: OrderedDict[str, PublishedBatch] = field(default_factory=OrderedDict)
    certain: set[str] = field(default_factory=set)
    """Of those that are sent, the ones that are known to be."""

    def pop(self, publication: str) -> PublishedBatch | None:
        """Remove a sending, wherever it is."""
        self.certain.discard(publication)
        return self.queued.pop(publication, None) or self.sent.pop(publication, None)

    def deliver(self, ready: int, asked: float, now: float, others: float) -> None:
        """Move what no longer waits from the queued to the sent: the first ones, as the queue is first in, first out.

        This is asked for again and again, so it looks only at what it moves and at what the figure does not show yet.
        """
        later = sum(1 for _ in takewhile(lambda sending: sending.at > asked, reversed(self.queued.values())))
        for behind in range(len(self.queued) - later - 1, -1, -1):
            publication, sending = next(iter(self.queued.items()))
            if sending.at > asked or behind + max(0.0, others - sending.others) < ready:
                break
            self.sent[publication] = self.queued.pop(publication)
            sending.at = now

    def put_back(self, ready: int, others: float) -> None:
        """Move what does wait from the sent to the queued: the last ones, but none that is known to be sent."""
        waiting: list[str] = []
        for publication in reversed(self.sent):
            if publication in self.certain:
                continue
            if len(self.queued) + len(waiting) + max(0.0, others - self.sent[publication].others) >= ready:
                break
            waiting.append(publication)
        for publication in waiting:
            self.queued[publication] = self.sent.pop(publication)
            self.queued.move_to_end(publication, last=False)


class Ledger:
    """The account of one coordinator's publications."""

    def __init__(self, tally: Counters | None = None) -> None:
        self._tally = tally or Counters()
        self._lanes: dict[str, _Lane] = {}
        self._taken: dict[str, int] = {}

    def published(self, queue: str, sending: PublishedBatch) -> None:
        """A batch was confirmed by its work queue."""
        self._lanes.setdefault(queue, _Lane()).queued[sending.publication] = sending

    def saw_depth(self, queue: str, ready: int, asked: float, now: float, others: float = 0.0) -> None:
        """So many batches wait in the queue: all but the last ones have been delivered.

        The broker's figure may lag, so what was taken to be delivered may be found to be waiting.

        Args:
            queue: the work queue.
            ready: the broker's figure.
            asked: when it was asked for (monotonic seconds). What was published later may not be in the figure,
                for its confirm can overtake the answer, and would else be taken to have been delivered.
            now: when it came.
            others: how many batches others have published to the queue by now: what they published after a batch waits
                behind it.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return
        lane.deliver(ready, asked, now, others)
        lane.put_back(ready, others)

    def saw_unacked(self, queue: str, unacked: int, held: Collection[str], before: float) -> list[PublishedBatch]:
        """So many deliveries of the queue are unacked, and the batches `held` are with workers that say so.

        What is not among those is taken to be acked: returns it.

        Args:
            queue: the work queue.
            unacked: the broker's figure, which lags.
            held: ids of batches in the hands of library workers and HTTP leases.
            before: what was delivered after this moment (monotonic seconds) the figure does not show yet.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return []
        named = {publication for publication, sending in lane.sent.items() if sending.batch in held}
        others = [one for one, sending in lane.sent.items() if one not in named and sending.at <= before]
        # Those that are named and came later may not be in the figure: counted as if they were, they would hide others.
        strangers = max(0, unacked - sum(lane.sent[one].at <= before for one in named))
        return self._take_all(lane, others[: max(0, len(others) - strangers)])

    def bound(self, queue: str, most: int, leased: Collection[str]) -> list[PublishedBatch]:
        """The consumers of the queue cannot hold more than so many batches: the earlier ones have been acked.

        Returns those.

        Args:
            queue: the work queue.
            most: what its AMQP consumers may hold together.
            leased: ids of the batches held for HTTP workers, which do not count among those.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            return []
        others = [one for one, sending in lane.sent.items() if sending.batch not in leased]
        return self._take_all(lane, others[: max(0, len(others) - most)])

    def left_queue(self, publication: str, now: float) -> None:
        """This very publication was delivered (an HTTP lease)."""
        for lane in self._lanes.values():
            sending = lane.queued.pop(publication, None)
            if sending is not None:
                sending.at = now
                lane.sent[publication] = sending
            if publication in lane.sent:
                lane.certain.add(publication)

    def acked(self, publication: str) -> None:
        """This very publication was acked."""
        for lane in self._lanes.values():
            self._take(lane, publication)

    def came_back(self, publication: str) -> None:
        """This very publication was returned, swept or discarded."""
        for lane in self._lanes.values():
            lane.pop(publication)

    def forget(self, seed: str) -> None:
        """Drop all of a seed."""
        self._taken.pop(seed, None)
        for lane in self._lanes.values():
            for side in (lane.queued, lane.sent):
                for publication in [one for one, sending in side.items() if sending.seed == seed]:
                    lane.pop(publication)

    def is_out(self, publication: str) -> bool:
        """Whether this publication is still queued or sent, as far as known."""
        return any(publication in lane.queued or publication in lane.sent for lane in self._lanes.values())

    @property
    def is_empty(self) -> bool:
        """Whether all that was published is known to be settled."""
        return not any(lane.queued or lane.sent for lane in self._lanes.values())

    def batches(self, queue: str) -> tuple[int, int]:
        """How many batches of a work queue are queued and sent, as far as known."""
        lane = self._lanes.get(queue)
        return (len(lane.queued), len(lane.sent)) if lane else (0, 0)

    def busy(self) -> list[str]:
        """The work queues with something queued or sent, by name."""
        return [queue for queue, lane in self._lanes.items() if lane.queued or lane.sent]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Items queued and sent, by seed."""
        totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for lane in self._lanes.values():
            for place, side in enumerate((lane.queued, lane.sent)):
                for sending in side.values():
                    totals[sending.seed][place] += sending.count
        return {seed: (queued, sent) for seed, (queued, sent) in totals.items()}

    def taken(self, seed: str) -> int:
        """Items of a seed that are known or taken to be acked."""
        return self._taken.get(seed, 0)

    def totals(self) -> dict[str, int]:
        """Items taken by seed, as of now."""
        return dict(self._taken)

    def sent(self) -> list[PublishedBatch]:
        """What was delivered and not acked, as far as known; the longest first."""
        return sorted((one for lane in self._lanes.values() for one in lane.sent.values()), key=lambda one: one.at)

    def _take_all(self, lane: _Lane, publications: Iterable[str]) -> list[PublishedBatch]:
        return [sending for one in publications if (sending := self._take(lane, one)) is not None]

    def _take(self, lane: _Lane, publication: str) -> PublishedBatch | None:
        sending = lane.pop(publication)
        if sending is not None:
            self._tally.acked += 1
            self._tally.acked_items += sending.count
            self._taken[sending.seed] = self._taken.get(sending.seed, 0) + sending.count
        return sending

"""Which published batches are queued, which are delivered, and which are acked: an estimate from the broker's figures.

The broker says how many batches wait in a work queue and how many are unacked, not which. Work queues are first in,
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
    batches others had published to that queue by then.
    """

    publication: str
    batch: str
    seed: str
    count: int
    attempt: int
    at: float
    others: float = 0.0


@dataclass(slots=True)
class _QueueAccount:
    queued: OrderedDict[str, PublishedBatch] = field(default_factory=OrderedDict)
    delivered: OrderedDict[str, PublishedBatch] = field(default_factory=OrderedDict)
    certain: set[str] = field(default_factory=set)
    """The delivered batches that are known to be delivered; the others are presumed so."""

    def pop(self, publication: str) -> PublishedBatch | None:
        """Remove a publication, wherever it is."""
        self.certain.discard(publication)
        return self.queued.pop(publication, None) or self.delivered.pop(publication, None)

    def deliver(self, ready: int, asked: float, now: float, others: float) -> None:
        """Move what no longer waits from the queued to the delivered: the first ones, since the queue is a FIFO.

        This is asked for again and again, so it looks only at what it moves and at what the figure does not show yet.
        """
        later = sum(1 for _ in takewhile(lambda published: published.at > asked, reversed(self.queued.values())))
        for behind in range(len(self.queued) - later - 1, -1, -1):
            publication, published = next(iter(self.queued.items()))
            if published.at > asked or behind + max(0.0, others - published.others) < ready:
                break
            self.delivered[publication] = self.queued.pop(publication)
            published.at = now

    def put_back(self, ready: int, others: float) -> None:
        """Move what does wait from the delivered to the queued: the last ones, except those known to be delivered."""
        waiting: list[str] = []
        for publication in reversed(self.delivered):
            if publication in self.certain:
                continue
            if len(self.queued) + len(waiting) + max(0.0, others - self.delivered[publication].others) >= ready:
                break
            waiting.append(publication)
        for publication in waiting:
            self.queued[publication] = self.delivered.pop(publication)
            self.queued.move_to_end(publication, last=False)


class Ledger:
    """The account of one coordinator's publications."""

    def __init__(self, counters: Counters | None = None) -> None:
        self._counters = counters or Counters()
        self._queues: dict[str, _QueueAccount] = {}
        self._taken: dict[str, int] = {}

    def published(self, queue: str, published: PublishedBatch) -> None:
        """A batch was confirmed by its work queue."""
        self._queues.setdefault(queue, _QueueAccount()).queued[published.publication] = published

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
        account = self._queues.get(queue)
        if account is None:
            return
        account.deliver(ready, asked, now, others)
        account.put_back(ready, others)

    def saw_unacked(self, queue: str, unacked: int, held: Collection[str], before: float) -> list[PublishedBatch]:
        """So many deliveries of the queue are unacked, and the batches `held` are with workers that say so.

        What is not among those is taken to be acked: returns it.

        Args:
            queue: the work queue.
            unacked: the broker's figure, which lags.
            held: ids of batches in the hands of library workers and HTTP leases.
            before: what was delivered after this moment (monotonic seconds) the figure does not show yet.
        """
        account = self._queues.get(queue)
        if account is None:
            return []
        named = {publication for publication, published in account.delivered.items() if published.batch in held}
        others = [one for one, published in account.delivered.items() if one not in named and published.at <= before]
        # Those that are named and came later may not be in the figure: counted as if they were, they would hide others.
        unnamed = max(0, unacked - sum(account.delivered[one].at <= before for one in named))
        return self._take_all(account, others[: max(0, len(others) - unnamed)])

    def bound(self, queue: str, most: int, leased: Collection[str]) -> list[PublishedBatch]:
        """The consumers of the queue cannot hold more than so many batches: the earlier ones have been acked.

        Returns those.

        Args:
            queue: the work queue.
            most: what its AMQP consumers may hold together.
            leased: ids of the batches held for HTTP workers, which do not count among those.
        """
        account = self._queues.get(queue)
        if account is None:
            return []
        others = [one for one, published in account.delivered.items() if published.batch not in leased]
        return self._take_all(account, others[: max(0, len(others) - most)])

    def left_queue(self, publication: str, now: float) -> None:
        """This very publication was delivered (an HTTP lease)."""
        for account in self._queues.values():
            published = account.queued.pop(publication, None)
            if published is not None:
                published.at = now
                account.delivered[publication] = published
            if publication in account.delivered:
                account.certain.add(publication)

    def acked(self, publication: str) -> None:
        """This very publication was acked."""
        for account in self._queues.values():
            self._take(account, publication)

    def came_back(self, publication: str) -> None:
        """This very publication was returned, swept or discarded."""
        for account in self._queues.values():
            account.pop(publication)

    def forget(self, seed: str) -> None:
        """Drop all of a seed."""
        self._taken.pop(seed, None)
        for account in self._queues.values():
            for side in (account.queued, account.delivered):
                for publication in [one for one, published in side.items() if published.seed == seed]:
                    account.pop(publication)

    def is_out(self, publication: str) -> bool:
        """Whether this publication is queued or delivered, and not settled."""
        return any(
            publication in account.queued or publication in account.delivered for account in self._queues.values()
        )

    @property
    def is_empty(self) -> bool:
        """Whether all that was published is known to be settled."""
        return not any(account.queued or account.delivered for account in self._queues.values())

    def batches(self, queue: str) -> tuple[int, int]:
        """How many batches of a work queue are queued and delivered."""
        account = self._queues.get(queue)
        return (len(account.queued), len(account.delivered)) if account else (0, 0)

    def busy(self) -> list[str]:
        """The work queues with something queued or delivered, by name."""
        return [queue for queue, account in self._queues.items() if account.queued or account.delivered]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Items queued and delivered, by seed."""
        totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for account in self._queues.values():
            for place, side in enumerate((account.queued, account.delivered)):
                for published in side.values():
                    totals[published.seed][place] += published.count
        return {seed: (queued, delivered) for seed, (queued, delivered) in totals.items()}

    def taken(self, seed: str) -> int:
        """Items of a seed that are known or taken to be acked."""
        return self._taken.get(seed, 0)

    def totals(self) -> dict[str, int]:
        """Items taken by seed, as of now."""
        return dict(self._taken)

    def delivered(self) -> list[PublishedBatch]:
        """What was delivered and not acked; the longest first."""
        return sorted(
            (one for account in self._queues.values() for one in account.delivered.values()), key=lambda one: one.at
        )

    def _take_all(self, account: _QueueAccount, publications: Iterable[str]) -> list[PublishedBatch]:
        return [published for one in publications if (published := self._take(account, one)) is not None]

    def _take(self, account: _QueueAccount, publication: str) -> PublishedBatch | None:
        published = account.pop(publication)
        if published is not None:
            self._counters.acked += 1
            self._counters.acked_items += published.count
            self._taken[published.seed] = self._taken.get(published.seed, 0) + published.count
        return published

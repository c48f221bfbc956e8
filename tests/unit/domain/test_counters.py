"""What a coordinator counts: durations fall into their buckets, and a batch costs an addition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.counters import FAST, Counters, Durations
from coordinator.domain.ledger import Ledger, PublishedBatch
from coordinator.http.metrics import MOST_QUEUES, OTHER, Lane, bounded


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_buckets_are_cumulative(seconds: list[float]) -> None:
    """Each bucket counts all that took at most its bound, the last one all."""
    durations = Durations(FAST)
    for one in seconds:
        durations.add(one)
    wanted = [sum(one <= bound for one in seconds) for bound in FAST]
    assert durations.cumulative() == [*wanted, len(seconds)]
    assert durations.total == pytest.approx(sum(seconds))


def test_acks_are_counted_once() -> None:
    """A publication that is acked twice, or comes back, counts no more than it is."""
    tally = Counters()
    ledger = Ledger(tally)
    for publication, count in (("a", 10), ("b", 5)):
        ledger.published("work", PublishedBatch(publication, publication, "s", count, 1, 0.0))
    ledger.acked("a")
    ledger.acked("a")
    ledger.came_back("b")
    ledger.acked("b")
    assert (tally.acked, tally.acked_items) == (1, 10)


def test_work_queues_are_told_up_to_a_number() -> None:
    """However many tags there are, the fullest queues are told apart and the others added up; nothing is lost."""
    lanes = [Lane(f"work.t{number}", queued=number, sent=1, consumers=1, eligible=number % 3) for number in range(200)]
    told = bounded(lanes)
    assert len(told) == MOST_QUEUES + 1
    assert (told[0].queue, told[-1].queue) == ("work.t199", OTHER)
    assert sum(lane.queued for lane in told) == sum(range(200))
    assert sum(lane.sent for lane in told) == 200
    assert told[-1].eligible == 0
    assert bounded(lanes[:3]) == lanes[2::-1]

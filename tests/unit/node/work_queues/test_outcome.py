"""What became of a batch, by the error that its work queue's channel gave."""

from __future__ import annotations

import pytest

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueFullError,
    QueueSilentError,
)
from coordinator.node.work_queues.outcome import Outcome, outcome_of


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.PUBLISHED),
        (QueueFullError("full"), Outcome.FULL),
        (QueueSilentError("silent"), Outcome.SILENT),
        (BrokerUnavailableError("gone"), Outcome.LOST),
        (BrokerRefusedError("refused"), Outcome.LOST),
    ],
)
def test_each_error_means_one_outcome(error: CoordinatorError | None, outcome: Outcome) -> None:
    """Each error of a channel has its outcome."""
    assert outcome_of(error) is outcome


def test_only_a_batch_that_a_silent_queue_may_hold_is_marked_when_it_goes_again() -> None:
    """A full queue and a stale batch leave no doubt."""
    assert [one for one in Outcome if one.may_have_arrived] == [Outcome.SILENT]

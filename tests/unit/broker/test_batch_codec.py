"""Batches as messages: what is read of one that came back."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from coordinator.broker.batch_codec import read_returned
from coordinator.broker.channel import Channel
from coordinator.broker.types import Delivery
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.topology import Header


def returned(batch: Batch, **headers: object) -> Delivery:
    """This batch, come back with these headers."""
    counted = {Header.COUNT: batch.count, **headers}
    return Delivery(
        batch.encode(),
        counted,
        batch.id,
        None,
        None,
        None,
        "returns",
        redelivered=False,
        tag=1,
        channel=Mock(spec=Channel),
    )


def test_what_the_broker_sent_back_is_not_looked_at() -> None:
    """Its items are as a coordinator wrote them: even what is no JSON goes on unread."""
    batch = Batch("b", "s", 1, 1, (), "2024-01-02T03:04:05Z", 1, b"[{]")
    assert read_returned(returned(batch, **{"x-death": [{"reason": "rejected"}]})) == batch


def test_what_a_worker_gave_back_is_looked_at() -> None:
    """A worker may have written it anew."""
    batch = Batch("b", "s", 1, 1, (), "2024-01-02T03:04:05Z", 1, b"[{]")
    with pytest.raises(InvalidInputError):
        read_returned(returned(batch, reason="given back"))


def test_what_failed_before_keeps_its_history() -> None:
    """What happened to it is read with it."""
    batch = Batch("b", "s", 1, 2, (), "2024-01-02T03:04:05Z", 1, b'[{"id":"x"}]', ("once",))
    assert read_returned(returned(batch, **{"x-death": [{}], Header.HISTORY: '["once"]'})) == batch

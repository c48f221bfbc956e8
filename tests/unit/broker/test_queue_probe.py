"""A probe consumes a queue on a connection that only exists while a probe runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from coordinator.broker.channel import Channel
from coordinator.broker.queue_probe import QueueProbe
from coordinator.broker.types import Delivery, OnDelivery
from coordinator.errors import BrokerTimeoutError, QueueMissingError, QueueSilentError


@dataclass
class FakeConnection:
    """Records how it ends; consuming raises `error`, or delivers `delivery`."""

    error: Exception | None = None
    delivery: Delivery | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)

    async def channel(self) -> Channel:
        """Open a channel: this object."""
        return cast("Channel", self)

    async def consume(self, _: str, on_delivery: OnDelivery, *, prefetch: int) -> str:
        """Consume."""
        self.calls.append(f"consume {prefetch}")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if self.delivery:
            on_delivery(self.delivery)
        return "tag"

    async def cancel(self, tag: str) -> None:
        """Cancel the consumer."""
        self.calls.append(f"cancel {tag}")

    async def close(self) -> None:
        """Close it."""
        self.calls.append("close")

    async def drop(self) -> None:
        """Close it at once."""
        self.calls.append("drop")


def probe_of(*connections: FakeConnection) -> QueueProbe:
    """A probe that opens these connections, one after the other."""
    left = list(connections)

    async def connect() -> FakeConnection:
        await asyncio.sleep(0)
        return left.pop(0)

    return QueueProbe(connect)


def delivery() -> Delivery:
    """Some delivery."""
    return cast("Delivery", object())


async def test_a_queue_that_answers() -> None:
    """The consumer is cancelled at once, and the connection is closed."""
    connection = FakeConnection()
    await probe_of(connection).probe("seed.a")
    assert connection.calls == ["consume 1", "cancel tag", "close"]


async def test_a_queue_that_hangs() -> None:
    """A hung channel cannot be closed, so its connection is dropped. The next probe opens another."""
    hung, good = FakeConnection(BrokerTimeoutError("late")), FakeConnection()
    probe = probe_of(hung, good)
    with pytest.raises(QueueSilentError, match=r"seed\.a"):
        await probe.probe("seed.a")
    await probe.probe("seed.b")
    assert (hung.calls[-1], good.calls[-1]) == ("drop", "close")


async def test_a_missing_queue() -> None:
    """It is not silent."""
    connection = FakeConnection(QueueMissingError("gone"))
    with pytest.raises(QueueMissingError):
        await probe_of(connection).probe("seed.a")
    assert connection.calls[-1] == "close"


async def test_probes_at_once_share_a_connection() -> None:
    """The last of them closes it."""
    connection = FakeConnection()
    probe = probe_of(connection)
    await asyncio.gather(probe.probe("seed.a"), probe.probe("seed.b"))
    assert connection.calls.count("close") == 1
    assert connection.calls[-1] == "close"


async def test_a_delivery_keeps_its_connection() -> None:
    """It can only be acked there. Without a listener it goes back to its queue with the connection's end."""
    kept, closed = FakeConnection(delivery=delivery()), FakeConnection(delivery=delivery())
    got: list[Delivery] = []
    probe = probe_of(kept, closed)
    await probe.probe("work", got.append)
    await probe.probe("work")
    assert got == [kept.delivery]
    assert (kept.calls[-1], closed.calls[-1]) == ("cancel tag", "close")

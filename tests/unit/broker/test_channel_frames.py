"""The frames of one channel: each confirm, answer and delivery reaches who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from pamqp import frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from structlog.testing import capture_logs

from coordinator.broker.channel_frames import ChannelFrames
from coordinator.broker.frame_protocol import FrameHandler, FrameProtocol
from coordinator.broker.types import Delivery, Message, Settler
from coordinator.errors import BrokerUnavailableError, QueueFullError, UnroutableError

CHANNEL = 3


@dataclass
class FakeProtocol:
    """Keeps what is sent, and hands frames to the handler as the socket would."""

    handlers: dict[int, FrameHandler] = field(default_factory=dict)
    sent: bytes = b""
    at_flush: list[Callable[[], None]] = field(default_factory=list)

    def attach(self, channel: int, handle: FrameHandler) -> None:
        """Keep the handler."""
        self.handlers[channel] = handle

    def detach(self, channel: int) -> None:
        """Forget the handler."""
        del self.handlers[channel]

    def send(self, *data: bytes) -> None:
        """Keep the frames."""
        self.sent += b"".join(data)

    def before_flush(self, write: Callable[[], None]) -> None:
        """Keep what is to be called."""
        self.at_flush.append(write)

    def receive(self, *content: Frame | ContentHeader | ContentBody) -> list[bool]:
        """Receive frames; returns for each whether it was handled."""
        handled = []
        for one in content:
            data = frame.marshal(one, CHANNEL)
            handled.append(self.handlers[CHANNEL](data[0], data, 7, len(data) - 1))
        return handled

    def written(self) -> list[object]:
        """The frames that were sent since the last call."""
        got: list[object] = []
        data, self.sent = self.sent, b""
        while data:
            size, _, value = frame.unmarshal(data)
            data = data[size:]
            got.append(value)
        return got


@pytest.fixture
def protocol() -> FakeProtocol:
    """The protocol of a connection."""
    return FakeProtocol()


@pytest.fixture
async def channel(protocol: FakeProtocol) -> ChannelFrames:
    """A channel's frames on this protocol."""
    return ChannelFrames(cast("FrameProtocol", protocol), CHANNEL, 131072, cast("Settler", object()))


def publish(channel: ChannelFrames, ident: str) -> asyncio.Future[None]:
    """Publish a mandatory message."""
    return channel.publish("", "work", Message(b"body"), ident, mandatory=True)


def content(method: Frame, *parts: bytes, ident: str = "m") -> list[Frame | ContentHeader | ContentBody]:
    """The frames of a message, its body in these parts."""
    header = ContentHeader(body_size=sum(map(len, parts)), properties=Basic.Properties(message_id=ident))
    return [method, header, *map(ContentBody, parts)]


async def test_each_publish_has_its_own_outcome(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """Confirmed, refused, and returned by the broker."""
    confirmed, refused, returned = (publish(channel, ident) for ident in "abc")
    protocol.receive(Basic.Ack(1), Basic.Nack(2, requeue=False))
    protocol.receive(*content(Basic.Return(312, "NO_ROUTE", "", "work"), b"body", ident="c"), Basic.Ack(3))
    assert confirmed.result() is None
    assert isinstance(refused.exception(), QueueFullError)
    assert isinstance(returned.exception(), UnroutableError)


async def test_gets_are_answered_in_order(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """A body may come in parts, and a queue may be empty."""
    first, second = channel.get("work"), channel.get("work")
    handled = protocol.receive(
        *content(Basic.GetOk(1, redelivered=True, routing_key="work", message_count=0), b"bo", b"dy")
    )
    assert all(handled)
    assert not second.done()
    protocol.receive(Basic.GetEmpty())
    got = first.result()
    assert got is not None
    assert (got.body, got.redelivered, got.routing_key, second.result()) == (b"body", True, "work", None)


async def test_a_delivery_reaches_its_consumer(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """A consumer that fails, or that is gone, is logged and harms no other."""
    got: list[Delivery] = []
    channel.consumers.update({b"good": got.append, b"bad": lambda _: 1 / 0})  # type: ignore[dict-item]
    with capture_logs() as logged:
        for number, consumer in enumerate(("bad", "gone", "good"), 1):
            protocol.receive(*content(Basic.Deliver(consumer, number, redelivered=False, routing_key="work"), b"body"))
    assert [entry["event"] for entry in logged] == ["delivery.failed", "delivery.unexpected"]
    assert [one.tag for one in got] == [3]


async def test_acks_are_written_together(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """One frame acks all deliveries of a step of the event loop; nothing is settled twice."""
    channel.consumers[b"c"] = lambda _: None
    for number in (1, 2, 3):
        protocol.receive(*content(Basic.Deliver("c", number, redelivered=False, routing_key="work"), b"body"))
    channel.ack(1)
    channel.ack(2)
    channel.ack(2)
    assert len(protocol.at_flush) == 1
    protocol.at_flush.pop()()
    (ack,) = protocol.written()
    assert isinstance(ack, Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (2, True)
    channel.reject(3, requeue=True)
    channel.reject(3, requeue=True)
    (reject,) = protocol.written()
    assert isinstance(reject, Basic.Reject)
    assert (reject.delivery_tag, reject.requeue) == (3, True)


async def test_the_library_gets_all_other_frames(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """Also the content of a method that is not handled here."""
    del channel
    assert protocol.receive(Basic.ConsumeOk("c"), ContentHeader(body_size=1), ContentBody(b"x")) == [False] * 3


async def test_the_end_fails_who_waits(channel: ChannelFrames, protocol: FakeProtocol) -> None:
    """No confirm and no answer can come any more."""
    waiting: list[asyncio.Future[None] | asyncio.Future[Delivery | None]] = [publish(channel, "a"), channel.get("work")]
    channel.end(BrokerUnavailableError("gone"))
    assert all(isinstance(one.exception(), BrokerUnavailableError) for one in waiting)
    assert protocol.handlers == {}

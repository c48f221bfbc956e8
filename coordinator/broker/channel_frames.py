"""The frequent frames of one channel: publishes and confirms, deliveries and acks."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import structlog

from coordinator.broker import frames
from coordinator.broker.confirms import Confirms, Unsettled
from coordinator.broker.frame_protocol import FrameProtocol
from coordinator.broker.types import Delivery, Message, OnDelivery, Settler
from coordinator.errors import CoordinatorError

log = structlog.get_logger(__name__)

_CONTENT_FOLLOWS: Final = frozenset({frames.DELIVER, frames.RETURN, frames.GET_OK})


class ChannelFrames:
    """Sends and receives the frames of one channel that bypass the client library."""

    def __init__(self, protocol: FrameProtocol, channel: int, largest: int, settler: Settler) -> None:
        """Attach to the protocol, and handle the channel's frames from now on.

        Args:
            protocol: the protocol of its connection.
            channel: its number.
            largest: the largest frame in bytes.
            settler: settles the deliveries of this channel.
        """
        self.confirms = Confirms()
        self.consumers: dict[bytes, OnDelivery] = {}
        self._unsettled = Unsettled()
        self._gets: deque[asyncio.Future[Delivery | None]] = deque()
        self._protocol = protocol
        self._channel = channel
        self._largest = largest
        self._settler = settler
        self._loop = asyncio.get_running_loop()
        self._content: tuple[int, bytes, int] | None = None
        """The method whose content arrives now, the bytes that hold it, and its position in them."""
        self._properties: frames.Properties | None = None
        self._body: list[bytes] = []
        self._missing = 0
        protocol.attach(channel, self._frame)

    def publish(
        self, exchange: str, routing_key: str, message: Message, message_id: str, *, mandatory: bool
    ) -> asyncio.Future[None]:
        """Publish a message; the future completes with the broker's confirm."""
        written = frames.publish(
            self._channel, exchange, routing_key, message, message_id, mandatory=mandatory, most=self._largest
        )
        address = (exchange, routing_key, message_id) if mandatory else None
        future = self.confirms.add(address, self._loop.time())
        self._protocol.send(*written)
        return future

    def get(self, queue: str) -> asyncio.Future[Delivery | None]:
        """Get one message; answers come in the order of the requests."""
        future: asyncio.Future[Delivery | None] = self._loop.create_future()
        self._gets.append(future)
        self._protocol.send(frames.get(self._channel, queue))
        return future

    def ack(self, tag: int) -> None:
        """Ack a delivery; one frame may ack several."""
        if not self._unsettled.has_acks:
            self._protocol.before_flush(self._write_acks)
        self._unsettled.settled(tag, ack=True)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery."""
        if self._unsettled.settled(tag, ack=False):
            self._protocol.send(frames.reject(self._channel, tag, requeue=requeue))

    def end(self, error: CoordinatorError) -> None:
        """Detach from the protocol, and fail everything that still waits for an answer."""
        self._protocol.detach(self._channel)
        self.confirms.fail(error)
        while self._gets:
            future = self._gets.popleft()
            if not future.done():
                future.set_exception(error)

    def _write_acks(self) -> None:
        for tag, multiple in self._unsettled.acks():
            self._protocol.send(frames.ack(self._channel, tag, multiple=multiple))

    def _frame(self, kind: int, data: bytes, at: int, end: int) -> bool:
        if kind == frames.METHOD:
            return self._method(data, at)
        if self._content is None:
            return False
        if kind == frames.HEADER:
            self._properties = frames.read_header(data, at)
            self._missing = self._properties.size
        else:
            self._body.append(data[at:end])
            self._missing -= end - at
        if self._missing <= 0:
            self._content_complete()
        return True

    def _method(self, data: bytes, at: int) -> bool:
        method = frames.method_of(data, at)
        if method in _CONTENT_FOLLOWS:
            self._content = method, data, at
        elif method in {frames.ACK, frames.NACK}:
            number, multiple = frames.read_confirm(data, at)
            self.confirms.answered(number, multiple=multiple, good=method == frames.ACK)
        elif method == frames.GET_EMPTY:
            self._got(None)
        else:
            return False
        return True

    def _content_complete(self) -> None:
        """Handle a method whose content is complete."""
        content, properties = self._content, self._properties
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._content = self._properties = None
        self._body = []
        if content is None or properties is None:
            return
        method, data, at = content
        if method == frames.RETURN:
            self.confirms.returned((*frames.read_return(data, at), properties.message_id or ""))
        elif method == frames.GET_OK:
            self._got(self._delivery(frames.read_get_ok(data, at), properties, body))
        else:
            consumer, origin = frames.read_deliver(data, at)
            self._dispatch(consumer, self._delivery(origin, properties, body))

    def _delivery(self, origin: frames.Origin, properties: frames.Properties, body: bytes) -> Delivery:
        tag, redelivered, key = origin
        self._unsettled.delivered(tag)
        return Delivery(
            body=body,
            headers=properties.headers,
            message_id=properties.message_id,
            user_id=properties.user_id,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            routing_key=key,
            redelivered=redelivered,
            tag=tag,
            channel=self._settler,
        )

    def _got(self, delivery: Delivery | None) -> None:
        future = self._gets.popleft()
        if not future.done():
            future.set_result(delivery)

    def _dispatch(self, consumer: bytes, delivery: Delivery) -> None:
        on_delivery = self.consumers.get(consumer)
        if on_delivery is None:
            log.warning("delivery.unexpected", consumer=consumer.decode(errors="replace"))
            return
        try:
            on_delivery(delivery)
        except Exception:  # a failing consumer must not end the connection and its other consumers
            log.exception("delivery.failed", routing_key=delivery.routing_key)

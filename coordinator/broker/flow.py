"""What flows through a channel: publishings and their confirms, deliveries and their settlements."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import structlog

from coordinator.broker import frames
from coordinator.broker.confirms import Confirms, Unsettled
from coordinator.broker.message import Delivery, Message, OnDelivery, Settler
from coordinator.broker.tap import Tap
from coordinator.errors import CoordinatorError

log = structlog.get_logger(__name__)

_CONTENT_FOLLOWS: Final = frozenset({frames.DELIVER, frames.RETURN, frames.GET_OK})


class Flow:
    """The frames of one channel that do not go through the client library."""

    def __init__(self, tap: Tap, channel: int, largest: int, settles: Settler) -> None:
        """Take the channel's frames out of the stream from now on.

        Args:
            tap: of its connection.
            channel: its number.
            largest: bytes that a frame may have.
            settles: what deliveries are settled through.
        """
        self.confirms = Confirms()
        self.consumers: dict[bytes, OnDelivery] = {}
        self._unsettled = Unsettled()
        self._gets: deque[asyncio.Future[Delivery | None]] = deque()
        self._tap = tap
        self._channel = channel
        self._largest = largest
        self._settles = settles
        self._loop = asyncio.get_running_loop()
        self._content: tuple[int, bytes, int] | None = None
        """The method whose content comes now: what it is, and where it stands in which bytes."""
        self._properties: frames.Properties | None = None
        self._body: list[bytes] = []
        self._missing = 0
        tap.attach(channel, self._frame)

    def publish(
        self, exchange: str, routing_key: str, message: Message, message_id: str, *, mandatory: bool
    ) -> asyncio.Future[None]:
        """Write a message; the future is done once the broker has answered for it."""
        written = frames.publish(
            self._channel, exchange, routing_key, message, message_id, mandatory=mandatory, most=self._largest
        )
        address = (exchange, routing_key, message_id) if mandatory else None
        future = self.confirms.add(address, self._loop.time())
        self._tap.send(*written)
        return future

    def get(self, queue: str) -> asyncio.Future[Delivery | None]:
        """Ask for one message; the answers come in the order of the questions."""
        future: asyncio.Future[Delivery | None] = self._loop.create_future()
        self._gets.append(future)
        self._tap.send(frames.get(self._channel, queue))
        return future

    def ack(self, tag: int) -> None:
        """Ack a delivery, in one frame with others if may be."""
        if not self._unsettled.has_acks:
            self._tap.before_flush(self._write_acks)
        self._unsettled.settled(tag, ack=True)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery."""
        if self._unsettled.settled(tag, ack=False):
            self._tap.send(frames.reject(self._channel, tag, requeue=requeue))

    def end(self, error: CoordinatorError) -> None:
        """Nothing flows any more: whoever waits is told so."""
        self._tap.detach(self._channel)
        self.confirms.fail(error)
        while self._gets:
            future = self._gets.popleft()
            if not future.done():
                future.set_exception(error)

    def _write_acks(self) -> None:
        for tag, multiple in self._unsettled.acks():
            self._tap.send(frames.ack(self._channel, tag, multiple=multiple))

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
            self._conclude()
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

    def _conclude(self) -> None:
        """A method's content is complete."""
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
            self._hand_on(consumer, self._delivery(origin, properties, body))

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
            channel=self._settles,
        )

    def _got(self, delivery: Delivery | None) -> None:
        future = self._gets.popleft()
        if not future.done():
            future.set_result(delivery)

    def _hand_on(self, consumer: bytes, delivery: Delivery) -> None:
        on_delivery = self.consumers.get(consumer)
        if on_delivery is None:
            log.warning("delivery.unexpected", consumer=consumer.decode(errors="replace"))
            return
        try:
            on_delivery(delivery)
        except Exception:  # the consumer's own task ends here: the connection and its other consumers go on
            log.exception("delivery.failed", routing_key=delivery.routing_key)

"""Channels of the broker: publishing, consuming, settling, declaring; the client library's errors become ours here."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aio_pika import exceptions as amqp
from aiormq.exceptions import ChannelAccessRefused
from pamqp import constants
from pamqp.commands import Basic

from coordinator.broker import wire
from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueFullError,
    QueueMissingError,
    UnroutableError,
)

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel
    from aiormq.abc import DeliveredMessage
    from aiormq.channel import Channel as InnerChannel
    from pamqp.common import FieldTable

    from coordinator.topology import Exchange, Queue

RPC_TIMEOUT: Final = 10.0
DEPTH_TIMEOUT: Final = 3.0
CONFIRM_TIMEOUT: Final = 30.0
PERSISTENT: Final = 2

# The client library refuses queue names that any broker takes, such as those with `=` or letters beyond ASCII, and
# seed ids may hold these.
constants.DOMAIN_REGEX["queue-name"] = re.compile(r".*", re.DOTALL)
wire.install()


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[None]:
    """Turn the client library's errors into ours; order matters, the special ones come first.

    The library waits by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes together with
    what was waited for. A task that is told to end would go on forever, so it is told again. On the other hand it
    cancels what waits on a connection whose heartbeat stopped: that is no cancellation of the task that called, which
    would end without a word if it were taken for one.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        is_told = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > before
        translated = None if is_told else _translated(error)
        if translated is None:
            raise
        raise translated from error
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def _translated(error: BaseException) -> CoordinatorError | None:  # noqa: PLR0911 - a table, one error a line
    """Our error for one of the client library's, None for what is not of it."""
    match error:
        case amqp.PublishError():
            return UnroutableError("no queue takes this message")
        case amqp.DeliveryError():
            return QueueFullError("the broker refused a message: its queue is full, or is without a leader now")
        case amqp.ChannelNotFoundEntity():
            return QueueMissingError(str(error))
        case amqp.ChannelPreconditionFailed() | ChannelAccessRefused():
            return BrokerRefusedError(str(error))
        case TimeoutError():
            return BrokerUnavailableError("the broker did not answer in time")
        case asyncio.CancelledError():
            return BrokerUnavailableError("the connection is gone: its heartbeat stopped")
        case amqp.AMQPError() | amqp.ChannelInvalidStateError() | OSError() | RuntimeError():
            return BrokerUnavailableError(f"the connection is gone: {str(error) or type(error).__name__}")
        case _ if type(error) is Exception:  # how the library rejects what waits when it has nothing to say
            return BrokerUnavailableError("the connection is gone")
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish: always persistent, JSON unless said otherwise."""

    body: bytes
    headers: Mapping[str, object] = field(default_factory=dict)
    message_id: str | None = None
    user_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str = "application/json"

    def properties(self) -> Basic.Properties:
        """The same as the client library's."""
        table: FieldTable = wire.writable(self.headers)
        return Basic.Properties(
            content_type=self.content_type,
            headers=table or None,
            delivery_mode=PERSISTENT,
            message_id=self.message_id,
            user_id=self.user_id,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message that was delivered and waits to be settled, on the channel it came by and on no other."""

    body: bytes
    headers: Mapping[str, object]
    message_id: str | None
    user_id: str | None
    correlation_id: str | None
    reply_to: str | None
    routing_key: str
    redelivered: bool
    tag: int
    channel: Channel

    async def ack(self) -> None:
        """Settle it: done with.

        Raises:
            BrokerUnavailableError: its channel is gone, and the broker has taken it back.
        """
        await self.channel.ack(self.tag)

    async def reject(self, *, requeue: bool = False) -> None:
        """Settle it as failed: to the dead-letter exchange, or back to its queue.

        Raises:
            BrokerUnavailableError: its channel is gone, and the broker has taken it back.
        """
        await self.channel.reject(self.tag, requeue=requeue)

    def copy(self, **changes: object) -> Message:
        """The message as it came, to be published again; `user_id` must be the publisher's own, so it is left out."""
        return Message(
            body=self.body,
            headers={**self.headers, **changes},
            message_id=self.message_id,
            correlation_id=self.correlation_id,
        )


@dataclass(frozen=True, slots=True)
class Depth:
    """What a queue holds ready for delivery, and how many consume it."""

    ready: int
    consumers: int


OnDelivery = Callable[[Delivery], None]


class Channel:
    """A channel with publisher confirms.

    Once something consumes on it, or a lease hangs on it, it is needed: if the broker closes it or ends a consumer,
    its connection counts as ended, so that whoever runs on that begins anew instead of waiting for what never comes.
    """

    def __init__(
        self, outer: AbstractChannel, inner: InnerChannel, *, needed: bool, on_loss: Callable[[str], None]
    ) -> None:
        # The library holds channels weakly, so both references stay here.
        self._outer = outer
        self._inner = inner
        self._is_needed = needed
        self._on_loss = on_loss
        self._on_cancel: dict[str, Callable[[], None]] = {}
        self._consuming = asyncio.Lock()
        self._deadlines: set[asyncio.Timeout] = set()
        inner.on_consumer_cancel_callbacks.add(self._cancelled)
        inner.closing.add_done_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._inner.is_closed

    async def wait_closed(self) -> None:
        """Wait until it can no longer be used: for some errors the broker closes a channel, not its connection."""
        await asyncio.wait([self._inner.closing])

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        message: Message,
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish and wait for the broker's confirm, for 30 s in which the broker does not block publishers.

        Raises:
            UnroutableError: mandatory, and no queue takes it.
            QueueFullError: the queue refuses more.
            BrokerUnavailableError: no confirm came: it may have arrived or not.
        """
        async with ours(), asyncio.timeout(CONFIRM_TIMEOUT) as deadline:
            self._deadlines.add(deadline)
            try:
                await self._inner.basic_publish(
                    message.body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=message.properties(),
                    mandatory=mandatory,
                    wait=False,
                )
            finally:
                self._deadlines.discard(deadline)

    @property
    def awaits_confirms(self) -> bool:
        """Whether a confirm is still to come."""
        return bool(self._deadlines)

    def be_patient(self) -> None:
        """Let all that waits for a confirm wait from now on: the broker blocks publishers, and says so."""
        when = asyncio.get_running_loop().time() + CONFIRM_TIMEOUT
        for deadline in self._deadlines:
            deadline.reschedule(when)

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        priority: int | None = None,
        offset: str | int | None = None,
        on_cancel: Callable[[], None] | None = None,
    ) -> str:
        """Consume a queue with a prefetch of its own; returns the consumer's tag.

        Args:
            queue: its name.
            on_delivery: called for each delivery, in order; must not block.
            prefetch: how many deliveries may be unsettled at once.
            priority: above 0, it is served before others.
            offset: where to begin in a stream: `first`, `last`, or a number.
            on_cancel: called when the broker ends the consumer, because the queue is gone; without it the whole
                connection counts as ended then.

        Raises:
            QueueMissingError: there is no such queue.
        """

        async def deliver(message: DeliveredMessage) -> None:
            on_delivery(self._delivery(message))

        arguments: FieldTable = {}
        if priority is not None:
            arguments["x-priority"] = priority
        if offset is not None:
            arguments["x-stream-offset"] = offset
        # A prefetch is set for the consumers that come after it, so two that begin at once must not change places.
        async with ours(), self._consuming:
            await self._inner.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT)
            answer = await self._inner.basic_consume(queue, deliver, arguments=arguments, timeout=RPC_TIMEOUT)
        tag = str(answer.consumer_tag)
        self._is_needed = True
        self._on_cancel[tag] = on_cancel or (lambda: self._on_loss(f"the queue {queue!r} is gone"))
        return tag

    async def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it has delivered stays to be settled.

        What a quorum queue had on its way to it goes back there, marked as redelivered, though nobody has seen it.
        """
        self._on_cancel.pop(consumer_tag, None)
        async with ours():
            await self._inner.basic_cancel(consumer_tag, timeout=RPC_TIMEOUT)

    async def get(self, queue: str) -> Delivery | None:
        """Take one message, or None where there is none."""
        async with ours():
            message = await self._inner.basic_get(queue, timeout=RPC_TIMEOUT)
        return None if isinstance(message.delivery, Basic.GetEmpty) else self._delivery(message)

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Settle one delivery, or all up to this one.

        Raises:
            BrokerUnavailableError: the channel is gone, and its deliveries with it.
        """
        async with ours():
            await self._inner.basic_ack(tag, multiple=multiple, wait=False)

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Settle one delivery as failed.

        Raises:
            BrokerUnavailableError: the channel is gone, and its deliveries with it.
        """
        async with ours():
            await self._inner.basic_reject(tag, requeue=requeue, wait=False)

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Declare a durable exchange.

        Raises:
            BrokerRefusedError: it exists otherwise.
        """
        async with ours():
            await self._inner.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=RPC_TIMEOUT
            )

    async def declare_queue(self, queue: Queue) -> None:
        """Declare a durable queue and its bindings.

        Raises:
            BrokerRefusedError: it exists otherwise, or this user may not.
        """
        async with ours():
            await self._inner.queue_declare(
                queue.name, durable=True, arguments=dict(queue.arguments), timeout=RPC_TIMEOUT
            )
            for exchange, routing_key in queue.bindings:
                await self._inner.queue_bind(queue.name, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def declare_own_queue(self, name: str, bindings: Iterable[tuple[str, str]]) -> str:
        """Declare an exclusive queue that ends with the connection; an empty name lets the broker choose one."""
        async with ours():
            answer = await self._inner.queue_declare(name, exclusive=True, auto_delete=True, timeout=RPC_TIMEOUT)
            own = str(answer.queue)
            for exchange, routing_key in bindings:
                await self._inner.queue_bind(own, exchange, routing_key, timeout=RPC_TIMEOUT)
        return own

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let an exchange route nothing more to a queue by this key; harmless when it does not."""
        async with ours():
            await self._inner.queue_unbind(queue, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def delete_queue(self, name: str) -> int:
        """Delete a queue; returns how many messages were ready in it."""
        async with ours():
            answer = await self._inner.queue_delete(name, timeout=RPC_TIMEOUT)
        return int(answer.message_count or 0)

    async def depth(self, queue: str) -> Depth:
        """What a queue holds ready, by a passive declare.

        Raises:
            QueueMissingError: there is no such queue; the broker has closed this channel.
        """
        async with ours():
            answer = await self._inner.queue_declare(queue, passive=True, timeout=DEPTH_TIMEOUT)
        return Depth(ready=int(answer.message_count or 0), consumers=int(answer.consumer_count or 0))

    async def close(self) -> None:
        """Close it; what was delivered by it and not settled goes back."""
        self._is_needed = False
        async with ours(), asyncio.timeout(RPC_TIMEOUT):
            await self._outer.close()

    def _closed(self, closing: asyncio.Future[object]) -> None:
        if self._is_needed:
            error = None if closing.cancelled() else closing.exception()
            self._on_loss(str(error) if error else "the broker closed a channel")

    def _cancelled(self, frame: Basic.Cancel) -> None:
        on_cancel = self._on_cancel.pop(str(frame.consumer_tag), None)
        if on_cancel is not None:
            on_cancel()

    def _delivery(self, message: DeliveredMessage) -> Delivery:
        properties = message.header.properties
        return Delivery(
            body=message.body,
            headers=properties.headers or {},
            message_id=properties.message_id or None,
            user_id=properties.user_id or None,
            correlation_id=properties.correlation_id or None,
            reply_to=properties.reply_to or None,
            routing_key=message.routing_key or "",
            redelivered=bool(message.redelivered),
            tag=message.delivery_tag or 0,
            channel=self,
        )

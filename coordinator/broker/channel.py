"""A channel of the broker: publish, consume, ack and reject, declare. It raises only errors of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from secrets import token_hex
from typing import Final

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel as InnerChannel
from pamqp.commands import Basic
from pamqp.common import FieldTable

from coordinator.broker.channel_frames import ChannelFrames
from coordinator.broker.error_mapping import map_error, mapped_errors
from coordinator.broker.frame_protocol import FrameProtocol
from coordinator.broker.types import Delivery, Depth, Message, OnDelivery
from coordinator.errors import BrokerUnavailableError
from coordinator.topology import Exchange, Queue

RPC_TIMEOUT: Final = 10.0
DEPTH_TIMEOUT: Final = 3.0
CONFIRM_TIMEOUT: Final = 30.0


class Channel:
    """A channel with publisher confirms.

    Once it has a consumer, it is needed: if the broker closes it or ends a consumer, `on_loss` is called. Otherwise
    the consumer's owner would wait forever for deliveries that never come.
    """

    def __init__(
        self,
        outer: AbstractChannel,
        inner: InnerChannel,
        protocol: FrameProtocol,
        *,
        needed: bool,
        on_loss: Callable[[str], None],
        patience: float | None,
    ) -> None:
        # The library only has weak references to channels, so both objects are kept here.
        self._outer = outer
        self._inner = inner
        self._is_needed = needed
        self._on_loss = on_loss
        self._patience = CONFIRM_TIMEOUT if patience is None else patience
        self._frames = ChannelFrames(protocol, inner.number, inner.connection.connection_tune.frame_max, self)
        self._abandoning: asyncio.Task[None] | None = None
        self._on_cancel: dict[str, Callable[[], None]] = {}
        self._consuming = asyncio.Lock()
        inner.on_consumer_cancel_callbacks.add(self._cancelled)
        inner.closing.add_done_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._inner.is_closed

    @property
    def is_waited_for(self) -> bool:
        """Whether a publish still waits for its confirm."""
        return self._frames.confirms.is_waited_for

    async def wait_closed(self) -> None:
        """Wait until it is closed. For some errors the broker closes a channel but not its connection."""
        await asyncio.wait([self._inner.closing])

    async def publish(self, exchange: str, routing_key: str, message: Message, *, mandatory: bool = False) -> None:
        """Publish and wait for the broker's confirm, at most as long as the channel's patience.

        Raises:
            UnroutableError: it is mandatory, and no queue takes it.
            QueueFullError: the queue is full.
            BrokerUnavailableError: no confirm came. The broker may have the message or not.
        """
        await self.send(exchange, routing_key, message, mandatory=mandatory)

    def send(
        self, exchange: str, routing_key: str, message: Message, *, mandatory: bool = False
    ) -> asyncio.Future[None]:
        """Publish in the order of the calls. The future completes with the confirm, or fails like `publish`.

        Raises:
            BrokerUnavailableError: the channel is closed; nothing was written.
        """
        self._must_be_open()
        ident = message.message_id or token_hex(16)
        return self._frames.publish(exchange, routing_key, message, ident, mandatory=mandatory)

    def is_late(self, now: float) -> bool:
        """Whether a confirm is overdue."""
        return self._frames.confirms.overdue(now - self._patience)

    def give_up(self, now: float) -> None:
        """Fail the publishes whose confirms are overdue."""
        self._frames.confirms.give_up(now - self._patience)

    def be_patient(self, now: float) -> None:
        """Restart the wait for every confirm: the broker blocks publishers now, so none can come."""
        self._frames.confirms.be_patient(now)

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
        """Consume a queue with its own prefetch; returns the consumer's tag.

        Args:
            queue: its name.
            on_delivery: called for each delivery, in order. It must not block.
            prefetch: how many deliveries may be unsettled at once.
            priority: a consumer with a higher priority gets messages first; the default is 0.
            offset: where to start in a stream: `first`, `last`, or a number.
            on_cancel: called when the queue was deleted. Without it the channel's `on_loss` is called.

        Raises:
            QueueMissingError: there is no such queue.
        """
        options = {"x-priority": priority, "x-stream-offset": offset}
        args: FieldTable = {name: value for name, value in options.items() if value is not None}
        tag = f"ctag-{token_hex(16)}"  # we choose it: deliveries can come before the answer that names it
        # `basic.qos` sets the prefetch of later consumers. The lock keeps each qos together with its own consume.
        async with mapped_errors(f"consume {queue}"), self._consuming:
            await self._inner.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT)
            self._frames.consumers[tag.encode()] = on_delivery
            try:
                await self._inner.basic_consume(queue, _not_here, arguments=args, consumer_tag=tag, timeout=RPC_TIMEOUT)
            except BaseException:
                # This error closes the channel. The broker delivers again elsewhere what it still sends here.
                del self._frames.consumers[tag.encode()]
                raise
        self._is_needed = True
        self._on_cancel[tag] = on_cancel or (lambda: self._on_loss(f"the queue {queue!r} is gone"))
        return tag

    async def cancel(self, consumer_tag: str) -> None:
        """Cancel a consumer; its deliveries must still be settled.

        Messages of a quorum queue that were on their way to it go back marked as redelivered, although no consumer has
        seen them.
        """
        self._on_cancel.pop(consumer_tag, None)
        async with mapped_errors("cancel a consumer"):
            await self._inner.basic_cancel(consumer_tag, timeout=RPC_TIMEOUT)
        self._frames.consumers.pop(consumer_tag.encode(), None)

    async def get_many(self, queue: str, most: int) -> list[Delivery | None]:
        """Get up to `most` messages at once; None for each one that the queue did not have.

        If the caller is cancelled or the answers take too long, the channel is closed. Otherwise messages that arrive
        later would stay unsettled.
        """
        self._must_be_open()
        answers = [self._frames.get(queue) for _ in range(most)]
        async with mapped_errors(f"get from {queue}"):
            try:
                async with asyncio.timeout(RPC_TIMEOUT):
                    return await asyncio.gather(*answers)
            except (TimeoutError, asyncio.CancelledError):
                self._abandoning = asyncio.create_task(self._abandon(), name="abandon a channel")
                raise

    async def ack(self, tag: int) -> None:
        """Ack one delivery.

        Raises:
            BrokerUnavailableError: the channel is closed, and the broker has taken its deliveries back.
        """
        self._must_be_open()
        self._frames.ack(tag)

    def ack_soon(self, tag: int) -> None:
        """Ack one delivery if the channel is still open."""
        if not self.is_closed:
            self._frames.ack(tag)

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject one delivery.

        Raises:
            BrokerUnavailableError: the channel is closed, and the broker has taken its deliveries back.
        """
        self._must_be_open()
        self._frames.reject(tag, requeue=requeue)

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Declare a durable exchange.

        Raises:
            BrokerRefusedError: it exists with other properties.
        """
        async with mapped_errors(f"declare {exchange.name}"):
            await self._inner.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=RPC_TIMEOUT
            )

    async def declare_queue(self, queue: Queue) -> None:
        """Declare a durable queue and its bindings.

        Raises:
            BrokerRefusedError: it exists with other properties, or this user is not allowed to declare it.
        """
        async with mapped_errors(f"declare {queue.name}"):
            await self._inner.queue_declare(
                queue.name, durable=True, arguments=dict(queue.arguments), timeout=RPC_TIMEOUT
            )
            for exchange, routing_key in queue.bindings:
                await self._inner.queue_bind(queue.name, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def declare_own_queue(self, name: str, bindings: Iterable[tuple[str, str]]) -> str:
        """Declare an exclusive queue, which ends with the connection. With an empty name the broker chooses one."""
        async with mapped_errors("declare a queue of one's own"):
            answer = await self._inner.queue_declare(name, exclusive=True, auto_delete=True, timeout=RPC_TIMEOUT)
            own = str(answer.queue)
            for exchange, routing_key in bindings:
                await self._inner.queue_bind(own, exchange, routing_key, timeout=RPC_TIMEOUT)
        return own

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Remove a binding; harmless when it does not exist."""
        async with mapped_errors(f"unbind {queue}"):
            await self._inner.queue_unbind(queue, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def delete_queue(self, name: str) -> int:
        """Delete a queue; returns how many messages were ready in it."""
        async with mapped_errors(f"delete {name}"):
            answer = await self._inner.queue_delete(name, timeout=RPC_TIMEOUT)
        return int(answer.message_count or 0)

    async def purge_queue(self, name: str) -> int:
        """Discard the ready messages of a queue and return their number. Unacked messages stay."""
        async with mapped_errors(f"purge {name}"):
            answer = await self._inner.queue_purge(name, timeout=RPC_TIMEOUT)
        return int(answer.message_count or 0)

    async def depth(self, queue: str) -> Depth:
        """The depth of a queue, from a passive declare.

        Raises:
            QueueMissingError: there is no such queue. The broker has closed this channel.
        """
        async with mapped_errors(f"depth of {queue}"):
            answer = await self._inner.queue_declare(queue, passive=True, timeout=DEPTH_TIMEOUT)
        return Depth(ready=int(answer.message_count or 0), consumers=int(answer.consumer_count or 0))

    async def close(self) -> None:
        """Close it; its unsettled deliveries go back to their queues."""
        self._is_needed = False
        await self._close()

    async def _close(self) -> None:
        async with mapped_errors("close a channel"), asyncio.timeout(RPC_TIMEOUT):
            await self._outer.close()

    async def _abandon(self) -> None:
        with contextlib.suppress(BrokerUnavailableError):
            await self._close()

    def _must_be_open(self) -> None:
        if self._inner.is_closed:
            raise BrokerUnavailableError("the connection is gone: its channel is closed")

    def _closed(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        mapped = map_error(error) if error else None
        self._frames.end(mapped or BrokerUnavailableError("the connection is gone"))
        if self._is_needed:
            self._on_loss(str(error) if error else "the broker closed a channel")

    def _cancelled(self, frame: Basic.Cancel) -> None:
        on_cancel = self._on_cancel.pop(str(frame.consumer_tag), None)
        if on_cancel is not None:
            on_cancel()


async def _not_here(_: object) -> None:
    """A consumer callback for the library. It is never called, because deliveries bypass the library."""

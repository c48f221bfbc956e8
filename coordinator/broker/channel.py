"""Channels of the broker: publishing, consuming, settling, declaring; the client library's errors become ours here."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable
from secrets import token_hex
from typing import Final

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel as InnerChannel
from pamqp import constants
from pamqp.commands import Basic
from pamqp.common import FieldTable

from coordinator.broker.flow import Flow
from coordinator.broker.message import Delivery, Depth, Message, OnDelivery
from coordinator.broker.tap import Tap
from coordinator.broker.vendor import ours, translated
from coordinator.errors import BrokerUnavailableError
from coordinator.topology import Exchange, Queue

RPC_TIMEOUT: Final = 10.0
DEPTH_TIMEOUT: Final = 3.0
CONFIRM_TIMEOUT: Final = 30.0

# The client library refuses queue names that any broker takes, such as those with `=` or letters beyond ASCII, and
# seed ids may hold these.
constants.DOMAIN_REGEX["queue-name"] = re.compile(r".*", re.DOTALL)


class Channel:
    """A channel with publisher confirms.

    Once something consumes on it, it is needed: if the broker closes it or ends a consumer,
    its connection counts as ended, so that whoever runs on that begins anew instead of waiting for what never comes.
    """

    def __init__(
        self,
        outer: AbstractChannel,
        inner: InnerChannel,
        tap: Tap,
        *,
        needed: bool,
        on_loss: Callable[[str], None],
        patience: float | None,
    ) -> None:
        # The library holds channels weakly, so both references stay here.
        self._outer = outer
        self._inner = inner
        self._is_needed = needed
        self._on_loss = on_loss
        self._patience = CONFIRM_TIMEOUT if patience is None else patience
        self._flow = Flow(tap, inner.number, inner.connection.connection_tune.frame_max, self)
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
        """Whether anybody waits for a confirm."""
        return self._flow.confirms.is_waited_for

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
        """Publish and wait for the broker's confirm, as long as the channel is patient.

        Raises:
            UnroutableError: mandatory, and no queue takes it.
            QueueFullError: the queue refuses more.
            BrokerUnavailableError: no confirm came: it may have arrived or not.
        """
        await self.send(exchange, routing_key, message, mandatory=mandatory)

    def send(
        self, exchange: str, routing_key: str, message: Message, *, mandatory: bool = False
    ) -> asyncio.Future[None]:
        """Publish, in the order of the calls; the future is done once the broker has confirmed, or fails as `publish`.

        Raises:
            BrokerUnavailableError: the channel is gone: nothing was written.
        """
        self._must_be_open()
        ident = message.message_id or token_hex(16)
        return self._flow.publish(exchange, routing_key, message, ident, mandatory=mandatory)

    def is_late(self, now: float) -> bool:
        """Whether a confirm has been awaited for longer than one may take."""
        return self._flow.confirms.overdue(now - self._patience)

    def give_up(self, now: float) -> None:
        """Wait no longer for what is late."""
        self._flow.confirms.give_up(now - self._patience)

    def be_patient(self, now: float) -> None:
        """Let all that waits for a confirm wait from now on: the broker blocks publishers, and says so."""
        self._flow.confirms.be_patient(now)

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
        arguments: FieldTable = {}
        if priority is not None:
            arguments["x-priority"] = priority
        if offset is not None:
            arguments["x-stream-offset"] = offset
        tag = f"ctag-{token_hex(16)}"  # ours, since deliveries may come before the answer that would tell the broker's
        # A prefetch is set for the consumers that come after it, so two that begin at once must not change places.
        async with ours(f"consume {queue}"), self._consuming:
            await self._inner.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT)
            self._flow.consumers[tag.encode()] = on_delivery
            try:
                await self._inner.basic_consume(
                    queue, _not_here, arguments=arguments, consumer_tag=tag, timeout=RPC_TIMEOUT
                )
            except BaseException:
                # The channel is lost with it: what the broker sends by it still, it sends again elsewhere.
                del self._flow.consumers[tag.encode()]
                raise
        self._is_needed = True
        self._on_cancel[tag] = on_cancel or (lambda: self._on_loss(f"the queue {queue!r} is gone"))
        return tag

    async def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it has delivered stays to be settled.

        What a quorum queue had on its way to it goes back there, marked as redelivered, though nobody has seen it.
        """
        self._on_cancel.pop(consumer_tag, None)
        async with ours("cancel a consumer"):
            await self._inner.basic_cancel(consumer_tag, timeout=RPC_TIMEOUT)
        self._flow.consumers.pop(consumer_tag.encode(), None)

    async def get(self, queue: str) -> Delivery | None:
        """Take one message, or None where there is none."""
        (delivery,) = await self.get_many(queue, 1)
        return delivery

    async def get_many(self, queue: str, most: int) -> list[Delivery | None]:
        """Ask for so many messages at once; None for each that was not there.

        A caller that does not wait for the answers loses the channel: nobody would settle what they bring.
        """
        self._must_be_open()
        answers = [self._flow.get(queue) for _ in range(most)]
        async with ours(f"get from {queue}"):
            try:
                async with asyncio.timeout(RPC_TIMEOUT):
                    return await asyncio.gather(*answers)
            except (TimeoutError, asyncio.CancelledError):
                self._abandoning = asyncio.create_task(self._abandon(), name="abandon a channel")
                raise

    async def ack(self, tag: int) -> None:
        """Settle one delivery: done with.

        Raises:
            BrokerUnavailableError: the channel is gone, and its deliveries with it.
        """
        self._must_be_open()
        self._flow.ack(tag)

    def ack_soon(self, tag: int) -> None:
        """Settle one delivery, if the channel is still there."""
        if not self.is_closed:
            self._flow.ack(tag)

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Settle one delivery as failed.

        Raises:
            BrokerUnavailableError: the channel is gone, and its deliveries with it.
        """
        self._must_be_open()
        self._flow.reject(tag, requeue=requeue)

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Declare a durable exchange.

        Raises:
            BrokerRefusedError: it exists otherwise.
        """
        async with ours(f"declare {exchange.name}"):
            await self._inner.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=RPC_TIMEOUT
            )

    async def declare_queue(self, queue: Queue) -> None:
        """Declare a durable queue and its bindings.

        Raises:
            BrokerRefusedError: it exists otherwise, or this user may not.
        """
        async with ours(f"declare {queue.name}"):
            await self._inner.queue_declare(
                queue.name, durable=True, arguments=dict(queue.arguments), timeout=RPC_TIMEOUT
            )
            for exchange, routing_key in queue.bindings:
                await self._inner.queue_bind(queue.name, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def declare_own_queue(self, name: str, bindings: Iterable[tuple[str, str]]) -> str:
        """Declare an exclusive queue that ends with the connection; an empty name lets the broker choose one."""
        async with ours("declare a queue of one's own"):
            answer = await self._inner.queue_declare(name, exclusive=True, auto_delete=True, timeout=RPC_TIMEOUT)
            own = str(answer.queue)
            for exchange, routing_key in bindings:
                await self._inner.queue_bind(own, exchange, routing_key, timeout=RPC_TIMEOUT)
        return own

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let an exchange route nothing more to a queue by this key; harmless when it does not."""
        async with ours(f"unbind {queue}"):
            await self._inner.queue_unbind(queue, exchange, routing_key, timeout=RPC_TIMEOUT)

    async def delete_queue(self, name: str) -> int:
        """Delete a queue; returns how many messages were ready in it."""
        async with ours(f"delete {name}"):
            answer = await self._inner.queue_delete(name, timeout=RPC_TIMEOUT)
        return int(answer.message_count or 0)

    async def purge_queue(self, name: str) -> int:
        """Discard what is ready in a queue; returns how many messages it was. What is unacked stays."""
        async with ours(f"purge {name}"):
            answer = await self._inner.queue_purge(name, timeout=RPC_TIMEOUT)
        return int(answer.message_count or 0)

    async def depth(self, queue: str) -> Depth:
        """What a queue holds ready, by a passive declare.

        Raises:
            QueueMissingError: there is no such queue; the broker has closed this channel.
        """
        async with ours(f"depth of {queue}"):
            answer = await self._inner.queue_declare(queue, passive=True, timeout=DEPTH_TIMEOUT)
        return Depth(ready=int(answer.message_count or 0), consumers=int(answer.consumer_count or 0))

    async def close(self) -> None:
        """Close it; what was delivered by it and not settled goes back."""
        self._is_needed = False
        async with ours("close a channel"), asyncio.timeout(RPC_TIMEOUT):
            await self._outer.close()

    async def _abandon(self) -> None:
        with contextlib.suppress(BrokerUnavailableError):
            async with ours("close a channel"), asyncio.timeout(RPC_TIMEOUT):
                await self._outer.close()

    def _must_be_open(self) -> None:
        if self._inner.is_closed:
            raise BrokerUnavailableError("the connection is gone: its channel is closed")

    def _closed(self, closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        ours_of_it = translated(error) if error else None
        self._flow.end(ours_of_it or BrokerUnavailableError("the connection is gone"))
        if self._is_needed:
            self._on_loss(str(error) if error else "the broker closed a channel")

    def _cancelled(self, frame: Basic.Cancel) -> None:
        on_cancel = self._on_cancel.pop(str(frame.consumer_tag), None)
        if on_cancel is not None:
            on_cancel()


async def _not_here(_: object) -> None:
    """The library's consumer, which nothing comes to."""

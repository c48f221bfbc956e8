"""A connection to the broker.

Nothing here reconnects. When a connection ends, its unacked deliveries, consumers and delivery tags are void, so its
owner must start again from the beginning on a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog
from aiormq.channel import Channel as InnerChannel
from yarl import URL

from coordinator.broker.channel import RPC_TIMEOUT, Channel
from coordinator.broker.error_mapping import mapped_errors
from coordinator.broker.frame_connection import FrameConnection, connect
from coordinator.broker.queue_health import QueueHealth
from coordinator.broker.queue_probe import QueueProbe
from coordinator.broker.types import Depth, OnDelivery
from coordinator.errors import BrokerUnavailableError, QueueMissingError, QueueSilentError

LOST_TIMEOUT: Final = 1.0
"""Seconds to wait for the broker's answer when closing a lost connection; mostly it does not answer."""
PATIENCE_STEP: Final = 1.0
log = structlog.get_logger(__name__)


class Connection:
    """One connection to the broker, from its opening to its end."""

    def __init__(self, inner: FrameConnection, url: str, urls: Sequence[str], name: str, health: QueueHealth) -> None:
        self._inner = inner
        self.url = url
        self._urls = urls
        self._name = name
        self._beside: list[Connection] = []
        self._probe = QueueProbe(self.beside)
        self._channels: list[Channel] = []
        self._depths: Channel | None = None
        self._depth_lock = asyncio.Lock()
        self.health = health
        self.user = URL(url).user or "guest"
        self.closed = asyncio.Event()
        self.reason = "closed"
        self._patience = asyncio.create_task(self._keep_patience(), name="patience")
        inner.close_callbacks.add(self._on_close)

    @classmethod
    async def open(
        cls,
        urls: Sequence[str],
        name: str,
        *,
        near: Connection | None = None,
        health: QueueHealth | None = None,
        timeout: float = RPC_TIMEOUT,  # noqa: ASYNC109 - shared out among the nodes
    ) -> Connection:
        """Connect to a node of the broker: the first that answers, in random order so that clients spread over nodes.

        Args:
            urls: AMQP URLs of all nodes of one cluster.
            name: the connection's name in the broker's lists.
            near: a connection whose node is tried first. Another node may not see for a moment what this connection
                has declared.
            health: records which queues answer. Connections may share it; without it, this one has its own.
            timeout: seconds for all nodes together. Each node gets an equal share of what is left, so that one that
                hangs leaves time for the others.

        Raises:
            BrokerUnavailableError: no node answers, or every node rejects this user. The message holds no password.
        """
        problems = []
        deadline = asyncio.get_running_loop().time() + timeout
        order = random.sample(urls, len(urls))
        if near is not None:
            order.sort(key=lambda url: url != near.url)
        for left, text in zip(range(len(order), 0, -1), order, strict=True):
            share = (deadline - asyncio.get_running_loop().time()) / left
            try:
                return cls(await connect(text, name, share), text, urls, name, health or QueueHealth())
            except BrokerUnavailableError as error:
                url = URL(text)
                problems.append(f"{url.host}:{url.port}: {str(error.__cause__ or '') or error}")
        raise BrokerUnavailableError("no broker answers at " + "; ".join(problems))

    async def beside(self) -> Connection:
        """Open one more connection, for work that may end it. It is closed with this one at the latest.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        connection = await Connection.open(self._urls, f"{self._name}:beside", near=self, health=self.health)
        self._beside = [one for one in self._beside if not one.closed.is_set()] + [connection]
        return connection

    async def channel(self, on_loss: Callable[[str], None] | None = None, *, patience: float | None = None) -> Channel:
        """Open a channel.

        Args:
            on_loss: called when the channel is lost. Without it, the loss of a channel with consumers ends this
                connection.
            patience: seconds in which a confirm must come, by default 30. Time in which the broker blocks publishers
                does not count.
        """
        async with mapped_errors("open a channel"), asyncio.timeout(RPC_TIMEOUT):
            outer = self._inner.channel(publisher_confirms=True, on_return_raises=True)
            await outer.initialize()
            inner = cast("InnerChannel", await outer.get_underlay_channel())
            channel = Channel(
                outer,
                inner,
                self._inner.protocol,
                needed=on_loss is not None,
                on_loss=on_loss or self._lose,
                patience=patience,
            )
        self._channels = [one for one in self._channels if not one.is_closed]
        self._channels.append(channel)
        return channel

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> None:
        """Consume a queue on its own channel.

        A queue that does not answer, because it has no leader, is tried again and again. Nothing else waits for it.

        Raises:
            QueueMissingError: there is no such queue.
            BrokerUnavailableError: the connection has ended.
        """
        while True:
            try:
                await self.must_answer(queue)
            except QueueSilentError as error:
                log.warning("queue.silent", queue=queue, problem=str(error))
                await asyncio.sleep(self.silence(queue))
            else:
                break
        channel = await self.channel()
        await channel.consume(queue, on_delivery, prefetch=prefetch)

    async def must_answer(self, queue: str, on_delivery: OnDelivery | None = None) -> None:
        """Make sure that consuming a queue cannot end this connection.

        For a queue without a leader the broker reports that it is empty, or does not answer. So an empty queue without
        consumers is probed on another connection first.

        Args:
            queue: its name.
            on_delivery: called with a message that arrives during the probe. Without it the message goes back to the
                queue, and counts as delivered.

        Raises:
            QueueMissingError: there is no such queue.
            QueueSilentError: the queue does not answer.
            BrokerUnavailableError: the connection has ended.
        """
        try:
            if await self.depth(queue) in {None, Depth(0, 0)}:
                await self._try_to_consume(queue, on_delivery)
        except QueueMissingError:
            self.health.must_be_declared(queue)
            raise
        except QueueSilentError:
            self.health.cannot_be_consumed(queue)
            raise
        self.health.can_be_consumed(queue)

    async def _try_to_consume(self, queue: str, on_delivery: OnDelivery | None) -> None:
        try:
            await self._probe.probe(queue, on_delivery)
        except QueueSilentError:
            self.health.gave_no_answer(queue, time.monotonic())
            raise

    def silence(self, queue: str) -> float:
        """Seconds until a queue that did not answer is asked again."""
        return self.health.silence_left(queue, time.monotonic())

    async def depth(self, queue: str) -> Depth | None:
        """The depth of a queue, or None where there is no such queue.

        Raises:
            QueueSilentError: the queue does not answer, or did not a moment ago. It is not asked again at once, because
                requests about other queues would wait behind it.
            BrokerUnavailableError: the connection has ended.
        """
        async with self._depth_lock:
            if self.silence(queue):
                raise QueueSilentError(f"the queue {queue!r} did not answer a moment ago")
            if self._depths is None or self._depths.is_closed:
                self._depths = await self.channel()
            try:
                depth = await self._depths.depth(queue)
            except QueueMissingError:
                self._depths, depth = None, None
            except BrokerUnavailableError as error:
                self._depths = None
                if self.closed.is_set():
                    raise
                self.health.gave_no_answer(queue, time.monotonic())
                raise QueueSilentError(f"the queue {queue!r} does not answer") from error
            self.health.answered(queue, time.monotonic())
            return depth

    async def is_blocked(self) -> bool:
        """Whether the broker blocks publishing on this connection (a memory or disk alarm)."""
        transport = self._inner.transport
        if transport is None:
            return False  # the connection is lost; publishing raises
        try:
            async with asyncio.timeout(0.05):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    async def close(self, patience: float = RPC_TIMEOUT) -> None:
        """Close it within `patience` seconds; harmless when it has ended already.

        Channels are closed first, one by one: the broker answers once it has processed everything sent before on that
        channel. Closing the connection directly would drop acks that are not written yet, and their batches would be
        delivered again.
        """
        self._patience.cancel()
        await asyncio.gather(*(one.close(LOST_TIMEOUT) for one in self._beside))
        with contextlib.suppress(BrokerUnavailableError):
            async with (
                mapped_errors("close the connection"),
                asyncio.timeout(LOST_TIMEOUT if self.closed.is_set() else patience),
            ):
                for channel in self._channels:
                    if not channel.is_closed:
                        await channel.close()
                await self._inner.close()
        self._lose("closed")
        self._inner.protocol.abort()

    async def drop(self) -> None:
        """Close it without closing its channels first, because one of them may hang."""
        self._patience.cancel()
        self._lose("closed")
        with contextlib.suppress(BrokerUnavailableError):
            async with mapped_errors("close the connection"), asyncio.timeout(LOST_TIMEOUT):
                await self._inner.close()
        self._inner.protocol.abort()

    def _on_close(self, _: object, error: BaseException | None) -> None:
        self._lose(str(error) if error else "closed")

    def _lose(self, reason: str) -> None:
        if not self.closed.is_set():
            self.reason = reason
            self.closed.set()

    async def _keep_patience(self) -> None:
        """Fail publishes whose confirms are overdue, except while the broker blocks publishers: then none can come."""
        loop = asyncio.get_running_loop()
        while not self.closed.is_set():
            await asyncio.sleep(PATIENCE_STEP)
            if any(channel.is_late(loop.time()) for channel in self._channels):
                is_blocked = await self.is_blocked()
                for channel in self._channels:
                    (channel.be_patient if is_blocked else channel.give_up)(loop.time())

"""Probe whether a queue can be consumed, on a separate connection, because a broken queue ends its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from coordinator.broker.channel import Channel
from coordinator.broker.types import Delivery, OnDelivery
from coordinator.errors import BrokerUnavailableError, QueueSilentError


class ProbeConnection(Protocol):
    """A connection that the probe opens and closes."""

    closed: asyncio.Event

    async def channel(self) -> Channel:
        """Open a channel."""

    async def close(self) -> None:
        """Close it, its channels first."""

    async def drop(self) -> None:
        """Close it at once, without waiting for its channels."""


class QueueProbe:
    """Checks whether queues can be consumed.

    When a client consumes a queue that has no leader, the broker's side of the channel hangs. After a minute the broker
    ends the connection, with everything else on it. So the probe uses a connection of its own, which is open only while
    a probe runs.

    Args:
        connect: opens that connection.
    """

    def __init__(self, connect: Callable[[], Awaitable[ProbeConnection]]) -> None:
        self._connect = connect
        self._connection: ProbeConnection | None = None
        self._lock = asyncio.Lock()
        self._running = 0
        self._is_hung = False
        self._is_kept = False

    async def probe(self, queue: str, on_delivery: OnDelivery | None = None) -> None:
        """Consume an empty queue, and cancel the consumer at once.

        Args:
            queue: its name.
            on_delivery: called with a message that arrives meanwhile; its connection then stays open. Without it
                the message goes back to the queue, and counts as delivered.

        Raises:
            QueueMissingError: there is no such queue.
            QueueSilentError: the queue does not answer.
        """
        self._running += 1
        try:
            channel = await (await self._connected()).channel()
            tag = await channel.consume(queue, partial(self._deliver, on_delivery), prefetch=1)
            await channel.cancel(tag)
        except BrokerUnavailableError as error:
            self._is_hung = True
            raise QueueSilentError(f"the queue {queue!r} gives no answer") from error
        finally:
            self._running -= 1
            if not self._running:
                await self._disconnect()

    def _deliver(self, on_delivery: OnDelivery | None, delivery: Delivery) -> None:
        if on_delivery is not None:
            self._is_kept = True
            on_delivery(delivery)

    async def _connected(self) -> ProbeConnection:
        async with self._lock:
            if self._connection is None or self._connection.closed.is_set():
                self._connection = await self._connect()
            return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        is_hung, self._is_hung = self._is_hung, False
        is_kept, self._is_kept = self._is_kept, False
        if connection is not None and not is_kept:
            await (connection.drop() if is_hung else connection.close())

"""A scout: tries on a connection of its own what would end the connection of whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from coordinator.broker.channel import Channel
from coordinator.broker.message import Delivery, OnDelivery
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


class Scout:
    """Tries whether queues can be consumed.

    To consume one that has no leader hangs the broker's side of the channel, and ends the connection after a minute,
    with all else that runs on it. The scout's connection is open only as long as it tries something.
    """

    def __init__(self, connect: Callable[[], Awaitable[ProbeConnection]]) -> None:
        self._connect = connect
        self._connection: ProbeConnection | None = None
        self._lock = asyncio.Lock()
        self._trying = 0
        self._is_hung = False
        self._is_kept = False

    async def try_queue(self, queue: str, on_delivery: OnDelivery | None = None) -> None:
        """Consume a queue that is empty, and stop at once.

        Args:
            queue: its name.
            on_delivery: is given a message that comes meanwhile, whose connection is then kept; without it that
                goes back, as one that was delivered.

        Raises:
            QueueMissingError: there is no such queue.
            QueueSilentError: it gives no answer.
        """
        self._trying += 1
        try:
            channel = await (await self._connected()).channel()
            tag = await channel.consume(queue, partial(self._take, on_delivery), prefetch=1)
            await channel.cancel(tag)
        except BrokerUnavailableError as error:
            self._is_hung = True
            raise QueueSilentError(f"the queue {queue!r} gives no answer") from error
        finally:
            self._trying -= 1
            if not self._trying:
                await self._leave()

    def _take(self, on_delivery: OnDelivery | None, delivery: Delivery) -> None:
        if on_delivery is not None:
            self._is_kept = True
            on_delivery(delivery)

    async def _connected(self) -> ProbeConnection:
        async with self._lock:
            if self._connection is None or self._connection.closed.is_set():
                self._connection = await self._connect()
            return self._connection

    async def _leave(self) -> None:
        connection, self._connection = self._connection, None
        is_hung, self._is_hung = self._is_hung, False
        is_kept, self._is_kept = self._is_kept, False
        if connection is not None and not is_kept:
            await (connection.drop() if is_hung else connection.close())

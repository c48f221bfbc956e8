"""A scout: tries on a connection of its own what would end the connection of whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from coordinator.errors import BrokerUnavailableError, QueueMissingError, QueueSilentError

if TYPE_CHECKING:
    from coordinator.broker.connection import Connection
    from coordinator.broker.message import Delivery


class Scout:
    """Tries whether queues can be consumed.

    To consume one that has no leader hangs the broker's side of the channel, and ends the connection after a minute,
    with all else that runs on it. The scout's connection is open only as long as it tries something.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._trying = 0
        self._is_hung = False

    async def try_queue(self, queue: str) -> None:
        """Consume a queue that is empty, and stop at once; a message that comes meanwhile goes back.

        Raises:
            QueueSilentError: it gives no answer.
        """
        self._trying += 1
        try:
            channel = await (await self._connected()).channel()
            await channel.consume(queue, _leave, prefetch=1)
            await channel.close()
        except QueueMissingError:
            pass
        except BrokerUnavailableError as error:
            self._is_hung = True
            raise QueueSilentError(f"the queue {queue!r} gives no answer") from error
        finally:
            self._trying -= 1
            if not self._trying:
                await self._leave()

    async def _connected(self) -> Connection:
        async with self._lock:
            if self._connection is None or self._connection.closed.is_set():
                self._connection = await self._connect()
            return self._connection

    async def _leave(self) -> None:
        connection, self._connection = self._connection, None
        is_hung, self._is_hung = self._is_hung, False
        if connection is not None:
            await (connection.drop() if is_hung else connection.close())


def _leave(_: Delivery) -> None:
    """It goes back when the channel closes."""

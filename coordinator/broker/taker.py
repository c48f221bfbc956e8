"""The connection by which batches are taken out of work queues: one that is broken ends it, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coordinator.broker.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.broker.channel import Channel


class Taker:
    """Such a connection, opened when it is first asked for, and anew after it has ended.

    A queue that has lost its leader may tell how many messages it holds; to ask it for one ends the connection.
    """

    def __init__(self, urls: Sequence[str], name: str, near: Connection) -> None:
        """Make it, not connected yet.

        Args:
            urls: AMQP URLs of all nodes of one cluster.
            name: the connection's name in the broker's lists.
            near: a connection whose node is tried first.
        """
        self._urls = urls
        self._name = name
        self._near = near
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()

    async def channel(self) -> Channel:
        """Open a channel; whoever holds deliveries by it loses them when it is closed.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        async with self._connecting:
            if self._connection is None or self._connection.closed.is_set():
                await self.close()
                self._connection = await Connection.open(self._urls, self._name, near=self._near)
        return await self._connection.channel()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            await self._connection.close()

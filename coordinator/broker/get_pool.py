"""Get batches from work queues on a separate connection, because a broken queue ends the connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery

CHANNELS: Final = 8
"""On one channel the broker gets one message after the other; in a quorum queue each waits for a consensus."""


class GetPool:
    """A connection for `basic.get`. It opens with the first channel, and again after it has ended.

    A queue that has lost its leader may still report its depth, but a `basic.get` on it ends the connection.
    """

    def __init__(self, urls: Sequence[str], name: str, near: Connection) -> None:
        """Make the pool without connecting.

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

    async def channel(self, on_loss: Callable[[str], None]) -> Channel:
        """Open a channel.

        Args:
            on_loss: called when the channel is lost, and all its unsettled deliveries with it.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        async with self._connecting:
            if self._connection is None or self._connection.closed.is_set():
                await self.close()
                self._connection = await Connection.open(self._urls, self._name, near=self._near)
        return await self._connection.channel(on_loss)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            await self._connection.close()


class GetChannels:
    """Channels that get messages in parallel; each opens when it is needed."""

    def __init__(self, pool: GetPool, on_loss: Callable[[str], None] = lambda _: None) -> None:
        """Make it without any channel.

        Args:
            pool: opens the channels.
            on_loss: called when a channel is lost, and all its unsettled deliveries with it.
        """
        self._pool = pool
        self._on_loss = on_loss
        self._channels: list[Channel] = []
        self._opening = asyncio.Lock()
        self._turn = 0

    async def get_many(self, queue: str, most: int) -> list[Delivery | None]:
        """Get up to `most` messages at once; None for each one that the queue did not have.

        Raises:
            QueueMissingError: there is no such queue.
            BrokerUnavailableError: the connection has ended, or the queue does not answer.
        """
        channels = await self._open(min(most, CHANNELS))
        shares = Counter(channels[(self._turn + number) % len(channels)] for number in range(most))
        self._turn += most
        answers = await asyncio.gather(
            *(channel.get_many(queue, share) for channel, share in shares.items()), return_exceptions=True
        )
        got = [one for answer in answers if not isinstance(answer, BaseException) for one in answer]
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures and not any(got):
            raise failures[0]
        return got + [None] * (most - len(got))

    async def close(self) -> None:
        """Close the channels; unsettled deliveries go back to their queues as failed."""
        await asyncio.gather(*(one.close() for one in self._channels if not one.is_closed))

    async def _open(self, wanted: int) -> list[Channel]:
        async with self._opening:
            self._channels = [one for one in self._channels if not one.is_closed]
            missing = max(0, wanted - len(self._channels))
            self._channels += await asyncio.gather(*(self._pool.channel(self._on_loss) for _ in range(missing)))
            return self._channels

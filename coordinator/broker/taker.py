"""The connection by which batches are taken out of work queues: one that is broken ends it, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.message import Delivery

CHANNELS: Final = 8
"""A channel of the broker takes one message after the other out of a quorum queue, each for the time of a consensus."""


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

    async def channel(self, on_loss: Callable[[str], None]) -> Channel:
        """Open a channel.

        Args:
            on_loss: called when the channel is lost, and with it all deliveries that it brought.

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


class Takings:
    """Channels by which messages are taken together, opened when they are needed."""

    def __init__(self, taker: Taker, on_loss: Callable[[str], None] = lambda _: None) -> None:
        """Make it, with no channel yet.

        Args:
            taker: the connection.
            on_loss: called when a channel is lost, and with it all deliveries that it brought.
        """
        self._taker = taker
        self._on_loss = on_loss
        self._channels: list[Channel] = []
        self._opening = asyncio.Lock()
        self._turn = 0

    async def get_many(self, queue: str, most: int) -> list[Delivery | None]:
        """Ask for so many messages at once; None for each that was not there.

        Raises:
            QueueMissingError: there is no such queue.
            BrokerUnavailableError: the connection has ended, or the queue gives no answer.
        """
        channels = await self._open(min(most, CHANNELS))
        shares = Counter(channels[(self._turn + number) % len(channels)] for number in range(most))
        self._turn += most
        answers = await asyncio.gather(
            *(channel.get_many(queue, share) for channel, share in shares.items()), return_exceptions=True
        )
        brought = [one for answer in answers if not isinstance(answer, BaseException) for one in answer]
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures and not any(brought):
            raise failures[0]
        return brought + [None] * (most - len(brought))

    async def close(self) -> None:
        """Close the channels; what was not settled goes back, as failed."""
        await asyncio.gather(*(one.close() for one in self._channels if not one.is_closed))

    async def _open(self, wanted: int) -> list[Channel]:
        async with self._opening:
            self._channels = [one for one in self._channels if not one.is_closed]
            missing = max(0, wanted - len(self._channels))
            self._channels += await asyncio.gather(*(self._taker.channel(self._on_loss) for _ in range(missing)))
            return self._channels

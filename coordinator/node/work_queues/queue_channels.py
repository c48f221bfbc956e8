"""The lanes on which batches leave for the work queues, laid so that a broken queue harms no other.

A quorum queue that has lost its leader confirms nothing, and hangs the broker's side of the channel on which it is
given something; after a minute, or half of one, that ends the whole connection. So each queue has a channel of its
own, and on a connection of its own for as long as it has given no sign of life.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Message
from coordinator.domain.queue_backoff import QueueBackoff
from coordinator.errors import (
    BrokerUnavailableError,
    CoordinatorError,
    QueueFullError,
    QueueSilentError,
    UnroutableError,
)

log = structlog.get_logger(__name__)

INTERNAL: Final = "INTERNAL_ERROR"
"""What the broker says as it ends the connection on which a broken queue was asked for a message, or given one."""
SOON: Final = 2.0
"""Seconds within which any queue that is well confirms: who waited longer when that came is the one to blame."""


OnEnd = Callable[[CoordinatorError | None], None]


@dataclass(frozen=True, slots=True)
class _Lane:
    """Where batches for one work queue are published."""

    connection: Connection
    channel: Channel


class QueueChannels:
    """The lanes of one coordinator, by work queue."""

    def __init__(self, connection: Connection, backoff: QueueBackoff) -> None:
        """Make the lanes of a session.

        Args:
            connection: carries those that are trusted.
            backoff: which queues are left alone for a while, in later sessions too.
        """
        self._connection = connection
        self._backoff = backoff
        self._trusted: set[str] = set()
        self._channels: dict[str, _Lane] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def rests(self, queue: str) -> bool:
        """Whether a queue is left alone now."""
        return self._backoff.holds(queue, time.monotonic())

    def trusts(self, queue: str) -> bool:
        """Whether a queue has given a sign of life, and has not been found broken since."""
        return queue in self._trusted

    def trust(self, queue: str) -> None:
        """A queue has given a sign of life: it told of messages or of consumers."""
        self._trusted.add(queue)

    def gave(self, queue: str) -> None:
        """A queue has given a message out."""
        self._backoff.is_well(queue)

    def strike(self, queue: str, error: Exception) -> None:
        """A queue was found broken: leave it alone for a while."""
        self._trusted.discard(queue)
        seconds = self._backoff.struck(queue, time.monotonic())
        log.warning("work.queue_broken", queue=queue, pause=seconds, problem=str(error))

    def try_send(self, queue: str, message: Message, on_end: OnEnd) -> bool:
        """Publish to a work queue if nothing is to be waited for first; whether that was so.

        Args:
            queue: its name.
            message: what to publish.
            on_end: called later, with what `publish` would raise, or None once the broker has confirmed.
        """
        lane = self._channels.get(queue)
        if lane is None or lane.connection is not self._connection or lane.channel.is_closed or self.rests(queue):
            return False
        began = time.monotonic()
        confirm = lane.channel.send("", queue, message, mandatory=True)
        confirm.add_done_callback(lambda _: on_end(self._judge(queue, lane, began, confirm)))
        return True

    async def publish(self, queue: str, message: Message) -> None:
        """Publish to a work queue and wait for the confirm.

        Raises:
            QueueFullError: it refuses more, or somebody has deleted it; at the next try it is made anew.
            QueueSilentError: it is broken: the message may have arrived or not.
            BrokerUnavailableError: the same, for the connection is gone.
        """
        if self.rests(queue):
            raise QueueSilentError(f"the queue {queue!r} is left alone for a while")
        lane, began = await self._lane(queue), time.monotonic()
        is_alone = lane.connection is not self._connection
        confirm = lane.channel.send("", queue, message, mandatory=True)
        try:
            await asyncio.wait([confirm])
            if error := self._judge(queue, lane, began, confirm):
                raise error
            if is_alone:
                self._forget(queue, lane)
        finally:
            confirm.cancel()  # harmless where it has come
            if is_alone and self._channels.get(queue) is not lane and not lane.channel.is_waited_for:
                await lane.connection.drop()

    def _judge(self, queue: str, lane: _Lane, began: float, confirm: asyncio.Future[None]) -> CoordinatorError | None:
        """What the end of a publishing means."""
        error = confirm.exception()
        match error:
            case None:
                self._trusted.add(queue)
                self._backoff.is_well(queue)
                return None
            case UnroutableError():
                log.warning("work.queue_missing", queue=queue)
                self._trusted.discard(queue)
                self._forget(queue, lane)
                meant: CoordinatorError = QueueFullError(f"the queue {queue!r} was missing")
            case BrokerUnavailableError():
                is_alone = lane.connection is not self._connection
                is_to_blame = INTERNAL in str(error) and (is_alone or time.monotonic() - began > SOON)
                if self._forget(queue, lane) and (is_to_blame or not lane.channel.is_closed):
                    self.strike(queue, error)  # once, by the first of those that wait there
                if lane.channel.is_closed and not is_alone:
                    return error
                meant = QueueSilentError(f"the queue {queue!r} confirms nothing")
            case CoordinatorError():
                return error
            case _:
                raise error
        meant.__cause__ = error
        return meant

    async def _lane(self, queue: str) -> _Lane:
        async with self._opening[queue]:
            lane = self._channels.get(queue)
            if lane is None:
                connection = self._connection if self.trusts(queue) else await self._connection.beside()
                lane = self._channels[queue] = _Lane(connection, await connection.channel())
                if connection is not self._connection:
                    await self._declare(lane, queue)
            return lane

    async def _declare(self, lane: _Lane, queue: str) -> None:
        """Have the queue, which may be in doubt because it was deleted."""
        try:
            await lane.channel.declare_queue(topology.work_queue(topology.tags_of_work_queue(queue)))
        except BrokerUnavailableError as error:
            self._forget(queue, lane)
            self.strike(queue, error)
            await lane.connection.drop()
            raise QueueSilentError(f"the queue {queue!r} cannot be declared") from error

    def _forget(self, queue: str, lane: _Lane) -> bool:
        """Publish no more there; whether that was not so before."""
        is_current = self._channels.get(queue) is lane
        if is_current:
            del self._channels[queue]
        return is_current

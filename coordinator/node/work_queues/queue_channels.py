"""Publish to each work queue on its own channel, so that a broken queue does not stop the others.

A quorum queue without a leader confirms nothing, and the broker's side of a channel that publishes to it hangs. After
30 to 60 seconds the broker ends the whole connection. So each queue has its own channel, and its own connection until
it gives a sign of life.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.queue_health import QueueHealth
from coordinator.broker.types import Message
from coordinator.errors import (
    BrokerInternalError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueFullError,
    QueueSilentError,
    UnroutableError,
)

log = structlog.get_logger(__name__)

SOON: Final = 2.0
"""Seconds in which a healthy queue confirms. When the connection ends, a queue that took longer is to blame."""


OnEnd = Callable[[CoordinatorError | None], None]


@dataclass(frozen=True, slots=True)
class _Route:
    """Where batches for one work queue are published."""

    connection: Connection
    channel: Channel


@dataclass(slots=True, kw_only=True)
class QueueChannels:
    """The channels of one session, by work queue.

    Attributes:
        connection: carries the channels of queues that are alive, and records which those are.
    """

    connection: Connection
    health: QueueHealth = field(init=False)
    _channels: dict[str, _Route] = field(default_factory=dict, init=False)
    _opening: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock), init=False)

    def __post_init__(self) -> None:
        self.health = self.connection.health

    def is_broken(self, queue: str) -> bool:
        """Whether a queue broke, and must not be used yet."""
        return self.health.is_broken(queue, time.monotonic())

    def gave_message(self, queue: str) -> None:
        """Record that a queue answered when it was asked for a message."""
        self.health.gave_message(queue)

    def broke(self, queue: str, error: Exception) -> None:
        """Record and log that a queue is broken."""
        seconds = self.health.broke(queue, time.monotonic())
        log.warning("work.queue_broken", queue=queue, pause=seconds, problem=str(error))

    def try_publish(self, queue: str, message: Message, on_end: OnEnd) -> bool:
        """Publish to a work queue if its channel is open; returns whether it is.

        Args:
            queue: its name.
            message: what to publish.
            on_end: called later, with the error that `publish` would raise, or None once the broker has confirmed.
        """
        route = self._channels.get(queue)
        if route is None or self._is_alone(route) or route.channel.is_closed or self.is_broken(queue):
            return False
        began = time.monotonic()
        confirm = route.channel.send("", queue, message, mandatory=True)
        confirm.add_done_callback(lambda _: on_end(self._judge(queue, route, began, confirm)))
        return True

    async def publish(self, queue: str, message: Message) -> None:
        """Publish to a work queue and wait for the confirm.

        Raises:
            QueueFullError: the queue is full, or was deleted; the next try declares it again.
            QueueSilentError: the queue is broken. It may have the message or not.
            BrokerUnavailableError: the connection has ended. The queue may have the message or not.
        """
        if self.is_broken(queue):
            raise QueueSilentError(f"the queue {queue!r} is broken, and is not used for a while")
        route, began = await self._route(queue), time.monotonic()
        is_alone = self._is_alone(route)
        confirm = route.channel.send("", queue, message, mandatory=True)
        try:
            await asyncio.wait([confirm])
            if error := self._judge(queue, route, began, confirm):
                raise error
            if is_alone:
                self._forget(queue, route)
        finally:
            confirm.cancel()  # harmless once it is done
            if is_alone and self._channels.get(queue) is not route and not route.channel.is_waited_for:
                await route.connection.drop()

    def _judge(self, queue: str, route: _Route, began: float, confirm: asyncio.Future[None]) -> CoordinatorError | None:
        """Record the outcome of a publish; returns the error to raise, or None if the broker confirmed."""
        error = confirm.exception()
        match error:
            case None:
                self.health.confirmed(queue)
                return None
            case UnroutableError():
                log.warning("work.queue_missing", queue=queue)
                self.health.went_missing(queue)
                self._forget(queue, route)
                meant: CoordinatorError = QueueFullError(f"the queue {queue!r} was missing")
            case BrokerUnavailableError():
                is_alone = self._is_alone(route)
                is_late = is_alone or time.monotonic() - began > SOON
                is_to_blame = is_late and isinstance(error, BrokerInternalError)
                if self._forget(queue, route) and (is_to_blame or not route.channel.is_closed):
                    self.broke(queue, error)  # only the first publish that fails there records it
                if route.channel.is_closed and not is_alone:
                    return error
                meant = QueueSilentError(f"the queue {queue!r} confirms nothing")
            case CoordinatorError():
                return error
            case _:
                raise error
        meant.__cause__ = error
        return meant

    async def _route(self, queue: str) -> _Route:
        async with self._opening[queue]:
            route = self._channels.get(queue)
            if route is None:
                connection = self.connection if self.health.is_alive(queue) else await self.connection.beside()
                route = self._channels[queue] = _Route(connection, await connection.channel())
                if connection is not self.connection:
                    await self._declare(route, queue)
            return route

    async def _declare(self, route: _Route, queue: str) -> None:
        """Declare the queue, because it may have been deleted."""
        try:
            await route.channel.declare_queue(topology.work_queue(topology.tags_of_work_queue(queue)))
        except BrokerUnavailableError as error:
            self._forget(queue, route)
            self.broke(queue, error)
            await route.connection.drop()
            raise QueueSilentError(f"the queue {queue!r} cannot be declared") from error

    def _is_alone(self, route: _Route) -> bool:
        """Whether a route has its own connection, because its queue may be broken."""
        return route.connection is not self.connection

    def _forget(self, queue: str, route: _Route) -> bool:
        """Stop publishing on this channel; returns whether it was in use until now."""
        is_current = self._channels.get(queue) is route
        if is_current:
            del self._channels[queue]
        return is_current

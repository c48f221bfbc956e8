"""Commands over AMQP: release, resume, purge, and what a coordinator answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import uuid4

import orjson

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.errors import BrokerUnavailableError, NoReplyError, QueueMissingError
from coordinator.validation import check_seed_id, check_worker_id

PATIENCE: Final = 30.0
UNLIMITED: Final = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A coordinator's answer to a command.

    `status` is the status of the same call over HTTP: 200, 404 if an id was not found, 406, 503. `results` has an
    entry for each id, with its own `status` and `message`.
    """

    status: int
    message: str
    results: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Link:
    connection: Connection
    channel: Channel
    replies: str


class Manager:
    """Sends commands over a connection that is open during the `async with` block.

    Args:
        amqp_urls: AMQP URLs of the nodes of one cluster; any one of them is enough.
        name: the connection's name in the broker's lists.
        timeout: seconds to wait for each reply.
    """

    def __init__(self, amqp_urls: Sequence[str], name: str = "manager", timeout: float = PATIENCE) -> None:
        self._urls = amqp_urls
        self._name = name
        self._timeout = timeout
        self._link: _Link | None = None
        self._waiting: dict[str, asyncio.Future[Delivery]] = {}

    async def __aenter__(self) -> Self:
        connection = await Connection.open(self._urls, self._name)
        channel = await connection.channel()
        replies = await channel.declare_own_queue("", ())
        # A late reply is never acked. With a prefetch limit, such replies would stop the consumer one day.
        await channel.consume(replies, self._on_reply, prefetch=UNLIMITED)
        self._link = _Link(connection, channel, replies)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link.connection.close()
            self._link = None

    async def release_workers(self, ids: Iterable[str]) -> Reply:
        """Give every unacked batch of these workers to other workers.

        Raises:
            InvalidInputError: an id is not valid. As in all commands, nothing is done then.
            NoReplyError: no coordinator answered in time; the command stays queued.
            QueueMissingError: no coordinator has ever run on this broker.
            BrokerUnavailableError: the broker went away before it confirmed the command.
        """
        return await self._command("release.worker", ids, check_worker_id)

    async def release_seeds(self, ids: Iterable[str]) -> Reply:
        """Stop these seeds. Every item that no worker has begun becomes available. Errors as `release_workers`."""
        return await self._command("release.seed", ids, check_seed_id)

    async def resume_seeds(self, ids: Iterable[str]) -> Reply:
        """Let released seeds run again. Errors as `release_workers`."""
        return await self._command("resume.seed", ids, check_seed_id)

    async def purge_seeds(self, ids: Iterable[str]) -> Reply:
        """Discard the items of these seeds that no worker holds, and forget them. Errors as `release_workers`."""
        return await self._command("purge.seed", ids, check_seed_id)

    async def _command(self, name: str, ids: Iterable[str], check: Callable[[str], str]) -> Reply:
        body = orjson.dumps({"id": [check(ident) for ident in ids]})
        if self._link is None:
            raise BrokerUnavailableError("the manager is not connected: use it in an `async with` block")
        correlation = uuid4().hex
        self._waiting[correlation] = reply = asyncio.get_running_loop().create_future()
        message = Message(body, correlation_id=correlation, reply_to=self._link.replies)
        try:
            await self._link.channel.publish(topology.COMMANDS, name, message, mandatory=True)
            delivery = await self._wait(reply, self._link.connection)
        except QueueMissingError as error:
            raise QueueMissingError(
                "the queue of commands is missing: no coordinator has ever run on this broker"
            ) from error
        finally:
            del self._waiting[correlation]
        await delivery.ack()
        answer = orjson.loads(delivery.body)
        return Reply(
            status=int(answer["status"]),
            message=str(answer.get("message", "")),
            results=tuple(answer.get("results", ())),
        )

    async def _wait(self, reply: asyncio.Future[Delivery], connection: Connection) -> Delivery:
        closed = asyncio.create_task(connection.closed.wait())
        either: set[asyncio.Future[Any]] = {reply, closed}
        try:
            await asyncio.wait(either, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if reply.done():
            return reply.result()
        if connection.closed.is_set():
            why = f"the connection to the broker ended before a reply came ({connection.reason})"
        else:
            why = f"no coordinator answered within {self._timeout:g} s"
        raise NoReplyError(f"{why}: the command stays queued, and a coordinator carries it out when one runs again")

    def _on_reply(self, delivery: Delivery) -> None:
        waiting = self._waiting.get(delivery.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(delivery)

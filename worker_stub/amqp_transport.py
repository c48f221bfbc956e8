"""The AMQP transport: the worker consumes the work queues itself, with a broker user of its own if it can register."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import structlog

from coordinator import topology
from coordinator.backoff import pause
from coordinator.broker.batch_codec import batch_message, page_message, peek, publication_of, read_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    InvalidInputError,
    NotFoundError,
    QueueMissingError,
    QueueSilentError,
    UnroutableError,
)
from coordinator.models import MAX_ITEMS, Batch, Item, Presence
from coordinator.topology import Header
from worker_stub.job import Inbox, Job, Results
from worker_stub.worker import Identity

log = structlog.get_logger(__name__)

CALM = 0.5
"""Seconds without a delivery after which no delivery is on its way to a worker that settles nothing."""

TRY_AGAIN = 5.0
"""Seconds until a queue that does not answer is tried again."""

Addresses = Callable[[], Awaitable[Sequence[str]]]
"""Returns the broker's URLs: from a new registration, or as they were given."""


@dataclass(slots=True)
class _Link:
    """The open connections. A broker's alarm blocks the one that publishes; acks go over the other."""

    reader: Connection
    writer: Connection
    work_channel: Channel
    notices: Channel
    publisher: Channel
    own_queue: str
    consumers: dict[str, str]


class AmqpTransport:
    """Speaks AMQP. The worker loses its unacked batches with a connection, so the inbox is called then."""

    def __init__(self, identity: Identity, addresses: Addresses) -> None:
        self._identity = identity
        self._addresses = addresses
        self._link: _Link | None = None
        self._connected = asyncio.Event()
        self._is_new = True
        self._is_receiving = True
        self._wanted: asyncio.Queue[str] = asyncio.Queue()
        self._may_settle = asyncio.Event()
        self._may_settle.set()
        self._arrived = asyncio.Event()

    async def run(self, inbox: Inbox) -> None:
        """Keep connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._live(inbox)
            except (BrokerUnavailableError, BrokerRefusedError, NotFoundError) as error:
                failures = 0 if self._connected.is_set() else failures + 1
                wait = pause(failures)
                log.warning(
                    "worker.disconnected", worker=self._identity.id, problem=str(error), retry_in=round(wait, 1)
                )
            finally:
                self._connected.clear()
                self._link = None
                inbox.lost()
            await asyncio.sleep(wait)

    async def wait_connected(self) -> None:
        """Wait until it is connected."""
        await self._connected.wait()

    async def stop_receiving(self) -> None:
        """Cancel all consumers of work queues while no delivery is on its way to them.

        A batch on its way would go back as if its delivery had failed. Each ack brings another batch, so acks wait
        until no delivery comes any more.
        """
        self._is_receiving = False
        link = self._need()
        self._may_settle.clear()
        try:
            await self._until_calm()
            while link.consumers:
                _, tag = link.consumers.popitem()
                await link.work_channel.cancel(tag)
        finally:
            self._may_settle.set()

    async def _until_calm(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self._arrived.clear()
                async with asyncio.timeout(CALM):
                    await self._arrived.wait()

    async def ack(self, job: Job) -> None:
        """Ack a batch: the worker has taken responsibility."""
        await self._may_settle.wait()
        await _delivery(job).ack()

    async def reject(self, job: Job) -> None:
        """Reject a batch that failed here; a batch that is acked already is sent back as failed."""
        if job.taken:
            await self._return(batch_message(job.batch, publication=""))
        elif self._need().publisher.is_closed:
            # The connections are about to end, and this delivery with them. After a reject it would come here again.
            raise BrokerUnavailableError("the channel to publish on was closed")
        else:
            await self._may_settle.wait()
            await _delivery(job).reject()

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Publish what is left to `returns`, confirmed, then ack.

        A whole batch keeps its publication's id: if the ack comes too late, the coordinator recognises its dead letter.
        """
        is_whole = rest is job.batch and not job.taken
        publication = publication_of(_delivery(job)) if is_whole else ""
        message = batch_message(rest, publication, redelivered=job.redelivered)
        await self._return(replace(message, headers={**message.headers, Header.REASON: reason}))
        await self._may_settle.wait()
        if not job.taken:
            await _delivery(job).ack()

    async def results(self, results: Results) -> None:
        """Publish to `results`, confirmed, even if no queue is bound to it."""
        await self._need().publisher.publish(topology.RESULTS, results.seed, Message(results.encode()))

    async def submit(self, seed: str, items: Sequence[Item], key: str, *, again: bool) -> None:
        """Publish to `items`, confirmed. Pages that are sent again have the same ids, so they are recognised."""
        link = self._need()
        pages = [
            page_message(orjson.dumps(page)[1:-1], len(page), f"{key}/{number}", link.writer.user, redelivered=again)
            for number, page in enumerate(items[at : at + MAX_ITEMS] for at in range(0, len(items), MAX_ITEMS))
        ]
        # Not a task group: no caller expects its ExceptionGroup.
        await asyncio.gather(*(link.publisher.publish(topology.ITEMS, seed, page, mandatory=True) for page in pages))

    async def heartbeat(self, presence: Presence) -> None:
        """Send a heartbeat; the first of a connection asks for the work queues that fit the worker's tags."""
        link = self._need()
        reply_to = link.own_queue if self._is_new else None
        message = Message(presence.model_dump_json().encode(), reply_to=reply_to)
        try:
            await link.publisher.publish(topology.PRESENCE, "", message, mandatory=self._is_new)
        except UnroutableError:
            log.info(
                "worker.unanswered", worker=self._identity.id
            )  # no coordinator runs now: the next heartbeat asks again
            return
        self._is_new = False

    async def _live(self, inbox: Inbox) -> None:
        """Connect, consume, and wait until a connection ends.

        Raises:
            BrokerUnavailableError: always, at the end.
        """
        name = topology.worker_connection_name(self._identity.id)
        urls = await self._addresses()
        async with contextlib.AsyncExitStack() as stack:
            reader = await Connection.open(urls, name)
            stack.push_async_callback(reader.close)
            writer = await Connection.open(urls, name, near=reader)
            stack.push_async_callback(writer.close)
            work_channel, notices = await reader.channel(), await reader.channel()
            own = topology.worker_queue_name(self._identity.id)
            await notices.declare_own_queue(own, [(topology.CONTROL, "")])
            self._link = link = _Link(reader, writer, work_channel, notices, await writer.channel(), own, {})
            self._is_new = True
            await notices.consume(own, lambda delivery: self._on_notice(inbox, delivery), prefetch=100)
            await self._consume(inbox, topology.WORK)
            self._connected.set()
            log.info("worker.connected", worker=self._identity.id, tags=list(self._identity.tags))
            await self._until_closed(inbox, link)

    async def _until_closed(self, inbox: Inbox, link: _Link) -> None:
        """Consume further work queues as they appear, until a connection or a channel is closed."""
        connections = (link.reader, link.writer)
        closing: list[asyncio.Task[object]] = [asyncio.create_task(one.closed.wait()) for one in connections]
        closing += [asyncio.create_task(one.wait_closed()) for one in (link.work_channel, link.notices, link.publisher)]
        following = asyncio.create_task(self._follow(inbox))
        try:
            await asyncio.wait([*closing, following], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        finally:
            for task in (*closing, following):
                task.cancel()
        reasons = ", ".join(one.reason for one in connections if one.closed.is_set()) or "a channel was closed"
        raise BrokerUnavailableError(f"the connection ended: {reasons}")

    async def _follow(self, inbox: Inbox) -> None:
        while True:
            await self._consume(inbox, await self._wanted.get())

    async def _consume(self, inbox: Inbox, queue: str) -> None:
        """Consume a queue. If it is missing or does not answer, try it again later without blocking the others."""
        link = self._need()
        if not self._is_receiving or queue in link.consumers:
            return
        on_delivery = partial(self._on_batch, inbox)
        try:
            await link.reader.must_answer(queue, on_delivery)
        except (QueueSilentError, QueueMissingError) as error:
            log.warning("worker.queue_silent", worker=self._identity.id, queue=queue, problem=str(error))
            asyncio.get_running_loop().call_later(TRY_AGAIN, self._wanted.put_nowait, queue)
            return
        tag = await link.work_channel.consume(queue, on_delivery, prefetch=self._identity.capacity)
        if self._is_receiving:
            link.consumers[queue] = tag
        else:  # stop_receiving was called in the meantime
            await link.work_channel.cancel(tag)

    def _on_batch(self, inbox: Inbox, delivery: Delivery) -> None:
        self._arrived.set()
        try:
            peeked = peek(delivery)
            batch = peeked or read_batch(delivery)
        except InvalidInputError as error:
            log.warning("batch.unreadable", problem=str(error))
            task = asyncio.get_running_loop().create_task(delivery.reject(), name="reject")
            task.add_done_callback(_logged)
            return
        again = delivery.redelivered or delivery.headers.get(Header.REDELIVERED) is True
        unread = None if peeked is None else delivery.body
        inbox.arrived(Job(batch, delivery, redelivered=again or batch.attempt > 1, unread=unread))

    def _on_notice(self, inbox: Inbox, delivery: Delivery) -> None:
        delivery.ack_soon()
        try:
            notice: dict[str, Any] = orjson.loads(delivery.body)
            match notice["type"]:
                case "seed.released":
                    inbox.released(str(notice["seed"]), int(notice["epoch"]))
                case "worker.drain" if notice["worker"] == self._identity.id:
                    inbox.drain()
                case "tags.added" if set(self._identity.tags).issuperset(notice["tags"]):
                    self._wanted.put_nowait(str(notice["queue"]))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            log.warning("notice.unreadable", problem=repr(error))

    async def _return(self, message: Message) -> None:
        await self._need().publisher.publish(topology.RETURNS, "", message, mandatory=True)

    def _need(self) -> _Link:
        if self._link is None:
            raise BrokerUnavailableError("not connected")
        return self._link


def _delivery(job: Job) -> Delivery:
    if not isinstance(job.receipt, Delivery):
        raise BrokerUnavailableError("the batch came over an earlier connection")
    return job.receipt


def _logged(task: asyncio.Task[None]) -> None:
    """Log a settlement that came too late; the end of the connection is logged by itself."""
    if not task.cancelled() and task.exception() is not None:
        log.debug("settle.late", task=task.get_name(), problem=str(task.exception()))

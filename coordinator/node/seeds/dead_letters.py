"""Dead letters: batches that failed to the last and malformed messages, whole, with reason and history."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

import orjson
import structlog

from coordinator import topology
from coordinator.broker.batch_codec import available_message, batch_message, read_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.domain.counters import Counters
from coordinator.errors import NotFoundError
from coordinator.models import Batch
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.times import rfc3339
from coordinator.topology import Header

log = structlog.get_logger(__name__)

SHOWN_BYTES = 2000
MOST = 65_535
"""Dead letters that one walk sees: as many as a consumer may hold unsettled."""
PATIENCE = 5.0
"""Seconds to wait for the next one: another replica may be reading them."""

LOOK_AGAIN = 0.01


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is listed; `body` is its beginning where it is not a batch."""

    id: str
    kind: str
    seed: str
    reason: str
    at: str
    attempt: int | None
    count: int | None
    history: tuple[str, ...]
    body: str | None


@dataclass(slots=True, kw_only=True)
class DeadLetters:
    """The `dead` queue. It is read by consuming messages and requeueing them, one reader at a time."""

    connection: Connection
    publishing: Channel
    seed_queues: SeedQueues
    counters: Counters
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def keep_batch(self, batch: Batch, reason: str) -> None:
        """Keep a batch that failed to the last."""
        headers = {
            **batch_message(batch, publication="").headers,
            Header.REASON: reason,
            "kind": "batch",
            "at": rfc3339(time.time()),
            Header.HISTORY: orjson.dumps(batch.history).decode(),
        }
        await self._publish(Message(batch.encode(), headers, message_id=batch.id))
        self.counters.dead["batch"] += 1
        log.warning("batch.dead", batch=batch.id, seed=batch.seed, attempt=batch.attempt, reason=reason)

    async def keep_message(self, delivery: Delivery, kind: str, seed: str, reason: str) -> None:
        """Keep a malformed message whole; `kind` says what it should have been: `page`, `return`, `command`."""
        ident = uuid4().hex
        headers = {
            **{name: value for name, value in delivery.headers.items() if not name.startswith("x-")},
            Header.SEED: seed,
            Header.REASON: reason[:SHOWN_BYTES],
            "kind": kind,
            "at": rfc3339(time.time()),
            "original-id": delivery.message_id or "",
            "original-key": delivery.routing_key,
        }
        await self._publish(Message(delivery.body, headers, message_id=ident))
        self.counters.dead[kind] += 1
        log.warning("message.dead", dead=ident, kind=kind, seed=seed, reason=reason[:200])

    async def list(self, offset: int, limit: int) -> tuple[list[DeadLetter], int]:
        """Return some dead letters, oldest first, and how many there are."""
        found: list[DeadLetter] = []

        async def look(delivery: Delivery, index: int) -> bool:
            if index >= offset:
                found.append(_describe(delivery))
            return len(found) < limit

        total = await self._walk(look)
        return found, total

    async def get(self, ident: str) -> tuple[DeadLetter, bytes]:
        """Return a dead letter, and its whole body.

        Raises:
            NotFoundError: there is no such dead letter.
        """
        found: list[tuple[DeadLetter, bytes]] = []

        async def look(delivery: Delivery, _: int) -> bool:
            if delivery.message_id == ident:
                found.append((_describe(delivery), delivery.body))
            return not found

        await self._walk(look)
        if not found:
            raise NotFoundError("dead", ident)
        return found[0]

    async def retry(self, ident: str) -> None:
        """Send a dead batch again with attempt 1, or a malformed page to its seed again.

        Raises:
            NotFoundError: there is no such dead letter.
        """
        await self._settle(ident, self._revive)
        log.info("dead.retried", dead=ident)

    async def drop(self, ident: str) -> None:
        """Discard a dead letter.

        Raises:
            NotFoundError: there is no such dead letter.
        """

        async def nothing(_: Delivery) -> None:
            pass

        await self._settle(ident, nothing)
        log.info("dead.dropped", dead=ident)

    async def _revive(self, delivery: Delivery) -> None:
        """Send a dead letter where it came from; the exchange `items` makes its seed anew where it is purged."""
        seed, kind = str(delivery.headers.get(Header.SEED, "")), str(delivery.headers.get("kind"))
        if kind == "batch":
            batch = replace(read_batch(delivery), attempt=1, history=())
            message = available_message(batch, self.seed_queues.user)
        else:
            message = Message(delivery.body, message_id=str(delivery.headers.get("original-id") or "") or None)
        exchange, key = {
            "return": (topology.RETURNS, ""),
            "presence": (topology.PRESENCE, ""),
            "command": (topology.COMMANDS, str(delivery.headers.get("original-key", ""))),
        }.get(kind, (topology.ITEMS, seed))
        await self.publishing.publish(exchange, key, message, mandatory=True)

    async def _publish(self, message: Message) -> None:
        await self.publishing.publish("", topology.DEAD, message, mandatory=True)

    async def _settle(self, ident: str, act: Callable[[Delivery], Awaitable[None]]) -> None:
        settled = False

        async def look(delivery: Delivery, _: int) -> bool:
            nonlocal settled
            if delivery.message_id == ident:
                await act(delivery)
                await delivery.ack()
                settled = True
            return not settled

        await self._walk(look, settles=1)
        if not settled:
            raise NotFoundError("dead", ident)

    async def _walk(self, look: Callable[[Delivery, int], Awaitable[bool]], settles: int = 0) -> int:
        """Show each dead letter in turn until `look` returns False; it settles `settles` of them.

        All are consumed all the same: a quorum queue puts what comes back behind what came back before, so their order
        stays only if all of them come back together.
        """
        async with self._reading:
            depth = await self.connection.depth(topology.DEAD)
            total = depth.ready if depth else 0
            shown = min(total, MOST)
            if not shown:
                return total
            inbox: asyncio.Queue[Delivery] = asyncio.Queue()
            channel = await self.connection.channel()
            try:
                await channel.consume(topology.DEAD, inbox.put_nowait, prefetch=shown)
                with contextlib.suppress(TimeoutError):
                    wanted = True
                    for index in range(shown):
                        async with asyncio.timeout(PATIENCE):
                            delivery = await inbox.get()
                        wanted = wanted and await look(delivery, index)
            finally:
                await channel.close()
            await self._come_back(shown - settles)
            return total

    async def _come_back(self, count: int) -> None:
        """Wait until the letters of a closed channel are in the queue again: else the next reader finds none.

        The broker confirms that the channel is closed before it has put them back.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    depth = await self.connection.depth(topology.DEAD)
                    if depth is None or depth.ready >= count:
                        return
                    await asyncio.sleep(LOOK_AGAIN)


def _describe(delivery: Delivery) -> DeadLetter:
    headers = delivery.headers
    attempt, count, history = headers.get(Header.ATTEMPT), headers.get(Header.COUNT), headers.get(Header.HISTORY)
    try:
        lines = orjson.loads(history) if isinstance(history, str) else []
    except orjson.JSONDecodeError:  # a stranger's header, kept with the message: the list must be readable all the same
        lines = []
    is_batch = headers.get("kind") == "batch"
    return DeadLetter(
        id=delivery.message_id or "",
        kind=str(headers.get("kind", "message")),
        seed=str(headers.get(Header.SEED, "")),
        reason=str(headers.get(Header.REASON, "")),
        at=str(headers.get("at", "")),
        attempt=attempt if isinstance(attempt, int) and is_batch else None,
        count=count if isinstance(count, int) and is_batch else None,
        history=tuple(str(line) for line in lines) if isinstance(lines, list) else (),
        body=None if is_batch else delivery.body[:SHOWN_BYTES].decode(errors="replace"),
    )

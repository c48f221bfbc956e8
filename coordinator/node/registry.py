"""The registry: the fold of a stream that every replica reads from its beginning and appends to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import uuid4

import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.types import Delivery, Message
from coordinator.domain.event_ring import Past, entry_of
from coordinator.domain.registry import State
from coordinator.domain.registry_events import EVENT, Event, Marker
from coordinator.errors import BrokerUnavailableError

log = structlog.get_logger(__name__)

PREFETCH: Final = 500
STALLED: Final = 5.0
"""Seconds without an event after which the stream counts as stalled.

What is appended while its leader changes may never be confirmed (3.10.8, seen when a killed node came back)."""
SNAPSHOT_EVERY: Final = 2000
"""Events between snapshots. At some 300 bytes each, the retention in `topology` holds hundreds of such stretches."""

E = TypeVar("E")


@dataclass(slots=True, kw_only=True)
class Registry:
    """The state of all seeds and workers, at most a moment behind the stream.

    Attributes:
        reading: the channel on which the stream is read.
        writing: the channel on which it is appended to.
        instance: the replica in whose name events are appended.
        past: keeps the last events, to be shown.
        state: the fold.
    """

    reading: Channel
    writing: Channel
    instance: str
    past: Past
    state: State = field(default_factory=State, init=False)
    _waiting: dict[str, asyncio.Future[int]] = field(default_factory=dict, init=False)
    _progress: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _listeners: list[Callable[[Event], None]] = field(default_factory=list, init=False)
    _snapshot: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each further event, after it was folded."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Replay the stream.

        Raises:
            BrokerUnavailableError: the replay did not end in time, or its head was cut and holds no snapshot.
        """
        await self.reading.consume(topology.REGISTRY, self._read, prefetch=PREFETCH, offset="first")
        await self.append(Marker)
        if not self.state.is_complete:
            raise BrokerUnavailableError("the registry's stream has lost its head and holds no snapshot of it")
        log.info("registry.replayed", offset=self.state.offset, seeds=len(self.state.seeds))

    async def append(self, make: Callable[..., Event], **fields: object) -> int:
        """Append an event and wait until it is folded here: then all that was appended before it is, too.

        Args:
            make: the event's class.
            fields: the event's own.

        Returns:
            Its offset in the stream.

        Raises:
            BrokerUnavailableError: it may have been appended or not.
        """
        event = make(id=uuid4().hex, at=time.time(), by=self.instance, **fields)
        folded = asyncio.get_running_loop().create_future()
        self._waiting[event.id] = folded
        try:
            await self._publish(event)
            return await self._delivered(folded)
        finally:
            self._waiting.pop(event.id, None)

    async def _delivered(self, folded: asyncio.Future[int]) -> int:
        """Wait while the stream brings events: a replay is slow, and a stream that lost its node brings nothing."""
        while True:
            before = self.state.offset
            await asyncio.wait([folded], timeout=STALLED)
            if folded.done():
                return folded.result()
            if self.state.offset == before:
                raise BrokerUnavailableError("the registry's stream does not deliver")

    async def reach(self, offset: int) -> None:
        """Wait until everything up to this offset is folded.

        Raises:
            BrokerUnavailableError: it did not come in time.
        """
        try:
            async with asyncio.timeout(STALLED):
                while self.state.offset < offset:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError as error:
            raise BrokerUnavailableError("the registry's stream did not deliver in time") from error

    async def sync(self) -> None:
        """Wait until everything that is in the stream now is folded. A marker that is lost is appended once more.

        Raises:
            BrokerUnavailableError: the second marker is lost, too.
        """
        try:
            await self.append(Marker)
        except BrokerUnavailableError as error:
            log.warning("registry.not_marked", problem=str(error))
            await self.append(Marker)

    async def keep_snapshots(self, is_mine: Callable[[], bool]) -> None:
        """Write a snapshot whenever enough has happened since the last; two snapshots by two replicas do no harm.

        Args:
            is_mine: says whether this replica writes them.
        """
        while True:
            await self._snapshot.wait()
            self._snapshot.clear()
            if not is_mine():
                continue
            await self._publish(self.state.snapshot(uuid4().hex, time.time()))
            log.info("registry.snapshot", upto=self.state.offset)

    async def _publish(self, event: Event) -> None:
        await self.writing.publish("", topology.REGISTRY, Message(EVENT.dump_json(event)), mandatory=True)

    def _read(self, delivery: Delivery) -> None:
        offset = delivery.headers.get("x-stream-offset")
        try:
            event = EVENT.validate_json(delivery.body)
        except ValidationError:
            log.exception("registry.unreadable", offset=offset)
            event = Marker(id="", at=0.0)
        entry = entry_of(event, self.state)
        if isinstance(offset, int) and self.state.fold(offset, event):
            if entry is not None:
                self.past.add(entry)
            for listener in self._listeners:
                listener(event)
        if self.state.since_snapshot >= SNAPSHOT_EVERY:
            self._snapshot.set()
        self._progress.set()
        folded = self._waiting.get(event.id)
        if folded is not None and not folded.done():
            folded.set_result(self.state.offset)
        delivery.ack_soon()  # that lets a stream send more; it forgets nothing

"""Which replicas there are, which of them owns a key, and what happens to a silent one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.management import Management
from coordinator.domain.membership import Silence, owner
from coordinator.errors import ManagementError, UnroutableError
from coordinator.node.replicas.messages import Empty, Envelope, ReplicaHeartbeat
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import CUT_OFF

log = structlog.get_logger(__name__)

HEARTBEAT_EVERY: Final = 0.25
TICK: Final = 0.25
DEAF: Final = 1.5
"""Seconds without a heartbeat of its own after which a replica concludes nothing from the silence of others."""
ABSENT: Final = 1.5
"""Seconds of silence after which others prepare to consume a replica's seeds. The broker hands these over only once the
replica is cut off, so a preparation in vain does no harm."""
HUNG: Final = 3.0
"""Seconds of silence after which a replica is cut off."""
GREETING: Final = 0.1
"""Seconds that a replica gives the others to answer its first heartbeat."""


@dataclass(frozen=True, slots=True)
class Received:
    """The last heartbeat of another replica, and when it came (monotonic seconds)."""

    heartbeat: ReplicaHeartbeat
    at: float


@dataclass(slots=True, kw_only=True)
class Replicas:
    """The replicas, as this one knows them.

    Attributes:
        rpc: carries the heartbeats.
        management: closes the connections of a replica that hangs.
        describe: gives the heartbeat of this replica.
    """

    rpc: Rpc
    management: Management
    describe: Callable[[], ReplicaHeartbeat] = field(default=ReplicaHeartbeat, init=False)
    _received: dict[str, Received] = field(default_factory=dict, init=False)
    _silence: Silence = field(default_factory=Silence, init=False)
    _absent: set[str] = field(default_factory=set, init=False)
    _leaving: set[str] = field(default_factory=set, init=False)
    _cutting: set[str] = field(default_factory=set, init=False)
    _own_heartbeat: float = field(default=0.0, init=False)
    _is_leaving: bool = field(default=False, init=False)
    _greeted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _on_change: list[Callable[[], None]] = field(default_factory=list, init=False)

    @property
    def instance(self) -> str:
        """The id of this replica."""
        return self.rpc.instance

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever keys may belong to other replicas than before."""
        self._on_change.append(listener)

    async def join(self, channel: Channel) -> None:
        """Begin to receive, and greet the others: they answer at once, so that keys are shared from the start.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        await self.rpc.open(channel)
        await self._send_heartbeat(is_greeting=True)
        await self.rpc.pass_barrier()
        await asyncio.sleep(GREETING)

    async def run(self) -> None:
        """Send heartbeats, watch those of the others and answer their questions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_sending_heartbeats(), name="heartbeats of this replica")
            group.create_task(self._watch(group), name="silence of replicas")
            group.create_task(self.rpc.run(), name="questions of replicas")

    async def leave(self) -> None:
        """Give all keys of this replica to the others."""
        self._is_leaving = True
        await self._send_heartbeat()

    @property
    def others(self) -> list[str]:
        """The other replicas that may still act, by id: absent ones too, until they are known to be gone."""
        return sorted(self._received)

    @property
    def members(self) -> list[str]:
        """The replicas that share the keys: this one, and the others that are neither absent nor leaving."""
        gone = self._absent | self._leaving
        mine = [] if self._is_leaving else [self.instance]
        return mine + [one for one in self._received if one not in gone]

    def owner(self, key: str) -> str | None:
        """Return the replica that owns a key; None where no replica stays."""
        members = self.members
        return owner(key, members) if members else None

    def owns(self, key: str) -> bool:
        """Return whether this replica owns a key."""
        return self.owner(key) == self.instance

    @property
    def is_hearing(self) -> bool:
        """Whether this replica receives its own heartbeats. If not, the silence of others means nothing."""
        return time.monotonic() - self._own_heartbeat < DEAF

    def heartbeats(self) -> list[tuple[float, ReplicaHeartbeat]]:
        """Return the last heartbeat of each other replica, with its age in seconds."""
        now = time.monotonic()
        return [(now - received.at, received.heartbeat) for received in self._received.values()]

    async def cut_off(self, instance: str) -> bool:
        """Close a replica's connections, so that it can do nothing more; returns whether that is sure.

        A replica that still lives finds its session ended, and begins a new one.
        """
        prefix = topology.coordinator_connection_name(instance, "")
        try:
            found = [one for one in await self.management.connections() if one.client_name.startswith(prefix)]
            for connection in found:
                await self.management.close_connection(connection.name, "the other coordinators did not hear from it")
        except ManagementError as error:
            log.warning("management.failed", problem=str(error))
            return False
        if found:
            log.warning("replica.cut_off", peer=instance, connections=len(found))
            self.remove(instance)
        return bool(found)

    def receive(self, envelope: Envelope) -> None:
        """Keep a heartbeat."""
        if envelope.sender == self.instance:
            self._own_heartbeat = time.monotonic()
            return
        before = self.members
        heartbeat = _read(envelope)
        if envelope.sender not in self._received:
            log.info("replica.joined", peer=envelope.sender)
        self._received[envelope.sender] = Received(heartbeat, time.monotonic())
        self._silence.heard(envelope.sender)
        self._absent.discard(envelope.sender)
        if heartbeat.leaving:
            self._leaving.add(envelope.sender)
        if heartbeat.greeting:
            self._greeted.set()
        self._announce_change(before)

    def remove(self, instance: str) -> None:
        """Forget a replica that is gone."""
        before = self.members
        if self._received.pop(instance, None) is not None:
            log.info("replica.gone", peer=instance)
        self._silence.forget(instance)
        self._absent.discard(instance)
        self._leaving.discard(instance)
        self._announce_change(before)

    async def _keep_sending_heartbeats(self) -> None:
        while True:
            self._greeted.clear()
            await self._send_heartbeat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_EVERY):
                    await self._greeted.wait()

    async def _send_heartbeat(self, *, is_greeting: bool = False) -> None:
        changes = {"leaving": self._is_leaving, "greeting": is_greeting}
        await self.rpc.send_heartbeat(self.describe().model_copy(update=changes))

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        """Find silent replicas: they count as absent first, and are cut off later."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            elapsed, last = now - last, now
            if not self.is_hearing or elapsed > DEAF:
                continue
            before = self.members
            self._silence.passed(elapsed)
            self._absent = set(self._silence.longer_than(ABSENT))
            self._announce_change(before)
            for instance in self._silence.longer_than(HUNG):
                if instance not in self._cutting:
                    self._cutting.add(instance)
                    group.create_task(self._end(instance), name=f"cut off {instance}")

    async def _end(self, instance: str) -> None:
        """Cut a silent replica off, or find that it is gone already."""
        try:
            await self.rpc.notify_one(instance, CUT_OFF, Empty())
            await self.cut_off(instance)
        except UnroutableError:
            self.remove(instance)
        finally:
            self._cutting.discard(instance)

    def _announce_change(self, before: list[str]) -> None:
        if set(before) != set(self.members):
            for listener in self._on_change:
                listener()


def _read(envelope: Envelope) -> ReplicaHeartbeat:
    """Return a heartbeat. A malformed one is a sign of life all the same: else replicas would cut each other off."""
    try:
        return ReplicaHeartbeat.model_validate(envelope.body)
    except ValidationError as error:
        log.warning("replica.unreadable", peer=envelope.sender, about="heartbeat", problem=str(error))
        return ReplicaHeartbeat(leaving=envelope.body.get("leaving") is True)

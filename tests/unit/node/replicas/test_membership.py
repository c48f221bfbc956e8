"""Which replicas there are, and what becomes of a silent one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from structlog.testing import capture_logs

from coordinator.broker.management import Management
from coordinator.node.replicas import membership
from coordinator.node.replicas.arrays import QueueLoad
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import ReplicaHeartbeat
from tests.unit.node.replicas.bus import Bus

SOON = 5.0


@dataclass(frozen=True, slots=True)
class FakeConnection:
    """A connection at the broker."""

    name: str
    client_name: str


@dataclass(slots=True)
class FakeManagement:
    """The connections of the broker; those that were closed end the replica's queue, too."""

    bus: Bus
    connections_: list[FakeConnection] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    async def connections(self) -> list[FakeConnection]:
        """Return all connections."""
        return self.connections_

    async def close_connection(self, name: str, reason: str) -> None:
        """Close a connection."""
        assert reason
        self.closed.append(name)


async def replicas_on(bus: Bus, instance: str, *connections: FakeConnection) -> tuple[Replicas, FakeManagement]:
    """Return a replica that is wired as a session wires it, and that has joined."""
    management = FakeManagement(bus, list(connections))
    rpc = await bus.rpc(instance)
    replicas = Replicas(rpc=rpc, management=cast("Management", management))
    rpc.peers, rpc.on_gone, rpc.on_heartbeat = lambda: replicas.others, replicas.remove, replicas.receive
    await replicas.join(bus.channel())
    return replicas, management


@contextlib.asynccontextmanager
async def running(*replicas: Replicas) -> AsyncIterator[None]:
    """Run these replicas."""
    tasks = [asyncio.create_task(one.run()) for one in replicas]
    try:
        async with asyncio.timeout(SOON):
            yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()


async def change_of(replicas: Replicas) -> None:
    """Wait until keys may belong to other replicas than before."""
    changed = asyncio.Event()
    replicas.on_change(changed.set)
    async with asyncio.timeout(SOON):
        await changed.wait()


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a greeting end at once: the bus delivers at once."""
    monkeypatch.setattr(membership, "GREETING", 0)
    monkeypatch.setattr(membership, "TICK", 0.01)
    monkeypatch.setattr(membership, "HEARTBEAT_EVERY", 0.01)


async def test_replicas_share_the_keys() -> None:
    """Each key has one owner, and both name the same one."""
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    assert one.owns("any key")
    two, _ = await replicas_on(bus, "two")
    async with running(one, two):
        if two.others != ["one"]:
            await change_of(two)
        keys = [f"seed {number}" for number in range(50)]
        assert [one.owner(key) for key in keys] == [two.owner(key) for key in keys]
        assert {one.owner(key) for key in keys} == {"one", "two"}
        assert all(one.owns(key) != two.owns(key) for key in keys)


async def test_a_greeting_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So keys are shared from the start, and not only with the next heartbeat."""
    monkeypatch.setattr(membership, "HEARTBEAT_EVERY", 60)
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    async with running(one):
        await bus.news.wait()
        two, _ = await replicas_on(bus, "two")
        while not two.others:
            bus.news.clear()
            await bus.news.wait()
        assert two.others == ["one"]


async def test_a_replica_that_leaves_keeps_no_key() -> None:
    """The others have its keys at once, and still ask it: it may hold something."""
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    two, _ = await replicas_on(bus, "two")
    await two.leave()
    assert (one.members, one.others) == (["one"], ["two"])
    assert not two.owns("any key")


async def test_a_heartbeat_carries_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a part of a replica describes arrives with its age."""
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    two, _ = await replicas_on(bus, "two")
    two.describe = lambda: ReplicaHeartbeat(work={"work": QueueLoad(demand=2.0)})
    monkeypatch.setattr("coordinator.node.replicas.membership.time.monotonic", lambda: 100.0)
    async with running(two):
        bus.news.clear()
        await bus.news.wait()
    monkeypatch.setattr("coordinator.node.replicas.membership.time.monotonic", lambda: 103.0)
    [(age, heartbeat)] = one.heartbeats()
    assert (age, heartbeat.work) == (3.0, {"work": QueueLoad(demand=2.0)})


async def test_a_malformed_heartbeat_is_a_sign_of_life() -> None:
    """Else replicas of two versions would cut each other off."""
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    with capture_logs() as logs:
        bus.send("one", type="beat", version=99, sender="later", body={"work": "in another form", "leaving": False})
    assert one.members == ["one", "later"]
    assert [entry["event"] for entry in logs] == ["replica.unreadable", "replica.joined"]


async def test_a_heartbeat_of_the_version_before_is_read() -> None:
    """It has no version, and its load is an array."""
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    bus.send(
        "one", type="beat", sender="old", id="", about="", body={"leaving": False, "work": {"q": [1.0, 0, 0, 0, 0]}}
    )
    assert one.heartbeats()[0][1].work == {"q": QueueLoad(demand=1.0)}


async def test_a_silent_replica_is_absent_then_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are the others' first; then its connections are closed, and no others."""
    monkeypatch.setattr(membership, "ABSENT", 0.05)
    monkeypatch.setattr(membership, "HUNG", 0.2)
    bus = Bus()
    mine = FakeConnection("1", "coordinator:hung:reads"), FakeConnection("2", "coordinator:hung:writes")
    one, management = await replicas_on(bus, "one", *mine, FakeConnection("3", "coordinator:two:reads"))
    bus.consumers["coordinator.hung"] = lambda _: None
    bus.send("one", type="beat", sender="hung", body={})
    assert one.members == ["one", "hung"]
    async with running(one):
        await change_of(one)
        assert (one.members, one.others) == (["one"], ["hung"])
        while one.others:
            bus.news.clear()
            await bus.news.wait()
    assert management.closed == ["1", "2"]


async def test_a_silent_replica_whose_queue_has_ended_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection has ended, so nothing is to be cut off."""
    monkeypatch.setattr(membership, "HUNG", 0.05)
    bus = Bus()
    one, management = await replicas_on(bus, "one", FakeConnection("1", "coordinator:ended:reads"))
    bus.send("one", type="beat", sender="ended", body={})
    async with running(one):
        await change_of(one)
    assert (one.others, management.closed) == ([], [])


async def test_a_deaf_replica_cuts_no_other_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not receive its own heartbeats concludes nothing from the silence of others."""
    monkeypatch.setattr(membership, "ABSENT", 0.02)
    monkeypatch.setattr(membership, "DEAF", 0.0)
    bus = Bus()
    one, _ = await replicas_on(bus, "one")
    bus.send("one", type="beat", sender="silent", body={})
    async with running(one):
        for _ in range(10):
            bus.news.clear()
            await bus.news.wait()
    assert one.members == ["one", "silent"]

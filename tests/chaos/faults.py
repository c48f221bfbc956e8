"""The faults: one function for each kind, which strikes somebody, waits, and makes it good again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from coordinator.broker.connection import Connection
from coordinator.broker.types import Message
from coordinator.errors import CoordinatorError
from tests.chaos import points
from tests.chaos.history import Command
from tests.chaos.load import Managers
from tests.chaos.points import POINTS
from tests.chaos.queues import delete_queue
from tests.chaos.world import Party, World
from tests.helpers.brokers import clear_alarm, kill_node, raise_alarm, suspended_node

Act = Callable[[World, random.Random], Awaitable[None]]

PAUSES = {"broker": 3.0, "coordinator": 2.0, "point": 1.0, "worker": 1.0, "command": 4.0}
"""How much longer lanes pause: each kind strikes some six times in ten minutes, and work goes on between.

While the broker is away, nothing else can be seen."""
POINT_PATIENCE = 12.0
"""Seconds that a coordinator has to come by the point at which it shall die."""
RECOVERY = 1.0
START = 120.0
"""Seconds that a node may take to start, and to be part of the cluster again."""
BLOCKED = 22.0
"""Seconds for which a blocked handler holds up its process; see `handler.Work`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault; those of one lane never overlap."""

    name: str
    lane: str
    act: Act
    nodes: int = 1
    """Broker nodes that it needs."""


def chosen(names: str, nodes: int) -> list[Fault]:
    """The faults that a list of names means: `all`, `none`, a lane (`worker`), or kinds, with commas between.

    Raises:
        ValueError: a name is none.
    """
    possible = [fault for fault in FAULTS if fault.nodes <= nodes]
    if names in {"", "none"}:
        return []
    if names == "all":
        return possible
    found: list[Fault] = []
    for name in names.split(","):
        meant = [fault for fault in possible if name in {fault.name, fault.lane}]
        if not meant:
            raise ValueError(f"{name!r} is no fault for {nodes} nodes; there are {', '.join(f.name for f in possible)}")
        found += meant
    return list(dict.fromkeys(found))


async def keep_striking(world: World, faults: list[Fault], rng: random.Random) -> None:
    """Cause these faults one after the other, all equally often, until cancelled."""
    while True:
        for fault in rng.sample(faults, len(faults)):
            await asyncio.sleep(rng.uniform(0.5, 1.5) * world.plan.pause * PAUSES.get(fault.lane, 1.0))
            async with world.whole if fault.lane == "broker" else contextlib.nullcontext():
                await world.work_in_hand()
                await fault.act(world, rng)


def _on_process(
    name: str,
    pick: Callable[[World], list[Party]],
    seconds: tuple[float, float],
    act: Callable[[Party], Awaitable[None]],
) -> Act:
    """Do something to a process, and undo it after so many seconds."""

    async def strike(world: World, rng: random.Random) -> None:
        async with world.one_of(pick(world), rng) as party, world.struck(name, party.name):
            try:
                await act(party)
                await asyncio.sleep(rng.uniform(*seconds))
            finally:
                await party.child.resume()
                await party.link.heal()
                if pick is _coordinators:
                    await until_ready(world, party)

    return strike


def _workers(world: World) -> list[Party]:
    return world.workers


def _coordinators(world: World) -> list[Party]:
    return world.coordinators


async def until_ready(world: World, party: Party) -> None:
    """Wait until a coordinator that was struck can do its work again."""
    while not party.child.is_up:
        await asyncio.sleep(0.05)
    await world.wait_ready(party)


async def _kill(party: Party) -> None:
    await party.child.kill()


async def _stop(party: Party) -> None:
    await party.child.suspend()


async def _block(party: Party) -> None:
    party.child.signal(signal.SIGUSR1)


async def _cut(party: Party) -> None:
    await party.link.cut()


async def _swallow(party: Party) -> None:
    await party.link.swallow()


async def _slow_down(party: Party) -> None:
    party.link.slow_down(0.15)


async def _all_coordinators(world: World, _: random.Random) -> None:
    async with world.struck("coordinator-all-kill", "all"):
        await asyncio.gather(*(one.child.kill() for one in world.coordinators))
        await asyncio.sleep(RECOVERY)
        for one in world.coordinators:
            await until_ready(world, one)


async def _rolling_restart(world: World, _: random.Random) -> None:
    for one in world.coordinators:
        async with world.struck("coordinator-restart", one.name):
            await one.child.restart()
            await until_ready(world, one)


def _at_point(point: str) -> Act:
    """Have the first coordinator that comes by a point die there; it says so itself."""

    async def strike(world: World, rng: random.Random) -> None:
        trigger = world.triggers / point
        trigger.write_text("")
        if point in {
            "mid-handover",
            "mid-snapshot",
        }:  # when somebody goes, and is back
            await _on_process("coordinator-kill", _coordinators, (0, 0), _kill)(world, rng)
        if point == "mid-sweep":
            await _commands("commands-repeated", is_shuffled=False)(world, rng)
        try:
            async with asyncio.timeout(POINT_PATIENCE):
                while trigger.exists():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            trigger.unlink(missing_ok=True)
            return
        await asyncio.sleep(RECOVERY)
        for one in world.coordinators:
            await until_ready(world, one)

    return strike


async def _clock_step(world: World, rng: random.Random) -> None:
    step = rng.choice((-7200.0, -30.0, 30.0, 7200.0))
    async with world.struck("clock-step", "all", f"{step:+.0f} s"):
        clock = world.triggers / points.CLOCK
        clock.write_text(str(step))
        try:
            await asyncio.sleep(rng.uniform(3, 8))
        finally:
            clock.write_text("0")


async def restart(world: World, node: int) -> None:
    """Start a node again, and wait until each node sees that all run.

    Not until all queues have leaders: a queue that was made anew while the node was away may never have one again.
    """
    await world.broker.cluster.restart(node, timeout=START)
    await world.broker.cluster.until_whole(START)


async def _node_kill(world: World, rng: random.Random) -> None:
    """Kill a node of the cluster, and leave it away for a while."""
    node = rng.randrange(len(world.broker))
    async with world.struck("node-kill", f"node {node}"):
        await kill_node(world.broker.cluster, node)
        await asyncio.sleep(rng.uniform(2, 10))
        await restart(world, node)


async def _broker_restart(world: World, rng: random.Random) -> None:
    node = rng.randrange(len(world.broker))
    async with world.struck("broker-restart", f"node {node}"):
        await restart(world, node)


async def _broker_kill_all(world: World, _: random.Random) -> None:
    """Kill all nodes at once, as a power failure does."""
    nodes = range(len(world.broker))
    async with world.struck("broker-kill", "all nodes"):
        await asyncio.gather(*(kill_node(world.broker.cluster, node) for node in nodes))
        await asyncio.gather(*(world.broker.cluster.restart(node, timeout=START) for node in nodes))
        await world.broker.cluster.until_whole(START)


async def _node_cut_off(world: World, rng: random.Random) -> None:
    """Part a node from the others; clients still reach each of them."""
    node = rng.randrange(len(world.broker))
    async with world.struck("node-cut-off", f"node {node}"):
        await world.broker.cluster.cut_off(node)
        await asyncio.sleep(rng.uniform(5, 12))
        await world.broker.cluster.heal(node, timeout=120)


async def _node_stopped(world: World, rng: random.Random) -> None:
    """Stop a node's process for a while: its sockets stay open, and nothing answers."""
    node = rng.randrange(len(world.broker))
    async with world.struck("node-stop", f"node {node}"), suspended_node(world.broker.cluster, node):
        await asyncio.sleep(rng.uniform(2, 12))


ALARMS = {"memory-alarm": "memory", "disk-alarm": "disk"}


def _alarm(name: str) -> Act:
    """Have the broker block its publishers, as it does when memory or disk run out."""
    resource = ALARMS[name]

    async def strike(world: World, rng: random.Random) -> None:
        node = rng.randrange(len(world.broker))
        async with world.struck(name, f"node {node}"):
            try:
                await raise_alarm(world.broker.cluster, node, resource)
                await asyncio.sleep(rng.uniform(3, 6))
            finally:
                await clear_alarm(world.broker.cluster, node, resource)

    return strike


def _commands(name: str, *, is_shuffled: bool) -> Act:
    """Send releases and resumes again, or out of order, without waiting for any answer; in the end the seed runs."""

    async def strike(world: World, rng: random.Random) -> None:
        seed = rng.choice([plan.id for plan in world.plan.seeds if "release.seed" in plan.commands])
        commands = ["release.seed", "resume.seed"] * 2 if is_shuffled else ["release.seed"] * 3 + ["resume.seed"] * 3
        if is_shuffled:
            rng.shuffle(commands)
        managers = Managers(world.history, world.urls, world.http_url, world.plan.seeds)
        async with world.struck(name, seed):
            await _send_all(world, managers, seed, commands)
            await managers.resume_in_order(seed, rng)

    return strike


async def _send_all(world: World, managers: Managers, seed: str, commands: list[str]) -> None:
    loop = asyncio.get_running_loop()
    body = f'{{"id": "{seed}"}}'.encode()
    try:
        connection = await Connection.open(world.urls, "chaos-commands")
    except CoordinatorError:
        return
    try:
        channel = await connection.channel()
        for name in commands:
            managers.recorder.write(Command(name=name, target=seed, begun=loop.time(), status=0))
            await channel.publish("commands", name, Message(body), mandatory=True)
    except CoordinatorError:
        pass
    finally:
        await connection.close()


FAULTS = (
    Fault("worker-kill", "worker", _on_process("worker-kill", _workers, (0.5, 2), _kill)),
    Fault("worker-stop", "worker", _on_process("worker-stop", _workers, (16, 22), _stop)),
    Fault("worker-block", "worker", _on_process("worker-block", _workers, (BLOCKED, BLOCKED), _block)),
    Fault("worker-cut", "worker", _on_process("worker-cut", _workers, (0.2, 1), _cut)),
    Fault("worker-blackhole", "worker", _on_process("worker-blackhole", _workers, (5, 30), _swallow)),
    Fault("worker-slow", "worker", _on_process("worker-slow", _workers, (4, 10), _slow_down)),
    Fault("coordinator-kill", "coordinator", _on_process("coordinator-kill", _coordinators, (1, 2), _kill)),
    Fault("coordinator-stop", "coordinator", _on_process("coordinator-stop", _coordinators, (2, 18), _stop)),
    Fault("coordinator-cut", "coordinator", _on_process("coordinator-cut", _coordinators, (0.2, 1), _cut)),
    Fault(
        "coordinator-blackhole", "coordinator", _on_process("coordinator-blackhole", _coordinators, (5, 20), _swallow)
    ),
    Fault("coordinator-slow", "coordinator", _on_process("coordinator-slow", _coordinators, (4, 10), _slow_down)),
    Fault("coordinator-all-kill", "coordinator", _all_coordinators),
    Fault("coordinator-restart", "coordinator", _rolling_restart),
    *(Fault(f"kill-{point}", "point", _at_point(point)) for point in POINTS),
    Fault("clock-step", "command", _clock_step),
    Fault("commands-repeated", "command", _commands("commands-repeated", is_shuffled=False)),
    Fault("commands-reordered", "command", _commands("commands-reordered", is_shuffled=True)),
    Fault("queue-deleted", "command", delete_queue),
    Fault("broker-kill", "broker", _broker_kill_all),
    Fault("broker-restart", "broker", _broker_restart),
    Fault("node-kill", "broker", _node_kill, nodes=3),
    Fault("node-cut-off", "broker", _node_cut_off, nodes=3),
    Fault("node-stop", "broker", _node_stopped, nodes=3),
    *(Fault(name, "broker", _alarm(name)) for name in ALARMS),
)

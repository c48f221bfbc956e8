"""A run: the load and the faults for a while, then healing, then a look at what is left, then the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Coroutine
from typing import Any

import httpx
import orjson
import structlog

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.types import Delivery
from coordinator.errors import CoordinatorError, PrivateBrokerError
from tests.chaos import faults as kinds
from tests.chaos.broker import Broker
from tests.chaos.handler import POISON
from tests.chaos.history import Dead, Left, Phase, Produced, Recorder, Sample
from tests.chaos.load import Managers, Paths, Producers
from tests.chaos.queues import delete_dead_queues
from tests.chaos.samples import of_process
from tests.chaos.world import Plan, World, own_world
from tests.helpers.brokers import clear_alarm

log = structlog.get_logger(__name__)

END_AGAIN = 5.0
QUIET = 2.5
HOLDING = {topology.WORK, topology.RETURNS, topology.SUSPECTS, topology.NEW_SEEDS}
LANES = {"worker": 3, "point": 2}
"""Lanes that run several times beside each other; all others run once."""


async def run(plan: Plan, faults: list[kinds.Fault], broker: Broker, vhost: str) -> None:
    """Make the history of a run in `plan.folder`.

    Raises:
        TimeoutError: coordinators do not come up, not even without faults.
    """
    async with own_world(plan, broker, vhost) as world:
        await world.start_coordinators()
        managers = Managers(world.history, world.urls, world.http_url, plan.seeds)
        await managers.set_all_up()
        await world.start_workers()
        world.recorder.write(Phase(name="load"))
        log.info("chaos.load", duration=plan.duration, faults=[fault.name for fault in faults])
        await _load(world, managers, faults)
        world.recorder.write(Phase(name="heal"))
        log.info("chaos.heal")
        await world.heal()
        await _mend_broker(world)
        await _settle(world, managers)
        await _look_at_dead(world)
        world.recorder.write(Phase(name="end"))
        log.info("chaos.end")


async def _load(world: World, managers: Managers, faults: list[kinds.Fault]) -> None:
    plan, rng = world.plan, random.Random(world.plan.seed)
    producers = Producers(world.history, world.urls, world.http_url, plan.rate, plan.seeds, random.Random(rng.random()))
    parts: list[Coroutine[Any, Any, None]] = [
        producers.run(plan.items),
        _sample_broker(world),
        _poison(world),
    ]
    if plan.commands:
        names = [one.name for one in world.workers]
        parts.append(managers.play(names, random.Random(rng.random()), plan.commands, plan.rest))
    lanes = {fault.lane: [one for one in faults if one.lane == fault.lane] for fault in faults}
    for lane, mine in lanes.items():
        times = LANES.get(lane, 1)
        parts += [kinds.keep_striking(world, mine, random.Random(rng.random())) for _ in range(times)]
    await _for_a_while([asyncio.create_task(part) for part in parts], plan.duration)


async def _mend_broker(world: World) -> None:
    """Undo what a fault left behind that the end of the load cut short: all nodes run, see each other, take all."""
    cluster = world.broker.cluster
    for node in range(len(world.broker)):
        if cluster.pid_of(node) is None:
            await cluster.restart(node)
    try:
        await cluster.until_whole()
    except PrivateBrokerError as error:
        log.warning("chaos.parted", problem=str(error))
        for node in range(len(world.broker)):
            await cluster.restart(node)
        await cluster.until_whole()
    for node in range(len(world.broker)):
        for resource in kinds.ALARMS.values():
            await clear_alarm(cluster, node, resource)
    if len(world.broker) > 1:
        await _restart_nodes(world)
        await delete_dead_queues(world)


async def _restart_nodes(world: World) -> None:
    """Give each queue another leader, as an operator does after so many faults.

    Leaders may have missed that consumers are gone, and hold for these what nobody will ack, or may not carry dead
    letters (both seen on 3.10.8).
    """
    for node in range(len(world.broker)):
        async with world.struck("broker-restart", f"node {node}"):
            await kinds.restart(world, node)


async def _for_a_while(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    """Let these run for so long, or until one fails, and end them: a fault that is made good takes its time.

    A client may forget that it was cancelled, so it is told again.
    """
    done, running = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    while running:
        for task in running:
            task.cancel()
        ended, running = await asyncio.wait(running, timeout=END_AGAIN)
        done |= ended
        for task in running:
            log.warning("chaos.still_running", task=task.get_name(), at=str(task.get_stack(limit=3)[-1:]))
    for task in done:
        if not task.cancelled():
            task.result()


async def _poison(world: World) -> None:
    """Send the deadly items, evenly over the first part of the time."""
    recorder, paths = Recorder(world.history, "poisoner"), Paths(world.http_url)
    for number in range(world.plan.poison):
        items = (f"{POISON}-{number}",)
        begun, outcome = time.monotonic(), "unknown"
        while outcome != "confirmed":
            outcome = await paths.add(POISON, [{"id": items[0]}])
            await asyncio.sleep(0.5)
        recorder.write(Produced(seed=POISON, items=items, begun=begun, outcome="confirmed", via="http"))
        await asyncio.sleep(world.plan.duration / (2 * world.plan.poison))


async def _settle(world: World, managers: Managers) -> None:
    """Let every seed run, and wait for as long as there is less and less to work off; write down what is left."""
    rng = random.Random(world.plan.seed)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(world.plan.drain) as patience:
            for one in world.coordinators:
                await kinds.until_ready(world, one)
            for plan in world.plan.seeds:
                await managers.resume(plan.id, rng)
                patience.reschedule(asyncio.get_running_loop().time() + world.plan.drain)
            await _until_empty(world, patience)
            return
    for queue, messages in (await _waiting(world)).items():
        world.recorder.write(Left(queue=queue, messages=messages))


async def _until_empty(world: World, patience: asyncio.Timeout) -> None:
    empty_since: float | None = None
    least = math.inf
    while True:
        waiting = await _waiting(world)
        now = time.monotonic()
        if (total := sum(waiting.values())) < least and min(waiting.values(), default=0) >= 0:
            least = total
            patience.reschedule(asyncio.get_running_loop().time() + world.plan.drain)
        if waiting:
            empty_since = None
        elif empty_since is None:
            empty_since = now
        elif now - empty_since > QUIET:
            return
        await asyncio.sleep(0.25)


async def _waiting(world: World) -> dict[str, int]:
    """Messages by queue, of all queues that hold items on their way: ready ones as of now, unacked ones of late."""
    management = Management(world.management_url, world.vhost)
    try:
        totals = await management.totals()
        connection = await Connection.open(world.urls, "chaos-end")
    except CoordinatorError as error:
        log.info("chaos.broker_away", problem=str(error))
        return {"the broker": -1}
    finally:
        await management.close()
    found: dict[str, int] = {}
    try:
        for queue, total in totals.items():
            if queue.startswith(("seed.", f"{topology.WORK}.")) or queue in HOLDING:
                depth = await connection.depth(queue)
                count = max(depth.ready if depth else 0, total.ready) + total.unacked + total.leaving
                if count:
                    found[queue] = count
    except CoordinatorError as error:
        log.info("chaos.broker_away", problem=str(error))
        return {"the broker": -1}
    finally:
        await connection.close()
    return found


async def _look_at_dead(world: World) -> None:
    """Write down the dead letters, and leave them where they are."""
    recorder = Recorder(world.history, "undertaker")
    connection = await Connection.open(world.urls, "chaos-dead")
    try:
        depth = await connection.depth(topology.DEAD)
        letters: asyncio.Queue[Delivery] = asyncio.Queue()
        channel = await connection.channel()
        await channel.consume(topology.DEAD, letters.put_nowait, prefetch=0)
        async with asyncio.timeout(20):
            for _ in range(depth.ready if depth else 0):
                recorder.write(_dead(await letters.get()))
    finally:
        await connection.close()


def _dead(letter: Delivery) -> Dead:
    try:
        body = orjson.loads(letter.body)
    except orjson.JSONDecodeError:
        body = {}
    items = body.get("items", []) if isinstance(body, dict) else []
    attempt = letter.headers.get("attempt")
    return Dead(
        batch=letter.message_id or "",
        seed=str(letter.headers.get("seed", "")),
        what=str(letter.headers.get("kind", "")),
        reason=str(letter.headers.get("reason", "")),
        attempt=attempt if isinstance(attempt, int) else 0,
        history=tuple(orjson.loads(str(letter.headers.get("history", "[]")))),
        items=tuple(str(item.get("id")) for item in items),
    )


async def _sample_broker(world: World) -> None:
    """Write down what broker and workers use, now and again."""
    recorder = Recorder(world.history, "sampler")
    async with httpx.AsyncClient(base_url=world.management_url, trust_env=False, timeout=5) as http:
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                overview = (await http.get("/api/overview")).raise_for_status().json()
                nodes = (await http.get("/api/nodes")).raise_for_status().json()
                totals = overview.get("object_totals", {})
                numbers = {name: float(totals.get(name, 0)) for name in ("connections", "channels", "queues")}
                numbers["memory_mb"] = round(sum(float(one.get("mem_used", 0)) for one in nodes) / 2**20, 1)
                recorder.write(Sample(process="broker", numbers=numbers))
            for one in world.workers:
                if one.child.pid is not None:
                    with contextlib.suppress(OSError, KeyError):
                        recorder.write(Sample(process=one.name, numbers=of_process(one.child.pid)))
            await asyncio.sleep(2.0)

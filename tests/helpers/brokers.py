"""Brokers of a test's own, and what can be done to them: each call returns when it has taken effect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.types import Message
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.cluster import PrivateCluster
from coordinator.local_rabbitmq.find_server import find_server
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.settings import Settings
from tests.helpers import processes, proof
from tests.helpers.proof import asked, proved
from tests.helpers.support import in_ci, own_vhost

OUTAGE = 90.0
"""Seconds in which all goes on again after a broker was away."""
ON_DISK = 20.0
"""Seconds within which a broker writes down where the members of a new queue are."""
BLOCKED, CONFIRMED, UNCONFIRMED = "blocked", "confirmed", "unconfirmed"
SOON = 1.0
"""Seconds within which a broker without an alarm confirms a message."""


def need_server() -> None:
    """Skip the test where no RabbitMQ is installed, but fail it in CI."""
    if find_server() is None:
        (pytest.fail if in_ci() else pytest.skip)("no rabbitmq-server: run `make setup`")


@contextlib.asynccontextmanager
async def own_broker(folder: Path) -> AsyncIterator[PrivateBroker]:
    """A broker that tests may kill. It ends by a kill: a clean stop takes 6 s, and its data are not needed."""
    need_server()
    async with PrivateBroker(folder) as broker:
        yield broker
        await broker.kill()


@contextlib.asynccontextmanager
async def vhost_of(broker: PrivateBroker) -> AsyncIterator[Settings]:
    """A virtual host of the test's own. It stays: the broker ends with its tests."""
    async with own_vhost(broker.urls, delete=False) as settings:
        yield settings


async def kill_broker(broker: PrivateBroker) -> None:
    """Kill a broker, and wait until its process is gone and its port refuses connections."""
    pid, port = broker.pid, urlsplit(broker.urls.amqp).port
    async with asyncio.timeout(proof.DEADLINE):
        await broker.kill()
    await processes.gone(pid, port)


async def kill_node(cluster: PrivateCluster, node: int) -> None:
    """Kill a node of a cluster, and wait until its process is gone and its port refuses connections."""
    pid, port = pid_of(cluster, node), urlsplit(cluster.urls_of(node).amqp).port
    async with asyncio.timeout(proof.DEADLINE):
        await cluster.kill(node)
    await processes.gone(pid, port)


async def restart_node(cluster: PrivateCluster, node: int, timeout: float = 60) -> None:  # noqa: ASYNC109 - passed on
    """Start a node again, and wait until the cluster is whole and each quorum queue has a leader and all members."""
    await cluster.restart(node, timeout=timeout)
    await until_whole(cluster)


async def until_whole(cluster: PrivateCluster) -> None:
    """Wait until each node sees that all run, and each quorum queue has a leader and all members.

    Raises:
        AssertionError: a queue has not; the sentence names it.
    """
    await cluster.until_whole()
    management = Management(cluster.urls.management, "/")

    async def unled() -> dict[str, str]:
        queues, _ = await management.read("/api/queues?disable_stats=true&enable_queue_totals=true")
        return {f"{one['vhost']}/{one['name']}": fault_of(one) for one in queues if fault_of(one)}

    try:
        await asked("each quorum queue has a leader and all members", unled, lambda found: not found, OUTAGE)
    finally:
        await management.close()


def fault_of(queue: dict[str, Any]) -> str:
    """What a queue lacks, as the management API lists it; empty for one that lacks nothing."""
    if queue.get("type") != "quorum":
        return ""
    members, online, leader = queue.get("members") or [], queue.get("online") or [], queue.get("leader")
    if queue.get("state") != "running" or not leader or set(online) != set(members):
        return f"state {queue.get('state')}, leader {leader}, online {len(online)} of {len(members)}"
    return ""


@contextlib.asynccontextmanager
async def suspended_node(cluster: PrivateCluster, node: int) -> AsyncIterator[None]:
    """Suspend a node of a cluster for as long as the block lasts."""
    pid = pid_of(cluster, node)
    await processes.suspend(pid)
    try:
        yield
    finally:
        await processes.resume(pid)


def knows_its_queues(folder: Path, settings: Settings, *queues: str) -> bool:
    """Whether a broker killed now would keep its streams, and these queues of a virtual host.

    A broker that is killed right after a queue was declared forgets where the members of the queue are.
    """
    streams, members = (
        b"".join(path.read_bytes() for path in folder.glob(f"data/*/{kind}/*/names.dets"))
        for kind in ("coordination", "quorum")
    )
    vhost = settings.vhost()
    return b"rabbit_stream_coordinator" in streams and all(f"{vhost}_{queue}".encode() in members for queue in queues)


async def until_on_disk(folder: Path, settings: Settings, *queues: str) -> None:
    """Wait until `knows_its_queues()`."""
    await proved(
        f"a broker killed now would keep its streams and {', '.join(queues)}",
        lambda: knows_its_queues(folder, settings, *queues),
        bool,
        ON_DISK,
    )


def pid_of(cluster: PrivateCluster, node: int) -> int:
    """Return a node's process id.

    Raises:
        AssertionError: it does not run.
    """
    pid = cluster.pid_of(node)
    if pid is None:
        raise AssertionError(f"node {node} does not run")
    return pid


async def delete_queue(urls: Sequence[str], queue: str) -> None:
    """Delete a queue, and wait until each node says that there is no such queue.

    Args:
        urls: AMQP URLs of all nodes.
        queue: its name.

    Raises:
        AssertionError: a node still knows it; the sentence says which, and how many messages it holds there.
    """
    connections = [await Connection.open([url], "delete") for url in urls]
    try:
        channel = await connections[0].channel()
        await channel.delete_queue(queue)

        async def holders() -> dict[str, int]:
            depths = {urlsplit(one.url).netloc.rpartition("@")[2]: await one.depth(queue) for one in connections}
            return {node: depth.ready for node, depth in depths.items() if depth is not None}

        await asked(f"no node knows the queue {queue!r}", holders, lambda found: not found)
    finally:
        for one in connections:
            await one.close()


async def raise_alarm(cluster: PrivateCluster, node: int, resource: str) -> None:
    """Raise an alarm of `memory` or `disk` on a node, and wait until the broker lists it and blocks a publisher."""
    await cluster.evaluate(node, f"rabbit_alarm:set_alarm({{{{resource_limit, {resource}, node()}}, []}})")
    url = cluster.urls_of(node)
    await asked(f"node {node} lists its {resource} alarm", lambda: alarms(url), lambda found: resource in found)
    await asked("a publish is blocked", lambda: outcome(url), lambda found: found == BLOCKED)


async def clear_alarm(cluster: PrivateCluster, node: int, resource: str) -> None:
    """End an alarm; harmless where there is none.

    Waits until the node no longer lists it and, if the node has no other alarm, until a publish is confirmed.
    """
    await cluster.evaluate(node, f"rabbit_alarm:clear_alarm({{resource_limit, {resource}, node()}})")
    url = cluster.urls_of(node)
    left = await asked(
        f"node {node} lists no {resource} alarm", lambda: alarms(url), lambda found: resource not in found
    )
    if not left:
        await asked("a publish is confirmed", lambda: outcome(url), lambda found: found == CONFIRMED)


async def alarms(urls: BrokerUrls) -> set[str]:
    """Return the resources of which any node of the broker has an alarm, as one of its nodes lists them."""
    management = Management(urls.management, "/")
    try:
        nodes = await management.nodes()
    finally:
        await management.close()
    memory = {"memory"} if any(one.memory_alarm for one in nodes) else set()
    return memory | ({"disk"} if any(one.disk_alarm for one in nodes) else set())


async def outcome(urls: BrokerUrls) -> str:
    """What becomes of a message that is published to this node: `blocked`, `confirmed` or `unconfirmed`."""
    connection = await Connection.open([urls.amqp], "alarm")
    try:
        channel = await connection.channel()
        async with asyncio.timeout(SOON):
            # Its first message makes a connection a publisher, and is confirmed even then.
            for _ in range(2):
                await channel.publish("", "no-queue", Message(b""))
    except TimeoutError:
        return BLOCKED if await connection.is_blocked() else UNCONFIRMED
    else:
        return CONFIRMED
    finally:
        await connection.close(SOON)

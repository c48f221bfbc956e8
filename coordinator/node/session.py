"""A session: everything that a coordinator does on its connections to the broker.

When the reading or the writing connection ends, its deliveries, consumers and open confirms end with it. So the session
ends as a whole, and a new one begins from what the broker holds. Nothing else needs to survive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import structlog

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.get_pool import GetPool
from coordinator.broker.management import Management
from coordinator.broker.queue_health import QueueHealth
from coordinator.domain.event_ring import Past
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError
from coordinator.node.dispatch.stuck_consumers import renew_consumers
from coordinator.node.parts import Connections
from coordinator.node.process_state import ProcessState
from coordinator.node.registry import STALLED, Registry
from coordinator.node.wiring import Session, assemble
from coordinator.settings import Settings

log = structlog.get_logger(__name__)

Loops = dict[str, Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def connected(settings: Settings, instance: str, health: QueueHealth) -> AsyncIterator[Connections]:
    """Connect, declare what must exist, and disconnect in the end.

    Raises:
        BrokerUnavailableError: no broker answers.
        BrokerRefusedError: a queue or exchange exists with other arguments, or the user lacks a permission.
        ManagementError: the management API refuses or does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        name = topology.coordinator_connection_name
        reader = await Connection.open(settings.amqp_urls(), name(instance, "reads"), health=health)
        stack.push_async_callback(reader.close)
        writer = await Connection.open(settings.amqp_urls(), name(instance, "writes"), near=reader, health=health)
        stack.push_async_callback(writer.close)
        get_pool = GetPool(settings.amqp_urls(), name(instance, "takes"), reader)
        stack.push_async_callback(get_pool.close)
        management = Management(settings.management(), settings.vhost(), settings.ca_file)
        stack.push_async_callback(management.close)
        links = Connections(reader, writer, get_pool, await writer.channel(), management)
        await _declare(links)
        yield links


async def _declare(links: Connections) -> None:
    for exchange in topology.EXCHANGES:
        await links.publishing.declare_exchange(exchange)
        if exchange.name == topology.NEW_SEEDS:
            await links.management.keep_unrouted_items()
    for queue in topology.QUEUES:
        await links.publishing.declare_queue(queue)


@contextlib.asynccontextmanager
async def open_session(settings: Settings, instance: str, process: ProcessState) -> AsyncIterator[Session]:
    """Run a session: ready when entered, and ended as a whole when any part of it ends.

    Args:
        settings: the settings.
        instance: the id of this session.
        process: what the process keeps from earlier sessions.

    Raises:
        BrokerUnavailableError: a connection ended; also every error of `connected`.
    """
    health = QueueHealth(process.broken_queues)
    async with connected(settings, instance, health) as links, asyncio.TaskGroup() as group:
        session = await _start(settings, instance, links, process)
        tasks = [group.create_task(loop, name=name) for name, loop in _loops(session, settings, links).items()]
        await session.owned_seeds.start()
        tasks.append(group.create_task(session.dispatcher.run(), name="dispatch"))
        try:
            yield session
        except asyncio.CancelledError:
            if not (links.reader.closed.is_set() or links.writer.closed.is_set()):
                await _wind_down(session, settings.stop_timeout / 2)
            raise
        finally:
            for task in tasks:
                task.cancel()


async def _start(settings: Settings, instance: str, links: Connections, process: ProcessState) -> Session:
    """Replay the registry, make the parts, and join the other replicas."""
    registry = Registry(
        reading=await links.reader.channel(),
        writing=await links.writer.channel(patience=STALLED),
        instance=instance,
        past=Past(settings.history),
    )
    await registry.start()
    session = await assemble(settings, instance, links, registry, process)
    # Before anything is dispatched, the others must know this replica: a release has to ask it.
    await session.replicas.join(await links.reader.channel())
    await session.isolation.join()
    return session


def _loops(session: Session, settings: Settings, links: Connections) -> Loops:
    """Return what runs for as long as the session does, by name."""
    reader, replicas, background = links.reader, session.replicas, session.background
    return {
        "connections": _until_closed(links.reader, links.writer),
        "replicas": replicas.run(),
        "snapshots": session.registry.keep_snapshots(lambda: replicas.owns("snapshots")),
        "events": session.events.run(),
        "intake": background.intake.run(reader),
        "purged queues": background.purged_queues.run(),
        "registry": session.owned_seeds.follow_registry(),
        "malformed pages": session.owned_seeds.keep_malformed(),
        "stuck consumers": renew_consumers(session.owned_seeds, links.management, settings.broker_tick),
        "leases": session.leases.expire(),
        "returns": background.returns.run(reader),
        "isolation": session.isolation.run(reader),
        "heartbeats": session.heartbeats.run(reader),
        "silence of workers": session.heartbeats.watch(),
        "callbacks": session.callbacks.run(),
        "tag notices": background.tag_notices.run(),
        "throughput": session.throughput.run(),
        "drained seeds": session.drained.run(),
        "work queues": background.broker_poller.watch_queues(),
        "workers": background.broker_poller.watch_workers(),
        "commands": background.command_reader.run(reader),
    }


async def _wind_down(session: Session, seconds: float) -> None:
    """Give back what is at hand, so that a stop repeats nothing and fails nothing; in vain when the broker is gone."""
    with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError, TimeoutError):
        async with asyncio.timeout(seconds):
            await session.replicas.leave()
            await session.owned_seeds.stop()
            await session.leases.give_all_back()


async def _until_closed(*connections: Connection) -> None:
    """Wait until one of the connections ends.

    Raises:
        BrokerUnavailableError: always, when it comes to that.
    """
    waiting = [asyncio.create_task(connection.closed.wait()) for connection in connections]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    reasons = ", ".join(connection.reason for connection in connections if connection.closed.is_set())
    raise BrokerUnavailableError(f"the connection to the broker ended: {reasons}")

"""A session: everything a coordinator does on its connections to the broker.

When the one that reads or the one that writes ends, deliveries, consumers and open confirms end with it, so the
session ends as a whole, and a new one begins from what the broker holds. Nothing else needs to survive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import structlog

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.get_pool import GetPool
from coordinator.broker.management import Management
from coordinator.broker.queue_health import QueueHealth
from coordinator.domain.registry_events import Event, SeedSet
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError
from coordinator.node.dispatch.stuck_consumers import renew_consumers
from coordinator.node.failures.returns import Returns
from coordinator.node.observe.broker_poller import watch_queues, watch_workers
from coordinator.node.registry import STALLED, Registry
from coordinator.node.releases.commands import CommandReader
from coordinator.node.seeds.catalog import Intake
from coordinator.node.seeds.purged_queues import tend_leftovers
from coordinator.node.wiring import Connections, ProcessState, Session, assemble, trusted
from coordinator.node.workers.heartbeats import tags_notice
from coordinator.settings import Settings

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def connected(settings: Settings, instance: str, health: QueueHealth) -> AsyncIterator[Connections]:
    """Connect, declare what must exist, and disconnect in the end.

    Raises:
        BrokerUnavailableError: no broker answers.
        BrokerRefusedError: a queue or exchange exists otherwise, or this user may not.
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
        publishing = await writer.channel()
        for exchange in topology.EXCHANGES:
            await publishing.declare_exchange(exchange)
            if exchange.name == topology.NEW_SEEDS:
                await management.keep_unrouted_items()
        for queue in topology.QUEUES:
            await publishing.declare_queue(queue)
        yield Connections(reader, writer, get_pool, publishing, management)


@contextlib.asynccontextmanager
async def open_session(settings: Settings, instance: str, lasting: ProcessState) -> AsyncIterator[Session]:
    """Run a session: ready when entered, and ended as a whole when any part of it ends.

    Args:
        settings: the settings.
        instance: this session's id.
        lasting: what earlier sessions left to know.

    Raises:
        BrokerUnavailableError: a connection ended; also every error of `connected`.
    """
    health = QueueHealth(lasting.broken_queues)
    async with connected(settings, instance, health) as links, asyncio.TaskGroup() as group:
        reading, writing = await links.reader.channel(), await links.writer.channel(patience=STALLED)
        registry = Registry(reading, writing, instance, settings.history)
        await registry.start()
        session = await assemble(settings, instance, links, registry, lasting)
        # Before anything is dispatched, the others must know that this coordinator is one whom a release has to ask.
        await session.replicas.join(await links.reader.channel())
        await session.isolation.join()
        loops = await _loops(session, settings, links, lasting)
        tasks = [group.create_task(loop, name=name) for name, loop in loops.items()]
        await session.dispatcher.start()
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


async def _loops(
    session: Session, settings: Settings, links: Connections, lasting: ProcessState
) -> dict[str, Coroutine[Any, Any, None]]:
    """What runs for as long as the session does, by name."""
    returns = Returns(
        registry=session.registry,
        work=session.publisher,
        available=session.seed_queues,
        seeds=session.catalog,
        dead=session.dead_letters,
        isolation=session.isolation,
        events=session.events,
        dealt=lasting.dealt,
        limit=settings.attempt_limit,
    )
    intake = Intake(session.catalog, session.seed_queues, session.dead_letters, trusted(settings, links))
    return {
        "callbacks": session.callbacks.run(),
        "events": session.events.run(),
        "progress": session.drained.run(),
        "renewal": renew_consumers(session.dispatcher, links.management, settings.broker_tick),
        "pulse": session.throughput.run(),
        "connections": _until_closed(links.reader, links.writer),
        "coordinators": session.replicas.run(),
        "snapshots": session.registry.keep_snapshots(lambda: session.replicas.owns("snapshots")),
        "registry": session.dispatcher.keep_up(),
        "malformed": session.dispatcher.bury(),
        "intake": intake.run(links.reader),
        "returns": returns.run(links.reader),
        "suspects": session.isolation.run(links.reader),
        "silence": session.heartbeats.watch(),
        "leases": session.leases.expire(),
        "presence": session.heartbeats.run(await links.reader.channel()),
        "commands": CommandReader(session.commands, links.publishing, session.dead_letters).run(links.reader),
        "leftovers": tend_leftovers(session.catalog, session.registry, session.replicas, links.management),
        "queues": watch_queues(session.publisher, session.leases, session.heartbeats),
        "workers": watch_workers(
            work=session.publisher,
            workers=session.workers,
            leases=session.leases,
            heartbeats=session.heartbeats,
            api=links.management,
            tick=settings.broker_tick,
        ),
        "notices": _announce_tags(session.registry, links.publishing),
    }


async def _wind_down(session: Session, seconds: float) -> None:
    """Give back what is at hand, so that a stop repeats nothing and fails nothing; in vain when the broker is gone."""
    with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError, TimeoutError):
        async with asyncio.timeout(seconds):
            await session.replicas.leave()
            await session.dispatcher.stop()
            await session.leases.give_all_back()


async def _announce_tags(registry: Registry, publishing: Channel) -> None:
    """Tell workers of each work queue that comes into being."""
    known = set(registry.state.tag_sets)
    changed: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    def notice(event: Event) -> None:
        if isinstance(event, SeedSet) and event.spec.tags not in known:
            known.add(event.spec.tags)
            changed.put_nowait(event.spec.tags)

    registry.listen(notice)
    while True:
        tags = await changed.get()
        await publishing.declare_queue(topology.work_queue(tags))
        await publishing.publish(topology.CONTROL, "", tags_notice(tags))


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

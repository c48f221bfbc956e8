"""The parts of a running coordinator, and the listeners that connect them.

Listeners are connected here alone, so this module shows what calls what against the order of the floors.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.node.background import BackgroundParts, make_background
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.events import Events
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.observe.drained import DrainWatcher
from coordinator.node.observe.overview import Overview
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.observe.throughput import Throughput
from coordinator.node.parts import (
    Base,
    Connections,
    DeliveryParts,
    ObserveParts,
    SeedParts,
    WorkerParts,
    make_delivery,
    make_observe,
    make_releases,
    make_seeds,
    make_workers,
)
from coordinator.node.process_state import ProcessState
from coordinator.node.registry import Registry
from coordinator.node.releases.commands import Commands
from coordinator.node.replicas import topics
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import ReplicaHeartbeat
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.depth import QueueDepths
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.callbacks import Callbacks
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.held_batches import HeldBatches
from coordinator.node.workers.workers import Workers
from coordinator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The parts of a running coordinator."""

    instance: str
    registry: Registry
    rpc: Rpc
    replicas: Replicas
    events: Events
    seed_queues: SeedQueues
    dead_letters: DeadLetters
    catalog: SeedCatalog
    publisher: Publisher
    depth: QueueDepths
    owned_seeds: OwnedSeeds
    dispatcher: Dispatcher
    leases: Leases
    isolation: Isolation
    heartbeats: Heartbeats
    held_batches: HeldBatches
    callbacks: Callbacks
    workers: Workers
    throughput: Throughput
    seed_stats: SeedStats
    drained: DrainWatcher
    overview: Overview
    commands: Commands
    background: BackgroundParts
    publishing: Channel
    writer: Connection
    reader: Connection


async def assemble(
    settings: Settings, instance: str, links: Connections, registry: Registry, process: ProcessState
) -> Session:
    """Make the parts of a session, connected and not yet at work."""
    # Messages to the other replicas must not wait behind a queue that hangs the broker's side of a channel.
    rpc = Rpc(instance=instance, publishing=await links.writer.channel())
    replicas = Replicas(rpc=rpc, management=links.management)
    events = Events(ring=process.ring, registry=registry, replicas=replicas, rpc=rpc)
    base = Base(
        settings=settings,
        links=links,
        process=process,
        registry=registry,
        rpc=rpc,
        replicas=replicas,
        events=events,
    )
    seeds = make_seeds(base, await links.writer.channel())
    delivery = make_delivery(base, seeds)
    workers = make_workers(base, seeds, delivery)
    observe = make_observe(base, seeds, delivery, workers)
    commands = make_releases(base, seeds, delivery, workers, observe)
    background = make_background(base, seeds, delivery, workers, commands)
    session = _make_session(base, seeds, delivery, workers, observe, commands, background)
    _connect_replicas(session)
    _connect_parts(session)
    _connect_answers(session)
    return session


def _make_session(
    base: Base,
    seeds: SeedParts,
    delivery: DeliveryParts,
    workers: WorkerParts,
    observe: ObserveParts,
    commands: Commands,
    background: BackgroundParts,
) -> Session:
    return Session(
        instance=base.rpc.instance,
        registry=base.registry,
        rpc=base.rpc,
        replicas=base.replicas,
        events=base.events,
        seed_queues=seeds.seed_queues,
        dead_letters=seeds.dead_letters,
        catalog=seeds.catalog,
        publisher=delivery.publisher,
        depth=delivery.publisher.depth,
        owned_seeds=delivery.owned_seeds,
        dispatcher=delivery.dispatcher,
        leases=delivery.leases,
        isolation=delivery.isolation,
        heartbeats=workers.heartbeats,
        held_batches=workers.held_batches,
        callbacks=workers.callbacks,
        workers=workers.workers,
        throughput=observe.throughput,
        seed_stats=observe.seed_stats,
        drained=observe.drained,
        overview=observe.overview,
        commands=commands,
        background=background,
        publishing=base.links.publishing,
        writer=base.links.writer,
        reader=base.links.reader,
    )


def _connect_replicas(session: Session) -> None:
    """Connect the replicas with their messages, and the parts with the replicas."""
    rpc, replicas = session.rpc, session.replicas
    rpc.peers = lambda: replicas.others
    rpc.on_gone = replicas.remove
    rpc.on_heartbeat = replicas.receive
    replicas.describe = lambda: ReplicaHeartbeat(
        work=session.depth.peer_load(), coordinator=session.overview.describe_self()
    )
    replicas.on_change(session.owned_seeds.rebalance)
    replicas.on_change(session.isolation.forget_agreement)
    replicas.on_change(session.background.purged_queues.on_change)


def _connect_parts(session: Session) -> None:
    """Connect the parts of this replica with each other."""
    depth, owned_seeds, heartbeats = session.depth, session.owned_seeds, session.heartbeats
    session.registry.listen(owned_seeds.on_event)
    session.registry.listen(session.background.purged_queues.on_event)
    session.registry.listen(session.background.tag_notices.on_event)
    depth.on_room(session.dispatcher.wake)
    depth.demanded_by(owned_seeds.planner.demands)
    depth.on_queued(session.leases.wake_one)
    session.events.held_by_workers = heartbeats.held
    heartbeats.on_silence = session.workers.fence


def _connect_answers(session: Session) -> None:
    """Connect the questions and notices of other replicas with what answers them."""
    rpc, isolation, releases = session.rpc, session.isolation, session.commands.seed_releases
    rpc.listen(topics.BATCH_SETTLED, session.publisher.settled_by_peer)
    rpc.answer(topics.EVENTS_FIND, session.events.find_for_peer)
    rpc.answer(topics.EVENTS_SINCE, session.events.since_for_peer)
    rpc.answer(topics.SEED_SHARES, session.seed_stats.shares_for_peer)
    rpc.answer(topics.HELD_BATCHES, session.held_batches.held_for_peer)
    rpc.answer(topics.LEASES_SETTLE, session.leases.settle_for_peer)
    rpc.answer(topics.SEED_STOP, releases.stop_for_peer)
    rpc.answer(topics.SEED_FOUND, releases.found_for_peer)
    rpc.answer(topics.SEED_PURGED, session.catalog.wait_for_purge)
    rpc.answer(topics.WORK_ALONE, isolation.alone_for_peer)
    rpc.answer(topics.WORK_PAUSE, isolation.pause_for_peer)
    rpc.answer(topics.WORK_PAUSED, isolation.paused_for_peer)
    rpc.answer(topics.WORK_RESUME, isolation.resume_for_peer)
    rpc.answer(topics.WORKER_RELEASE, session.workers.release_for_peer)

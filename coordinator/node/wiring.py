"""The parts of a running coordinator, and how each is told of those it works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.get_pool import GetPool
from coordinator.broker.management import Management
from coordinator.broker.queue_health import Pauses
from coordinator.domain.counters import Counters
from coordinator.domain.event_ring import EventRing
from coordinator.domain.retry_policy import Memory
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.events import Events
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.observe.drained import DrainWatcher
from coordinator.node.observe.overview import Overview
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.observe.throughput import Throughput
from coordinator.node.registry import Registry
from coordinator.node.releases.commands import Commands
from coordinator.node.releases.seed_release import SeedReleases
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.replicas.membership import Replicas
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.callbacks import Callbacks
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.held_batches import HeldBatches
from coordinator.node.workers.workers import Workers
from coordinator.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """The parts of a running coordinator."""

    instance: str
    registry: Registry
    publisher: Publisher
    seed_queues: SeedQueues
    catalog: SeedCatalog
    dead_letters: DeadLetters
    dispatcher: Dispatcher
    leases: Leases
    heartbeats: Heartbeats
    replicas: Replicas
    isolation: Isolation
    seed_stats: SeedStats
    held_batches: HeldBatches
    throughput: Throughput
    drained: DrainWatcher
    events: Events
    overview: Overview
    workers: Workers
    callbacks: Callbacks
    commands: Commands
    publishing: Channel
    writer: Connection
    reader: Connection


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a coordinator knows and counts in one session after the other.

    Attributes:
        ring: what happened.
        counters: what was done, in figures.
        dealt: publications that came back.
        broken_queues: for how long each broken queue must not be used, in later sessions too.
    """

    ring: EventRing
    counters: Counters = field(default_factory=Counters)
    dealt: Memory = field(default_factory=Memory)
    broken_queues: Pauses = field(default_factory=Pauses)


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections and channels of a session; an alarm of the broker blocks the publishing connection alone."""

    reader: Connection
    writer: Connection
    get_pool: GetPool
    publishing: Channel
    management: Management


async def assemble(
    settings: Settings, instance: str, links: Connections, registry: Registry, lasting: ProcessState
) -> Session:
    """The parts of a session, none of them at work yet."""
    reader, publishing, counters = links.reader, links.publishing, lasting.counters
    # What is said to the others never waits behind a queue that hangs the broker's side of a channel.
    replicas = Replicas(instance, await links.writer.channel(), links.management)
    events = Events(ring=lasting.ring, registry=registry, replicas=replicas)
    work = Publisher(
        connection=links.writer,
        publishing=publishing,
        registry=registry,
        replicas=replicas,
        events=events,
        most=settings.window,
        counters=counters,
    )
    available = SeedQueues(await links.writer.channel(), links.writer.user)
    dead = DeadLetters(reader, publishing, available, counters)
    seeds = SeedCatalog(reader, publishing, registry, available.pages, replicas)
    dispatcher = Dispatcher(
        connection=reader,
        registry=registry,
        work=work,
        available=available,
        dead=dead,
        replicas=replicas,
        events=events,
        trusted=trusted(settings, links),
        linger=settings.linger,
    )
    leases = Leases(
        get_pool=links.get_pool,
        registry=registry,
        work=work,
        available=available,
        replicas=replicas,
        events=events,
        timeout=settings.ack_timeout,
    )
    isolation = Isolation(
        registry=registry,
        work=work,
        available=available,
        dead=dead,
        publishing=publishing,
        management=links.management,
        replicas=replicas,
        patience=settings.last_offer_patience,
        broker_tick=settings.broker_tick,
    )
    heartbeats = Heartbeats(
        registry=registry,
        publishing=publishing,
        dead=dead,
        replicas=replicas,
        events=events,
        timeout=settings.worker_timeout,
        counters=counters,
    )
    throughput = Throughput(work)
    seed_stats = SeedStats(
        registry=registry,
        seeds=seeds,
        dispatcher=dispatcher,
        work=work,
        leases=leases,
        isolation=isolation,
        heartbeats=heartbeats,
        throughput=throughput,
        replicas=replicas,
        management=links.management,
    )
    held_batches = HeldBatches(work=work, leases=leases, heartbeats=heartbeats, replicas=replicas)
    overview = Overview(
        registry=registry,
        dispatcher=dispatcher,
        seed_stats=seed_stats,
        replicas=replicas,
        throughput=throughput,
        reader=reader,
        writer=links.writer,
        management=links.management,
    )
    callbacks = Callbacks(registry, settings.callback_hosts, settings.ca_file)
    workers = Workers(
        registry=registry,
        management=links.management,
        leases=leases,
        heartbeats=heartbeats,
        replicas=replicas,
        held_batches=held_batches,
        callbacks=callbacks,
        publishing=publishing,
        settings=settings,
    )
    seed_releases = SeedReleases(
        registry=registry,
        seeds=seeds,
        dispatcher=dispatcher,
        work=work,
        sweeper=Sweeper(links.get_pool, registry, work, available, events),
        leases=leases,
        isolation=isolation,
        replicas=replicas,
    )
    commands = Commands(
        registry=registry,
        seeds=seeds,
        seed_releases=seed_releases,
        seed_stats=seed_stats,
        heartbeats=heartbeats,
        workers=workers,
        callbacks=callbacks,
        publishing=publishing,
        counters=counters,
    )
    session = Session(
        instance=instance,
        registry=registry,
        publisher=work,
        seed_queues=available,
        catalog=seeds,
        dead_letters=dead,
        dispatcher=dispatcher,
        leases=leases,
        heartbeats=heartbeats,
        replicas=replicas,
        isolation=isolation,
        seed_stats=seed_stats,
        held_batches=held_batches,
        throughput=throughput,
        drained=DrainWatcher(
            registry=registry,
            dispatcher=dispatcher,
            available=available,
            work=work,
            seed_stats=seed_stats,
            events=events,
        ),
        events=events,
        overview=overview,
        workers=workers,
        callbacks=callbacks,
        commands=commands,
        publishing=publishing,
        writer=links.writer,
        reader=links.reader,
    )

    listen(session)
    return session


def listen(session: Session) -> None:
    """Connect the parts: who is told of what, and who answers which question of another replica."""
    replicas, publisher, dispatcher = session.replicas, session.publisher, session.dispatcher
    leases, isolation, releases = session.leases, session.isolation, session.commands.seed_releases
    session.registry.listen(dispatcher.on_event)
    publisher.on_room(dispatcher.wake)
    publisher.wanted_by(dispatcher.planner.demands)
    publisher.on_arrival(leases.wake_one)
    session.events.in_hand_by(session.heartbeats.held)
    session.heartbeats.on_silence(session.workers.fence)
    replicas.on_change(dispatcher.rebalance)
    replicas.on_change(isolation.doubt_others)
    replicas.tell(publisher.peer_load)
    replicas.tell(lambda: {"coordinator": session.overview.describe_self()})
    replicas.listen("settled", publisher.settled_by_peer)
    for about, answerer in {
        "events.find": session.events.find_for_peer,
        "events.since": session.events.since_for_peer,
        "figures.seeds": session.seed_stats.shares_for_peer,
        "holdings": session.held_batches.held_for_peer,
        "leases.settle": leases.settle_for_peer,
        "recall": releases.stop_for_peer,
        "recall.met": releases.met_for_peer,
        "seed.purged": session.catalog.wait_for_purge,
        "work.alone": isolation.alone_for_peer,
        "work.pause": isolation.pause_for_peer,
        "work.paused": isolation.paused_for_peer,
        "work.resume": isolation.resume_for_peer,
        "worker.release": session.workers.release_for_peer,
    }.items():
        replicas.answer(about, answerer)


def trusted(settings: Settings, links: Connections) -> frozenset[str]:
    """The broker users whose checked pages are relayed unread."""
    return frozenset({links.writer.user, *filter(None, settings.trusted_producers.split(","))})

"""Makes the parts of a session, floor by floor."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.get_pool import GetPool
from coordinator.broker.management import Management
from coordinator.node.dispatch.dispatcher import Dispatcher
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.dispatch.planner import Planner
from coordinator.node.dispatch.seed_consumer import ConsumerChannels
from coordinator.node.events import Events
from coordinator.node.failures.isolation import Isolation
from coordinator.node.leases import Leases
from coordinator.node.observe.drained import DrainWatcher
from coordinator.node.observe.overview import Overview
from coordinator.node.observe.seed_stats import SeedStats
from coordinator.node.observe.throughput import Throughput
from coordinator.node.process_state import ProcessState
from coordinator.node.registry import Registry
from coordinator.node.releases.commands import Commands
from coordinator.node.releases.seed_release import SeedReleases
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.seeds.catalog import SeedCatalog
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.assembly import make_publisher
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.workers.callbacks import Callbacks, read_hosts
from coordinator.node.workers.heartbeats import Heartbeats
from coordinator.node.workers.held_batches import HeldBatches
from coordinator.node.workers.workers import Workers
from coordinator.settings import Settings


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections and channels of a session; an alarm of the broker blocks the publishing connection alone."""

    reader: Connection
    writer: Connection
    get_pool: GetPool
    publishing: Channel
    management: Management


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What all floors are built on."""

    settings: Settings
    links: Connections
    process: ProcessState
    registry: Registry
    rpc: Rpc
    replicas: Replicas
    events: Events


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedParts:
    """The floor `seeds`."""

    seed_queues: SeedQueues
    dead_letters: DeadLetters
    catalog: SeedCatalog


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParts:
    """The floors between seeds and workers: `work_queues`, `dispatch`, `leases` and `failures`."""

    publisher: Publisher
    owned_seeds: OwnedSeeds
    dispatcher: Dispatcher
    leases: Leases
    isolation: Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """The floor `workers`."""

    heartbeats: Heartbeats
    held_batches: HeldBatches
    callbacks: Callbacks
    workers: Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveParts:
    """The floor `observe`."""

    throughput: Throughput
    seed_stats: SeedStats
    drained: DrainWatcher
    overview: Overview


def make_seeds(base: Base, seed_channel: Channel) -> SeedParts:
    """Make the floor `seeds`; `seed_channel` carries what is published into the queues of seeds."""
    links = base.links
    seed_queues = SeedQueues(publishing=seed_channel, user=links.writer.user)
    dead_letters = DeadLetters(
        connection=links.reader,
        publishing=links.publishing,
        seed_queues=seed_queues,
        counters=base.process.counters,
    )
    catalog = SeedCatalog(
        connection=links.reader,
        declaring=links.publishing,
        registry=base.registry,
        pages=seed_queues.pages,
        rpc=base.rpc,
    )
    return SeedParts(seed_queues=seed_queues, dead_letters=dead_letters, catalog=catalog)


def make_delivery(base: Base, seeds: SeedParts) -> DeliveryParts:
    """Make the floors `work_queues`, `dispatch`, `leases` and `failures`."""
    publisher = make_publisher(
        connection=base.links.writer,
        publishing=base.links.publishing,
        registry=base.registry,
        replicas=base.replicas,
        rpc=base.rpc,
        events=base.events,
        seed_queues=seeds.seed_queues,
        most=base.settings.window,
        counters=base.process.counters,
    )
    owned_seeds = _make_owned_seeds(base, seeds, publisher)
    return DeliveryParts(
        publisher=publisher,
        owned_seeds=owned_seeds,
        dispatcher=Dispatcher(seeds=owned_seeds, registry=base.registry, publisher=publisher),
        leases=_make_leases(base, seeds, publisher),
        isolation=_make_isolation(base, seeds, publisher),
    )


def _make_owned_seeds(base: Base, seeds: SeedParts, publisher: Publisher) -> OwnedSeeds:
    planner = Planner(
        registry=base.registry, depth=publisher.depth, in_flight=publisher.in_flight, linger=base.settings.linger
    )
    return OwnedSeeds(
        planner=planner,
        channels=ConsumerChannels(connection=base.links.reader),
        registry=base.registry,
        depth=publisher.depth,
        in_flight=publisher.in_flight,
        seed_queues=seeds.seed_queues,
        dead_letters=seeds.dead_letters,
        replicas=base.replicas,
        events=base.events,
        trusted=trusted(base),
        consumers=planner.consumers,
    )


def _make_leases(base: Base, seeds: SeedParts, publisher: Publisher) -> Leases:
    return Leases(
        get_pool=base.links.get_pool,
        registry=base.registry,
        publisher=publisher,
        seed_queues=seeds.seed_queues,
        rpc=base.rpc,
        events=base.events,
        timeout=base.settings.ack_timeout,
    )


def _make_isolation(base: Base, seeds: SeedParts, publisher: Publisher) -> Isolation:
    return Isolation(
        registry=base.registry,
        publisher=publisher,
        seed_queues=seeds.seed_queues,
        dead_letters=seeds.dead_letters,
        publishing=base.links.publishing,
        management=base.links.management,
        replicas=base.replicas,
        rpc=base.rpc,
        patience=base.settings.last_offer_patience,
        broker_tick=base.settings.broker_tick,
    )


def make_workers(base: Base, seeds: SeedParts, delivery: DeliveryParts) -> WorkerParts:
    """Make the floor `workers`."""
    settings, links, leases = base.settings, base.links, delivery.leases
    heartbeats = Heartbeats(
        registry=base.registry,
        publishing=links.publishing,
        dead_letters=seeds.dead_letters,
        replicas=base.replicas,
        events=base.events,
        timeout=settings.worker_timeout,
        counters=base.process.counters,
    )
    held_batches = HeldBatches(publisher=delivery.publisher, leases=leases, heartbeats=heartbeats, rpc=base.rpc)
    callbacks = Callbacks(registry=base.registry, hosts=read_hosts(settings.callback_hosts), ca_file=settings.ca_file)
    workers = Workers(
        registry=base.registry,
        management=links.management,
        leases=leases,
        heartbeats=heartbeats,
        replicas=base.replicas,
        rpc=base.rpc,
        held_batches=held_batches,
        callbacks=callbacks,
        publishing=links.publishing,
        settings=settings,
    )
    return WorkerParts(heartbeats=heartbeats, held_batches=held_batches, callbacks=callbacks, workers=workers)


def make_observe(base: Base, seeds: SeedParts, delivery: DeliveryParts, workers: WorkerParts) -> ObserveParts:
    """Make the floor `observe`."""
    throughput = Throughput(publisher=delivery.publisher)
    seed_stats = SeedStats(
        registry=base.registry,
        catalog=seeds.catalog,
        owned_seeds=delivery.owned_seeds,
        publisher=delivery.publisher,
        leases=delivery.leases,
        isolation=delivery.isolation,
        heartbeats=workers.heartbeats,
        throughput=throughput,
        rpc=base.rpc,
        management=base.links.management,
    )
    drained = DrainWatcher(
        registry=base.registry,
        owned_seeds=delivery.owned_seeds,
        seed_queues=seeds.seed_queues,
        publisher=delivery.publisher,
        seed_stats=seed_stats,
        events=base.events,
    )
    overview = Overview(
        registry=base.registry,
        owned_seeds=delivery.owned_seeds,
        seed_stats=seed_stats,
        replicas=base.replicas,
        throughput=throughput,
        reader=base.links.reader,
        writer=base.links.writer,
        management=base.links.management,
    )
    return ObserveParts(throughput=throughput, seed_stats=seed_stats, drained=drained, overview=overview)


def make_releases(
    base: Base, seeds: SeedParts, delivery: DeliveryParts, workers: WorkerParts, observe: ObserveParts
) -> Commands:
    """Make the floor `releases`."""
    sweeper = Sweeper(
        get_pool=base.links.get_pool,
        registry=base.registry,
        publisher=delivery.publisher,
        events=base.events,
    )
    seed_releases = SeedReleases(
        registry=base.registry,
        catalog=seeds.catalog,
        owned_seeds=delivery.owned_seeds,
        publisher=delivery.publisher,
        sweeper=sweeper,
        leases=delivery.leases,
        isolation=delivery.isolation,
        replicas=base.replicas,
        rpc=base.rpc,
    )
    return Commands(
        registry=base.registry,
        catalog=seeds.catalog,
        seed_releases=seed_releases,
        seed_stats=observe.seed_stats,
        heartbeats=workers.heartbeats,
        workers=workers.workers,
        callbacks=workers.callbacks,
        publishing=base.links.publishing,
        counters=base.process.counters,
    )


def trusted(base: Base) -> frozenset[str]:
    """Return the broker users whose checked pages are relayed unread."""
    return frozenset({base.links.writer.user, *filter(None, base.settings.trusted_producers.split(","))})

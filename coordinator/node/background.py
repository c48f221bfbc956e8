"""Makes what runs beside the floors of a session."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.node.failures.returns import Returns
from coordinator.node.observe.broker_poller import BrokerPoller
from coordinator.node.parts import Base, DeliveryParts, SeedParts, WorkerParts, trusted
from coordinator.node.releases.commands import CommandReader, Commands
from coordinator.node.seeds.catalog import Intake
from coordinator.node.seeds.purged_queues import PurgedQueues
from coordinator.node.workers.tag_notices import TagNotices


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundParts:
    """What runs beside the floors: it reads queues and figures, and no other part calls it."""

    intake: Intake
    returns: Returns
    command_reader: CommandReader
    purged_queues: PurgedQueues
    tag_notices: TagNotices
    broker_poller: BrokerPoller


def make_background(
    base: Base, seeds: SeedParts, delivery: DeliveryParts, workers: WorkerParts, commands: Commands
) -> BackgroundParts:
    """Make what runs beside the floors."""
    links, registry = base.links, base.registry
    return BackgroundParts(
        intake=Intake(
            catalog=seeds.catalog,
            seed_queues=seeds.seed_queues,
            dead_letters=seeds.dead_letters,
            trusted=trusted(base),
        ),
        returns=_make_returns(base, seeds, delivery),
        command_reader=CommandReader(commands=commands, publishing=links.publishing, dead_letters=seeds.dead_letters),
        purged_queues=PurgedQueues(
            catalog=seeds.catalog, registry=registry, replicas=base.replicas, management=links.management
        ),
        tag_notices=TagNotices(registry=registry, publishing=links.publishing),
        broker_poller=BrokerPoller(
            publisher=delivery.publisher,
            workers=workers.workers,
            leases=delivery.leases,
            heartbeats=workers.heartbeats,
            management=links.management,
            broker_tick=base.settings.broker_tick,
        ),
    )


def _make_returns(base: Base, seeds: SeedParts, delivery: DeliveryParts) -> Returns:
    return Returns(
        registry=base.registry,
        publisher=delivery.publisher,
        seed_queues=seeds.seed_queues,
        catalog=seeds.catalog,
        dead_letters=seeds.dead_letters,
        isolation=delivery.isolation,
        events=base.events,
        dealt=base.process.dealt,
        attempt_limit=base.settings.attempt_limit,
    )

"""Many seeds and workers, made through the real registry and the real presence."""

from __future__ import annotations

import asyncio

from coordinator import topology
from coordinator.broker.types import Message
from coordinator.domain.registry_events import SeedReleased, SeedSet
from coordinator.models import HeldBatch, Presence, SeedSpec
from coordinator.node.coordinator import Coordinator
from tests.helpers.steps import channel_of
from tests.helpers.support import eventually

SEEDS, WORKERS = 3000, 500
SINCE = "2026-01-01T00:00:00Z"


def seed_name(number: int) -> str:
    """One of the seeds."""
    return f"seed-{number:04}"


async def tell_of_workers(node: Coordinator) -> None:
    """Send the presence of all workers once; each holds one batch."""
    async with channel_of(node.settings) as channel:
        said = (
            Presence(
                worker=f"worker-{number:03}",
                tags=("web",),
                capacity=4,
                held=(HeldBatch(batch=f"batch-{number}", seed=seed_name(number), count=100, since=SINCE, begun=True),),
            )
            for number in range(WORKERS)
        )
        messages = (Message(presence.model_dump_json().encode()) for presence in said)
        await asyncio.gather(*(channel.publish(topology.PRESENCE, "", message) for message in messages))


async def gather_crowd(node: Coordinator) -> None:
    """Have them all known to a coordinator. The seeds are released: they have no consumer, so no queue is missed."""
    async with channel_of(node.settings) as channel:
        events = (
            event
            for name in map(seed_name, range(SEEDS))
            for event in (
                SeedSet(id=f"set {name}", at=0.0, seed=name, spec=SeedSpec()),
                SeedReleased(id=f"released {name}", at=0.0, seed=name),
            )
        )
        messages = (Message(event.model_dump_json().encode()) for event in events)
        await asyncio.gather(*(channel.publish("", topology.REGISTRY, message) for message in messages))
    await node.session.registry.sync()
    await tell_of_workers(node)
    await eventually(lambda: len(node.session.workers.known()) == WORKERS, "all workers")

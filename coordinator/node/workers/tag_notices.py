"""Announces new work queues to workers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.domain.registry_events import Event, SeedSet
from coordinator.domain.tags import TagSet
from coordinator.node.registry import Registry
from coordinator.node.workers.heartbeats import tags_notice


@dataclass(slots=True, kw_only=True)
class TagNotices:
    """Sends a notice for each work queue that comes into being."""

    registry: Registry
    publishing: Channel
    _known: set[TagSet] = field(default_factory=set, init=False)
    _new: asyncio.Queue[TagSet] = field(default_factory=asyncio.Queue, init=False)

    def __post_init__(self) -> None:
        self._known.update(self.registry.state.tag_sets)

    def on_event(self, event: Event) -> None:
        """Queue a notice where a seed gets tags that no seed had."""
        if isinstance(event, SeedSet) and event.spec.tags not in self._known:
            self._known.add(event.spec.tags)
            self._new.put_nowait(event.spec.tags)

    async def run(self) -> None:
        """Send notices until cancelled."""
        while True:
            tags = await self._new.get()
            await self.publishing.declare_queue(topology.work_queue(tags))
            await self.publishing.publish(topology.CONTROL, "", tags_notice(tags))

"""A broker for the messages of replicas, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.types import Message
from coordinator.errors import UnroutableError
from coordinator.node.replicas.rpc import Rpc


@dataclass(slots=True)
class FakeDelivery:
    """A message that came."""

    body: bytes
    is_acked: bool = False

    def ack_soon(self) -> None:
        """Ack it."""
        self.is_acked = True


@dataclass(slots=True)
class Bus:
    """Queues by name, each with its consumer; `sent` are the messages that replicas published."""

    consumers: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def channel(self) -> Channel:
        """Return a channel to it."""
        return cast("Channel", self)

    async def declare_own_queue(self, name: str, bindings: list[tuple[str, str]]) -> str:
        """Accept a queue."""
        assert bindings == [(topology.COORDINATORS, "")]
        return name

    async def consume(self, queue: str, on_delivery: Callable[[Any], None], *, prefetch: int) -> None:
        """Deliver what comes to a queue."""
        assert prefetch
        self.consumers[queue] = on_delivery

    async def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> None:
        """Deliver at once."""
        assert mandatory
        self.sent.append(orjson.loads(message.body))
        self.news.set()
        self.deliver(exchange, key, message.body)

    def deliver(self, exchange: str, key: str, body: bytes) -> None:
        """Deliver a message to its queue, or to all queues."""
        if exchange:
            for on_delivery in list(self.consumers.values()):
                on_delivery(FakeDelivery(body))
        elif key in self.consumers:
            self.consumers[key](FakeDelivery(body))
        else:
            raise UnroutableError(f"no queue {key!r}")

    def send(self, instance: str, **envelope: object) -> None:
        """Send a message to a replica, as another version of the program would write it."""
        self.deliver("", topology.coordinator_queue_name(instance), orjson.dumps(envelope))

    async def rpc(self, instance: str) -> Rpc:
        """Return what a replica asks and answers by, its queue open."""
        rpc = Rpc(instance=instance, publishing=self.channel())
        await rpc.open(self.channel())
        return rpc

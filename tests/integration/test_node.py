"""The node's beginning and end."""

from __future__ import annotations

import asyncio

import pytest

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.types import Message
from coordinator.errors import BrokerUnavailableError
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings


async def test_a_node_ends_when_it_is_cancelled(settings: Settings) -> None:
    """A cancelled node ends, even in the midst of its start, when its parts fail by being cancelled."""
    for turns in range(0, 300, 20):
        node = Coordinator(settings)
        task = asyncio.create_task(node.run())
        async with asyncio.timeout(20):
            await node.wait_ready()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        assert done, f"cancelled {turns} turns of the loop after it was ready, it goes on"
        assert task.cancelled()


async def test_a_mark_that_the_registry_loses_is_set_once_more(
    node: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream confirms nothing while its leader changes: dispatch waits for the next mark, and no session ends."""
    publish, lost = Channel.publish, list[Message]()

    async def losing(self: Channel, exchange: str, key: str, message: Message, *, mandatory: bool = False) -> None:
        if key == topology.REGISTRY and not lost:
            lost.append(message)
            raise BrokerUnavailableError("the broker did not confirm in time")
        await publish(self, exchange, key, message, mandatory=mandatory)

    monkeypatch.setattr(Channel, "publish", losing)
    session = node.session
    await session.registry.sync()
    assert lost
    assert node.session is session

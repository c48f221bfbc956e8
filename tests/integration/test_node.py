"""The node's beginning and end."""

from __future__ import annotations

import asyncio

from coordinator.node.node import Node
from coordinator.settings import Settings


async def test_a_node_ends_when_it_is_cancelled(settings: Settings) -> None:
    """A cancelled node ends, even in the midst of its start, when its parts fail by being cancelled."""
    for turns in range(0, 300, 20):
        node = Node(settings)
        task = asyncio.create_task(node.run())
        async with asyncio.timeout(20):
            await node.wait_ready()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"cancelled {turns} turns of the loop after it was ready, it goes on"
        assert task.cancelled()

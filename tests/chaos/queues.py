"""Queues that are deleted behind the coordinators' back, and those that a broken broker has lost."""

from __future__ import annotations

import asyncio
import random

import httpx
import structlog

from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.errors import ManagementError, QueueMissingError, QueueSilentError
from tests.chaos.world import World

log = structlog.get_logger(__name__)

DELETABLE = ("commands", "work.doomed")
"""Queues whose loss is survivable: commands not yet read, and the batches of one tag, which are lost."""
RECOVERY = 1.0
LOOK = 0.2
FILLS = 25
"""Looks within which a queue that shall be deleted has something in it, if ever."""
ELECTION = 10
"""Seconds within which a queue whose nodes are all back has a leader, if ever."""
SETTLED = 3.0
"""Seconds after which a queue is old enough to outlive a kill of all nodes; within one second it is lost for good."""


async def delete_dead_queues(world: World) -> None:
    """Delete those that were made anew while a node was away and have no leader for good: only an operator can."""
    management, unlisted = Management(world.management_url, world.vhost), set(DELETABLE)
    try:
        for _ in range(ELECTION):
            unlisted = unlisted.difference(await management.totals())
            await asyncio.sleep(RECOVERY)
    finally:
        await management.close()
    for queue in [one for one in DELETABLE if one in unlisted or not await _answers(world, one)]:
        log.warning("chaos.queue_dead", queue=queue)
        async with world.struck("queue-deleted", queue, "it had no leader any more"):
            await _delete(world, queue)


async def _answers(world: World, queue: str) -> bool:
    """Whether a queue can be consumed; RabbitMQ 4 lists some that cannot."""
    connection = await Connection.open(world.urls, "chaos-heal")
    try:
        await connection.must_answer(queue)
    except QueueMissingError:
        return True
    except QueueSilentError:
        return False
    else:
        return True
    finally:
        await connection.close()


async def _delete(world: World, queue: str) -> None:
    """Delete a queue. That no node knows it cannot be proved: coordinators and workers declare it again at once.

    Raises:
        AssertionError: the broker did not delete it, though it is there.
    """
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.delete(f"{world.management_url}/api/queues/{world.vhost}/{queue}")
    if answer.status_code not in {204, 404}:
        raise AssertionError(f"the queue {queue!r} is not deleted: {answer.status_code} {answer.text}")


async def delete_queue(world: World, rng: random.Random) -> None:
    """Delete a queue whose loss is survivable, while all nodes are there, and until it is made anew and has settled.

    One that holds something, if that can be had: mostly they are empty.
    """
    queue = rng.choice((*DELETABLE, "work.doomed"))
    management = Management(world.management_url, world.vhost)
    try:
        async with world.whole:
            held = await _messages_in(management, queue)
            for _ in range(FILLS):
                if held:
                    break
                await asyncio.sleep(LOOK)
                held = await _messages_in(management, queue)
            async with world.struck("queue-deleted", queue, f"messages in it: {held}"):
                await _delete(world, queue)
                for _ in range(ELECTION):
                    await asyncio.sleep(RECOVERY)
                    if queue in await management.totals():
                        break
            await asyncio.sleep(SETTLED)
    except (httpx.HTTPError, ManagementError):
        await asyncio.sleep(RECOVERY)
    finally:
        await management.close()


async def _messages_in(management: Management, queue: str) -> int:
    totals = (await management.totals()).get(queue)
    return totals.ready + totals.unacked if totals else 0

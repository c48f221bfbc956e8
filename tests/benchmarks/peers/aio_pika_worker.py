"""A worker of bare aio-pika on the project's own batches: decode, hand over, ack.

With `models` each item becomes a pydantic model. Settings: acks one by one, or in twenties by one frame.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage
from pydantic import BaseModel, ConfigDict

from tests.benchmarks.payload import Tally

PREFETCH = 100
TOGETHER = 20


class Item(BaseModel):
    """An item, with whatever else it holds."""

    model_config = ConfigDict(extra="allow")

    id: str
    n: int
    action: Literal["process", "scan"] = "process"
    url: str | None = None
    metadata: dict[str, Any] | None = None


class Batch(BaseModel):
    """A batch of the project."""

    id: str
    seed: str
    epoch: int
    attempt: int
    tags: list[str]
    created: str
    items: list[Item]


async def work(url: str, queue_name: str, *, models: bool, together: int) -> None:
    """Work until killed."""
    tally = Tally.of_environment()
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.get_queue(queue_name, ensure=False)
    waiting = 0

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal waiting
        if models:
            tally.numbers([item.n for item in Batch.model_validate_json(message.body).items])
        else:
            tally.batch(orjson.loads(message.body)["items"])
        waiting += 1
        if waiting == together:
            waiting = 0
            await message.ack(multiple=True)

    await queue.consume(take)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], models=sys.argv[3] == "models", together=int(sys.argv[4])))

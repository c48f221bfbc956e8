"""FastStream on the same queue and batches as the project's worker.

Settings, both acking when the handler is through (`AckPolicy.REJECT_ON_ERROR`, the default,
https://faststream.ag2.ai/latest/getting-started/acknowledgement/), with a prefetch of 100 by the channel
(https://faststream.ag2.ai/latest/rabbit/): plain dictionaries, or pydantic models as its documentation begins with.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitQueue

from tests.benchmarks.payload import Tally, pages, text
from tests.benchmarks.peers.aio_pika_worker import PREFETCH, Batch

QUEUE = os.environ["BENCH_QUEUE"]
WINDOW = 100
broker = RabbitBroker(os.environ["BENCH_URL"], logger=None, default_channel=Channel(prefetch_count=PREFETCH))
app = FastStream(broker, logger=None)
queue = RabbitQueue(QUEUE, declare=False)


def subscribe(setting: str) -> None:
    """Have the handler of this setting."""
    tally = Tally.of_environment()
    if setting == "models":

        @broker.subscriber(queue, RabbitExchange(declare=False))
        async def models(batch: Batch) -> None:
            tally.numbers([item.n for item in batch.items])

    else:

        @broker.subscriber(queue, RabbitExchange(declare=False))
        async def plain(batch: dict[str, Any]) -> None:
            tally.batch(batch["items"])


async def produce(made: list[list[dict[str, Any]]]) -> None:
    """Publish pages as batches, confirmed, many at once."""
    left = enumerate(made)

    async def lane() -> None:
        for number, items in left:
            batch = {"id": str(number), "seed": "s", "epoch": 1, "attempt": 1, "tags": [], "created": ""}
            body = text({**batch, "items": items})
            await broker.publish(body, queue=QUEUE, persist=True, content_type="application/json")

    async with broker:
        await asyncio.gather(*(lane() for _ in range(WINDOW)))


if __name__ == "__main__":
    if sys.argv[1] == "produce":
        asyncio.run(produce(pages(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        subscribe(sys.argv[1])
        asyncio.run(app.run())

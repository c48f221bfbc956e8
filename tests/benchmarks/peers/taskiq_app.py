"""Taskiq with its aio-pika broker: its task gets a batch.

Queues are quorum queues by default (https://github.com/taskiq-python/taskiq-aio-pika), acks come when the task is
executed (`--ack-type when_executed`, https://taskiq-python.github.io/guide/message-acknowledgement.html). One worker
process; `--no-parse` leaves pydantic out (https://taskiq-python.github.io/guide/cli.html). Settings: a prefetch
(`qos`) of 20 or 100.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue

from tests.benchmarks.payload import Tally, pages

WINDOW = 100
broker = AioPikaBroker(
    os.environ["BENCH_URL"],
    qos=int(os.environ.get("BENCH_SETTING", "20")),
    task_queues=[Queue(name=os.environ["BENCH_QUEUE"])],
)
tally = Tally.of_environment()


@broker.task(task_name="take")
async def take(items: list[dict[str, Any]]) -> None:
    """Do nothing but count."""
    tally.batch(items)


async def produce(made: list[list[dict[str, Any]]]) -> None:
    """Send all batches, many at once."""
    left = iter(made)

    async def lane() -> None:
        for one in left:
            await take.kiq(one)

    await broker.startup()
    await asyncio.gather(*(lane() for _ in range(WINDOW)))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(produce(pages(int(sys.argv[2]), int(sys.argv[3]))))

"""Our producer, as its user has it: `producer URL SEED PAGES SIZE` submits so many pages of so many items, and ends.

Full pages go through the client library, item by item. Smaller ones are what a worker discovers, and are sent as the
worker sends them. As with the peers, the items are made before the first is sent.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import cast

import orjson

from coordinator import topology
from coordinator.broker.batch_codec import page_message
from coordinator.broker.connection import Connection
from coordinator.client.producer import Producer
from coordinator.models import Item
from tests.benchmarks import payload

WINDOW = 100
"""Of small pages that wait for their confirms: what the peers' producers have, too."""


async def submit(url: str, seed: str, pages: list[list[Item]]) -> None:
    """Submit full pages."""
    async with Producer([url], "bench-producer") as producer:
        await producer.submit(seed, itertools.chain.from_iterable(pages))


async def discover(url: str, seed: str, pages: list[list[Item]]) -> None:
    """Submit each page as it is."""
    connection = await Connection.open([url], "bench-producer")
    try:
        channel = await connection.channel()
        left = enumerate(pages)

        async def lane() -> None:
            for number, page in left:
                message = page_message(orjson.dumps(page)[1:-1], len(page), f"page-{number}", connection.user)
                await channel.publish(topology.ITEMS, seed, message, mandatory=True)

        await asyncio.gather(*(lane() for _ in range(WINDOW)))
    finally:
        await connection.close()


def main(url: str, seed: str, count: int, size: int) -> None:
    """Make the items, and send them."""
    pages = cast("list[list[Item]]", payload.pages(count, size))
    asyncio.run((submit if size == payload.ITEMS else discover)(url, seed, pages))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

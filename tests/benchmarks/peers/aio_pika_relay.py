"""A relay of bare aio-pika: consume, publish confirmed, ack.

Many messages are under way at once, since a confirm takes far longer than a publication
(https://www.rabbitmq.com/docs/confirms, on publishing in batches and asynchronously); a window of confirms is awaited
together, and acked by one frame (`multiple`). Its setting is how many that are.
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage


async def send(exchange: AbstractExchange, message: AbstractIncomingMessage, to: str) -> None:
    """Publish what came, and wait for the confirm."""
    copy = aio_pika.Message(
        message.body,
        headers=message.headers,
        content_type=message.content_type,
        message_id=message.message_id,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await exchange.publish(copy, to)


async def relay(url: str, source: str, to: str, window: int) -> None:
    """Relay until killed."""
    reader = await aio_pika.connect(url)
    writer = await aio_pika.connect(url)
    reading = await reader.channel()
    await reading.set_qos(prefetch_count=3 * window)
    queue = await reading.get_queue(source, ensure=False)
    exchange = (await writer.channel(publisher_confirms=True)).default_exchange
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(arrived.put)
    while True:
        messages = [await arrived.get()]
        while len(messages) < window and not arrived.empty():
            messages.append(arrived.get_nowait())
        await asyncio.gather(*(send(exchange, message, to) for message in messages))
        await messages[-1].ack(multiple=True)


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))

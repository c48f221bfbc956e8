"""A stock client as a party: nothing but an AMQP library that consumes, acks, and sometimes rejects or gives back.

`python -m tests.chaos.stock` with a worker's `Config` as JSON on standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
from dataclasses import dataclass, field

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPException

from tests.chaos.handler import Work
from tests.chaos.hands import Hands, hands_beside
from tests.chaos.history import Delivered, How, Recorder, Settled
from tests.chaos.worker import Config

PREFETCH = 3
GIVES_BACK = 0.005
AGAIN = 0.5
GONE = (AMQPError, AMQPException, OSError, TimeoutError, RuntimeError)


@dataclass(slots=True)
class Client:
    """One stock client: a connection after the other, one batch after the other."""

    config: Config
    recorder: Recorder
    work: Work
    hands: Hands
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    open: dict[str, AbstractIncomingMessage] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; what is in hand then is lost with the connection, as it is with many clients."""
        urls = itertools.cycle(self.config.amqp_urls)
        while not stop.is_set():
            with contextlib.suppress(*GONE):
                await self._live(next(urls), stop)
            for hold in self.open:
                self._settled(hold, "lost")
            self.open.clear()
            self.hands.hold(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await stop.wait()

    async def _live(self, url: str, stop: asyncio.Event) -> None:
        name = f"worker:{self.config.id}"
        async with asyncio.timeout(10):
            connection = await aio_pika.connect(f"{url}?heartbeat=10", client_properties={"connection_name": name})
        ended = asyncio.Event()
        connection.close_callbacks.add(lambda *_: ended.set())
        inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, connection)
            channel = await connection.channel()
            channel.close_callbacks.add(lambda *_: ended.set())
            await channel.set_qos(prefetch_count=PREFETCH)
            for queue in self.config.queues:
                found = await channel.get_queue(queue, ensure=False)
                await found.consume(inbox.put, timeout=10)
            watch = [asyncio.create_task(one.wait()) for one in (ended, stop)]
            working = asyncio.create_task(self._work_off(channel, inbox))
            try:
                await asyncio.wait([*watch, working], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*watch, working):
                    task.cancel()
                await asyncio.gather(*watch, working, return_exceptions=True)

    async def _work_off(
        self, channel: aio_pika.abc.AbstractChannel, inbox: asyncio.Queue[AbstractIncomingMessage]
    ) -> None:
        ready: asyncio.Queue[tuple[str, AbstractIncomingMessage]] = asyncio.Queue()
        receiving = asyncio.create_task(self._receive(inbox, ready))
        try:
            while True:
                await self._one(channel, *(await ready.get()))
        finally:
            receiving.cancel()

    async def _receive(
        self,
        inbox: asyncio.Queue[AbstractIncomingMessage],
        ready: asyncio.Queue[tuple[str, AbstractIncomingMessage]],
    ) -> None:
        """Write a delivery down when it comes, not when its turn does."""
        while True:
            message = await inbox.get()
            hold = f"{self.config.id}.{os.getpid()}.{next(self.numbers)}"
            self.open[hold] = message
            self.hands.hold(len(self.open))
            self.recorder.write(delivered(hold, self.config.id, message))
            ready.put_nowait((hold, message))

    async def _one(self, channel: aio_pika.abc.AbstractChannel, hold: str, message: AbstractIncomingMessage) -> None:
        body = orjson.loads(message.body)
        for item in body["items"]:
            self.work.fail_if_told(item["id"])
        await asyncio.sleep(sum(random.uniform(0, self.work.seconds) for _ in body["items"]))
        choice = random.random()
        if choice < self.work.rejects:
            self._settled(hold, "rejected")
            await message.reject(requeue=False)
        elif choice < self.work.rejects + GIVES_BACK:
            self._settled(hold, "given back", tuple(item["id"] for item in body["items"]))
            exchange = await channel.get_exchange("returns", ensure=False)
            headers = {**message.headers, "reason": "not now"}
            back = aio_pika.Message(message.body, headers=headers, message_id=message.message_id, delivery_mode=2)
            await exchange.publish(back, "", mandatory=True, timeout=60)
            await message.ack()
        else:
            self._settled(hold, "acking")
            await message.ack()
            self._settled(hold, "acked")
        self.open.pop(hold, None)
        self.hands.hold(len(self.open))

    def _settled(self, hold: str, how: How, items: tuple[str, ...] = ()) -> None:
        self.recorder.write(Settled(hold=hold, how=how, items=items))


def delivered(hold: str, worker: str, message: AbstractIncomingMessage) -> Delivered:
    """A delivery as the client sees it."""
    body = orjson.loads(message.body)
    return Delivered(
        hold=hold,
        worker=worker,
        transport="stock",
        batch=message.message_id or body["id"],
        seed=body["seed"],
        epoch=body["epoch"],
        attempt=body["attempt"],
        flag=bool(message.redelivered),
        header=message.headers.get("redelivered") is True,
        items=tuple(item["id"] for item in body["items"]),
    )


async def _close(connection: aio_pika.abc.AbstractConnection) -> None:
    with contextlib.suppress(*GONE):
        async with asyncio.timeout(5):
            await connection.close()


async def main() -> None:
    """Read the settings and run until SIGTERM."""
    config = Config.model_validate_json(sys.stdin.buffer.read())
    recorder = Recorder(config.history, config.id)
    work = Work(recorder, config.id, config.seconds, config.rejects)
    work.listen()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Client(config, recorder, work, Hands(hands_beside(config.history), config.id)).run(stop)


if __name__ == "__main__":
    asyncio.run(main())

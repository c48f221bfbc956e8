"""What the tests share: a virtual host of their own on a real broker, a running coordinator, a stock worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import httpx
import orjson
from pydantic import SecretStr
from starlette.types import ASGIApp

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.http.app import create_app
from coordinator.http.server import Server, scheme_of, server_config
from coordinator.local_rabbitmq.config import FIGURES_LAG
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.tls import verification

DEADLINE = 20.0
PREFIX = "/aspire_api/manager"


async def eventually(holds: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Wait until something holds; fail with what was waited for."""
    begun = asyncio.get_running_loop().time()
    pause = asyncio.Event()
    while not holds():
        if asyncio.get_running_loop().time() - begun > deadline:
            raise AssertionError(f"waited {deadline:g} s in vain: {what}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await pause.wait()


def client_of(url: str, *, timeout: float = 30, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - any of httpx
    """Return a client that reads all known authorities (20 ms of CPU) only where the URL needs them."""
    return httpx.AsyncClient(
        base_url=url, timeout=timeout, trust_env=False, **{"verify": verification(url, None), **options}
    )


@contextlib.asynccontextmanager
async def own_vhost(
    urls: BrokerUrls,
    *,
    delete: bool = True,
    **settings: Any,  # noqa: ANN401 - any setting
) -> AsyncIterator[Settings]:
    """A virtual host for one test, as settings of a coordinator; deleted at the end, unless the broker ends too."""
    name = f"test-{uuid4().hex[:12]}"
    nodes = [urlsplit(url) for url in urls.amqp.split(",")]
    management = urlsplit(urls.management.split(",")[0])
    base = f"{management.scheme}://{management.netloc.rpartition('@')[2]}"
    user, password = nodes[0].username or "guest", nodes[0].password or "guest"
    async with client_of(base, timeout=60, auth=(user, password)) as http:
        made = await http.put(f"/api/vhosts/{name}")
        assert made.is_success, f"the broker made no virtual host: {made.status_code} {made.text}"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        (await http.put(f"/api/permissions/{name}/{quote(user)}", json=everything)).raise_for_status()
        try:
            amqp = ",".join(urlunsplit((node.scheme, node.netloc, f"/{name}", "", "")) for node in nodes)
            # No batch goes back for being held long, unless a test is about that: on a busy machine a test takes long.
            given = {"tokens_file": Path(tempfile.gettempdir()) / name / "none.json", "ack_timeout": 300, **settings}
            yield Settings(amqp_url=SecretStr(amqp), management_url=SecretStr(urls.management), **given)
        finally:
            if delete:
                await _delete_vhost(http, name)


async def _delete_vhost(http: httpx.AsyncClient, name: str) -> None:
    for one in (await http.get("/api/users")).json():
        if str(one["name"]).startswith(f"worker:{name}:"):
            await http.delete(f"/api/users/{quote(str(one['name']), safe='')}")
    await http.delete(f"/api/vhosts/{name}")


@contextlib.asynccontextmanager
async def running_coordinator(settings: Settings) -> AsyncIterator[Coordinator]:
    """A coordinator in this process, ready."""
    node = Coordinator(settings.model_copy(update={"broker_tick": FIGURES_LAG}))
    task = asyncio.create_task(node.run())
    ready = asyncio.create_task(node.wait_ready())
    try:
        await asyncio.wait({task, ready}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        assert ready.done(), node.problem
        yield node
    finally:
        ready.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def serving(node: Coordinator) -> AsyncIterator[str]:
    """The shim of this node on a free port of loopback; gives its base URL."""
    async with serving_app(create_app(node), node.settings) as url:
        yield url


@contextlib.asynccontextmanager
async def serving_app(app: ASGIApp, settings: Settings) -> AsyncIterator[str]:
    """An application on a free port of loopback, served as `coordinator serve` does; gives its base URL."""
    # With the protocol named: asyncio turns the delay of small writes (40 ms) off only where a socket says it is TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(server_config(app, settings))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started, "the HTTP server")
        try:
            yield f"{scheme_of(settings)}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            await task


@dataclass
class StockWorker:
    """A worker that is nothing but an AMQP client: it keeps what it was given, and acks when told."""

    connection: Connection
    channel: Channel
    deliveries: list[Delivery] = field(default_factory=list)

    @classmethod
    async def consume(
        cls, settings: Settings, queue: str = "work", *, prefetch: int = 5, name: str = "stock"
    ) -> StockWorker:
        """Connect and consume a work queue."""
        connection = await Connection.open(settings.amqp_urls(), name)
        worker = cls(connection, await connection.channel())
        await worker.channel.consume(queue, worker.deliveries.append, prefetch=prefetch)
        return worker

    @property
    def batches(self) -> list[dict[str, Any]]:
        """The bodies of what came, decoded."""
        return [orjson.loads(delivery.body) for delivery in self.deliveries]

    async def ack_all(self) -> None:
        """Ack what has come and forget it."""
        taken, self.deliveries[:] = list(self.deliveries), []
        for delivery in taken:
            await delivery.ack()

    async def close(self) -> None:
        """Disconnect; what is unacked fails."""
        await self.connection.close()


@dataclass
class Drain:
    """A stock worker that acks everything at once and remembers the items."""

    connection: Connection
    seen: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Items by seed."""

    @classmethod
    async def begin(cls, settings: Settings, *queues: str, prefetch: int = 20) -> Drain:
        """Connect and consume these work queues."""
        drain = cls(await Connection.open(settings.amqp_urls(), "drain"))
        channel = await drain.connection.channel()
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def take(delivery: Delivery) -> None:
            batch = orjson.loads(delivery.body)
            drain.seen.append(batch)
            drain.counts[batch["seed"]] += len(batch["items"])
            task = loop.create_task(delivery.ack())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        for queue in queues or ("work",):
            await channel.consume(queue, take, prefetch=prefetch)
        return drain

    def items(self, seed: str | None = None) -> list[str]:
        """Ids of the items that came, in order."""
        return [item["id"] for batch in self.seen if seed in {None, batch["seed"]} for item in batch["items"]]

    async def close(self) -> None:
        """Disconnect."""
        await self.connection.close()


async def publish_items(settings: Settings, seed: str, pages: list[list[dict[str, Any]]]) -> None:
    """Publish pages as a stock producer does, confirmed."""
    connection = await Connection.open(settings.amqp_urls(), "producer")
    try:
        channel = await connection.channel()
        await asyncio.gather(
            *(channel.publish("items", seed, Message(orjson.dumps(page)), mandatory=True) for page in pages)
        )
    finally:
        await connection.close()


def items(count: int, prefix: str = "i") -> list[dict[str, Any]]:
    """So many items with ids of their own."""
    return [{"id": f"{prefix}{number}"} for number in range(count)]


def in_ci() -> bool:
    """Whether this runs in CI, where a missing broker is a failure."""
    return bool(os.environ.get("CI"))

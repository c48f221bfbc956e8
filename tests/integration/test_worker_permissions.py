"""What the broker user of a registered worker may do, and what not: each operation on each kind of name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiormq
import httpx
import pytest
from aiormq.abc import AbstractChannel

from coordinator.domain.registry_events import WorkerRemoved
from coordinator.node.coordinator import Coordinator
from coordinator.node.workers.broker_users import worker_user
from coordinator.settings import Settings
from tests.helpers.steps import put_seed

Act = Callable[[AbstractChannel, str], Coroutine[Any, Any, object]]

OWN: Final = "worker.w"
FOREIGN_QUEUES: Final = (
    "work.secret",
    "work.gpu+secret",
    "seed.s",
    "returns",
    "commands",
    "dead",
    "registry",
    "items.unrouted",
    "worker.other",
    "worker.w2",
)
"""Queues that are none of a worker's business; it has the tags gpu and x, and its id is w."""
READABLE: Final = (OWN, "work", "work.gpu")
WRITABLE: Final = ("items", "results", "returns", "presence")
FOREIGN_EXCHANGES: Final = (
    "",
    "control",
    "commands",
    "items.unrouted",
    "amq.direct",
    "amq.topic",
    "amq.fanout",
    "amq.headers",
)


async def _consume(channel: AbstractChannel, queue: str) -> object:
    async def ignore(_: object) -> None:
        pass

    return await channel.basic_consume(queue, ignore)


async def _bind(channel: AbstractChannel, exchange: str) -> object:
    return await channel.queue_bind(OWN, exchange, "s")


async def _bind_work(channel: AbstractChannel, queue: str) -> object:
    return await channel.queue_bind(queue, "control", "")


async def _unbind(channel: AbstractChannel, name: str) -> object:
    return await channel.queue_unbind(name, name, "#" if name == "commands" else "")


async def _publish(channel: AbstractChannel, exchange: str) -> object:
    return await channel.basic_publish(b"{}", exchange=exchange, routing_key="seed.s")


async def _publish_work(channel: AbstractChannel, queue: str) -> object:
    return await channel.basic_publish(b"{}", exchange="", routing_key=queue)


async def _publish_as(channel: AbstractChannel, user: str) -> object:
    properties = aiormq.spec.Basic.Properties(user_id=user)
    return await channel.basic_publish(b"{}", exchange="results", routing_key="s", properties=properties)


async def _exchange_bind(channel: AbstractChannel, exchange: str) -> object:
    return await channel.exchange_bind(destination=exchange, source="control")


MATRIX: list[tuple[str, Act, tuple[str, ...], tuple[str, ...]]] = [
    ("consume", _consume, READABLE, FOREIGN_QUEUES),
    ("get", lambda channel, queue: channel.basic_get(queue), READABLE, FOREIGN_QUEUES),
    # Whoever may consume a queue may also purge it: RabbitMQ knows no difference.
    ("purge", lambda channel, queue: channel.queue_purge(queue), READABLE, FOREIGN_QUEUES),
    ("delete", lambda channel, queue: channel.queue_delete(queue), (OWN,), ("work", "work.gpu", *FOREIGN_QUEUES)),
    (
        "declare",
        lambda channel, queue: channel.queue_declare(queue, durable=True),
        (),
        ("work", "work.gpu", "anything", *FOREIGN_QUEUES),
    ),
    ("publish", _publish, WRITABLE, FOREIGN_EXCHANGES),
    ("publish to a queue", _publish_work, (), (OWN, "work", "work.gpu", *FOREIGN_QUEUES)),
    ("publish as another", _publish_as, (), ("worker:/:other", "guest")),
    ("bind its own queue", _bind, ("control",), (*WRITABLE, "commands", "items.unrouted", "amq.topic")),
    # The exchange `returns`, which workers write, has the name of its queue, and permissions know names alone. What
    # comes into that queue by such a binding a worker could also publish.
    (
        "bind a queue",
        _bind_work,
        (OWN, "returns"),
        ("work", "work.gpu", *(name for name in FOREIGN_QUEUES if name != "returns")),
    ),
    ("unbind", _unbind, (), ("returns", "commands", "items.unrouted")),
    # The same holds for exchanges: notices led into them are what a worker could publish there.
    ("bind an exchange", _exchange_bind, WRITABLE, ("commands", "items.unrouted", "amq.fanout", "amq.topic")),
    (
        "declare an exchange",
        lambda channel, exchange: channel.exchange_declare(exchange, exchange_type="fanout", durable=True),
        (),
        (*WRITABLE, "control", "commands", "anything"),
    ),
    (
        "delete an exchange",
        lambda channel, exchange: channel.exchange_delete(exchange),
        (),
        (*WRITABLE, "control", "commands", "items.unrouted"),
    ),
]
"""Operations; on what a worker may do them, and on what not."""


async def is_allowed(connection: aiormq.abc.AbstractConnection, act: Act, name: str) -> bool:
    """Whether the broker lets this connection do something; each attempt has a channel of its own."""
    channel = await connection.channel()
    try:
        await act(channel, name)
    except aiormq.exceptions.ChannelAccessRefused:
        return False
    except aiormq.exceptions.ChannelPreconditionFailed:  # what the broker says of a foreign user id
        return False
    await channel.close()
    return True


@pytest.fixture
async def url(api: httpx.AsyncClient) -> str:
    """The AMQP URL of the worker `w`, beside others, and seeds with tags that it has and has not."""
    for seed, tags in (("s", ()), ("t", ("gpu",)), ("u", ("secret",)), ("v", ("gpu", "secret"))):
        await put_seed(api, seed, policies=[{"type": "route", "routeTo": tag} for tag in tags])
    for other in ("other", "w2"):
        assert (await api.put(f"/worker/{other}", json={})).status_code == 200
    answer = await api.put("/worker/w", json={"tags": ["gpu", "x"]})
    given: str = answer.json()["amqpUrl"]
    return given


async def test_what_a_worker_may_do(url: str) -> None:
    """A worker reads its work and its own queue, and writes where workers write; all else is refused by the broker."""
    connection = await aiormq.connect(url)
    for what, act, allowed, refused in MATRIX:
        for name in (*allowed, *refused):
            own = await connection.channel()
            await own.queue_declare(OWN, exclusive=True, auto_delete=False)
            assert await is_allowed(connection, act, name) is (name in allowed), (what, name)
            await own.close()
    await connection.close()


async def test_a_worker_has_one_virtual_host_and_no_management(url: str, settings: Settings) -> None:
    """A worker's user is let into no other virtual host, and not into the management API."""
    parts = urlsplit(url)
    with pytest.raises(aiormq.exceptions.AMQPError):  # the library takes the refusal for a frame out of turn
        await aiormq.connect(url.replace(parts.path, "/%2F"))
    management = urlsplit(settings.management())
    base = f"{management.scheme}://{management.hostname}:{management.port}"
    user = httpx.URL(url)
    async with httpx.AsyncClient(base_url=base, auth=(user.username, user.password), trust_env=False) as http:
        assert (await http.get("/api/overview")).status_code == 401


async def has_user(settings: Settings, user: str) -> bool:
    """Whether the broker knows this user."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(f"{settings.management()}/api/users/{quote(user, safe='')}")).status_code == 200


@pytest.mark.parametrize("end", ["remove", "release", "speak HTTP", "remove when forgotten"])
async def test_no_user_is_left_behind(api: httpx.AsyncClient, settings: Settings, node: Coordinator, end: str) -> None:
    """A worker's broker user ends with its removal, its release, and a registration that asks for no such user."""
    user = worker_user(settings.vhost(), "w")
    await api.put("/worker/w", json={})
    assert await has_user(settings, user)
    if end == "remove when forgotten":
        await node.session.registry.append(WorkerRemoved, worker="w")
        assert (await api.get("/worker/w")).status_code == 404
    if end == "release":
        answer = await api.put("/release/worker/w")
    elif end == "speak HTTP":
        answer = await api.put("/worker/w", json={"transport": "http"})
    else:
        answer = await api.delete("/worker/w")
    assert answer.status_code == 200, answer.text
    assert not await has_user(settings, user)
    if "remove" in end:
        assert (await api.delete("/worker/w")).status_code == 404

"""The management API is asked at a node that answers, and its answers become values of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from coordinator.broker.management import Management
from coordinator.broker.management_answers import Totals
from coordinator.errors import ManagementError

Answer = tuple[int, object]


@asynccontextmanager
async def node(answer: Callable[[str], Answer]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve the API of one node; gives its URL, and the requests so far as `METHOD path`."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(head.split(" HTTP/1.1")[0].partition("?")[0])
        status, value = answer(requests[-1])
        body = json.dumps(value).encode()
        writer.write(f"HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


@pytest.fixture(autouse=True)
def first_node_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start with the first node; a random one is for production."""
    monkeypatch.setattr("coordinator.broker.management.random.randrange", lambda _: 0)


async def test_another_node_answers() -> None:
    """A node with a server error is skipped, and the next calls go to the node that answered."""
    async with (
        node(lambda _: (500, "down")) as (bad, asked_bad),
        node(lambda _: (200, {"rabbitmq_version": "3.10.8"})) as (good, asked_good),
    ):
        management = Management(f"{bad}, {good}", "/")
        assert [await management.version() for _ in range(2)] == ["3.10.8"] * 2
        assert (len(asked_bad), len(asked_good)) == (1, 2)
        await management.close()


async def test_a_refusal_is_final() -> None:
    """Another node would refuse it too."""
    async with (
        node(lambda _: (401, "not authorised")) as (first, _),
        node(lambda _: (200, {})) as (second, asked),
    ):
        management = Management(f"{first},{second}", "/")
        with pytest.raises(ManagementError, match="401") as caught:
            await management.version()
        assert (caught.value.status, asked) == (401, [])
        await management.close()


async def test_no_node_answers() -> None:
    """The error names each node, and shows no password."""
    async with node(lambda _: (200, {})) as (url, _):
        pass
    management = Management(url, "/")
    with pytest.raises(ManagementError, match="does not answer") as caught:
        await management.version()
    assert (caught.value.status, "secret" in str(caught.value)) == (0, False)
    await management.close()


async def test_calls_after_the_end() -> None:
    """A session that has ended asks nothing more."""
    management = Management("http://127.0.0.1:1", "/")
    await management.close()
    with pytest.raises(ManagementError, match="closed"):
        await management.version()


async def test_what_does_not_exist_is_deleted_already() -> None:
    """Only the deletion of a user says so."""
    async with node(lambda _: (404, "not found")) as (url, asked):
        management = Management(url, "a/b")
        assert not await management.delete_user("w/1")
        await management.delete_vhost()
        await management.close_connection("c 1", "released")
        assert asked == ["DELETE /api/users/w%2F1", "DELETE /api/vhosts/a%2Fb", "DELETE /api/connections/c%201"]
        await management.close()


@pytest.mark.parametrize("is_left", [False, True])
async def test_a_connection_that_ends_while_it_is_closed(monkeypatch: pytest.MonkeyPatch, *, is_left: bool) -> None:
    """The broker fails to close it. That is an error only if the connection is still there."""
    monkeypatch.setattr("coordinator.broker.management.GONE", 0.1)
    left = [{"name": "c", "user": "w", "vhost": "/"}] if is_left else []
    async with node(lambda asked: (500, "") if asked.startswith("DELETE") else (200, left)) as (url, _):
        management = Management(url, "/")
        closing = management.close_connection("c", "released")
        if is_left:
            with pytest.raises(ManagementError, match="500"):
                await closing
        else:
            await closing
        await management.close()


async def test_totals_of_queues() -> None:
    """A queue that cannot answer is left out: its last figures may be wrong."""
    led = {"leader": "a", "members": ["a", "b", "c"]}
    queues = [
        {
            "name": "whole",
            "messages_ready": 2,
            "messages_unacknowledged": 1,
            "messages": 6,
            **led,
            "online": ["a", "b"],
        },
        {"name": "minority", "messages_ready": 2, **led, "online": ["a"]},
        {"name": "leaderless", "messages_ready": 2, **led, "leader": None, "online": ["a", "b", "c"]},
        {"name": "uncounted"},
        {"name": "classic", "messages_ready": 0},
    ]
    async with node(lambda _: (200, queues)) as (url, _):
        management = Management(url, "/")
        totals = await management.totals()
        await management.close()
    assert totals == {"whole": Totals(2, 1, leaving=3, members=3, away=1), "classic": Totals(0, 0)}
    assert [one.is_empty for one in totals.values()] == [False, True]


async def test_a_node_that_is_down_has_no_figures() -> None:
    """Its figures are text, or missing."""
    nodes = [
        {"name": "a", "running": True, "mem_alarm": True, "mem_used": 5, "disk_free": 7},
        {"name": "b", "running": False, "mem_used": "not_available"},
    ]
    async with node(lambda _: (200, nodes)) as (url, _):
        management = Management(url, "/")
        up, down = await management.nodes()
        assert await management.running_nodes() == {"a"}
        await management.close()
    assert (up.memory_alarm, up.memory, up.disk_free) == (True, 5, 7)
    assert (down.running, down.memory, down.disk_free) == (False, 0, 0)

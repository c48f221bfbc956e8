"""Limits over HTTP: each is named when it is passed, and what was accepted before is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from coordinator.http.app import create_app
from coordinator.http.limits import Limits
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from coordinator.tokens import Token, add_token, digest
from tests.helpers.steps import ack, counts_settle, fetch, seed_of, submit, until
from tests.helpers.support import (
    DEADLINE,
    PREFIX,
    client_of,
    eventually,
    items,
    own_vhost,
    running_coordinator,
    serving_app,
)

MIB = 1024 * 1024


@contextlib.asynccontextmanager
async def limited(broker: BrokerUrls, **limits: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Coordinator, Limits]]:  # noqa: ANN401 - any setting
    """A coordinator with these limits."""
    async with own_vhost(broker, **limits) as settings, running_coordinator(settings) as node:
        app = create_app(node)
        async with (
            serving_app(app, settings) as url,
            client_of(url + PREFIX) as client,
        ):
            yield client, node, app.state.limits


LIMITS = {
    "max_body": 2000,
    "max_ids": 3,
    "max_line": 1024,
    "max_array": 3000,
    "max_text": 100,
    "max_depth": 5,
    "max_list": 10,
    "max_batches": 2,
}
DEEP: dict[str, object] = {"id": "x", "metadata": {"a": [[[[[]]]]]}}
OVER: list[tuple[str, str, bytes, int, str]] = [
    ("POST", "/release/seed", b" " * 2001, 413, "2000 bytes (COORDINATOR_MAX_BODY)"),
    ("PUT", "/seed/s", b" " * 2001, 413, "2000 bytes (COORDINATOR_MAX_BODY)"),
    ("POST", "/results", b" " * 2001, 413, "2000 bytes (COORDINATOR_MAX_BODY)"),
    ("POST", "/release/seed", b'{"id": ["a", "b", "c", "d"]}', 413, "3 ids (COORDINATOR_MAX_IDS)"),
    ("POST", "/batch/ack", b'[{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d"}]', 413, "3 ids (COORDINATOR_MAX_IDS)"),
    ("POST", "/seed/s/items", b"[" + b'{"id": "x"},' * 300 + b"{}]", 413, "3000 bytes (COORDINATOR_MAX_ARRAY)"),
    ("POST", "/seed/s/items", b'{"id": "' + b"x" * 1100 + b'"}', 413, "line 1 is over its limit of 1024 bytes"),
    ("POST", "/seed/s/items", b'{"id": "' + b"x" * 101 + b'"}', 406, "a string longer than 100 characters"),
    ("POST", "/seed/s/items", orjson.dumps([DEEP]), 406, "nested deeper than 5 levels"),
    ("POST", "/results", orjson.dumps({"seed": [[[[[[]]]]]]}), 406, "nested deeper than 5 levels"),
    ("PUT", "/seed/s", orjson.dumps({"priority": "x" * 101}), 406, "a string longer than 100 characters"),
    ("GET", "/seed?limit=11", b"", 406, "limit: must be 1 to 10"),
    ("GET", "/batch?batches=3", b"", 406, "batches: must be 1 to 2"),
]
"""Calls over a limit: method, path, body, status, what of the limit is told."""

NO_JSON = [
    ({"Content-Type": "application/xml"}, "Content-Type"),
    ({"Content-Type": "multipart/form-data; boundary=x"}, "Content-Type"),
    ({"Content-Type": "text/html"}, "Content-Type"),
    ({"Content-Encoding": "gzip"}, "Content-Encoding"),
]


async def test_what_is_over_a_limit(broker: BrokerUrls) -> None:
    """Each limit is a setting; over it the call is 413 or 406, the limit is named, and nothing was done."""
    async with limited(broker, **LIMITS) as (api, _, limits):
        for method, path, body, status, told in OVER:
            answer = await api.request(method, path, content=body)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
            assert told in answer.json()["message"], answer.text
        assert (await api.get("/seed")).json()["count"]["totalItems"] == 0
        assert limits.bodies.used == 0


async def test_what_is_not_over_a_limit(broker: BrokerUrls) -> None:
    """What just fits is done."""
    async with limited(broker, **LIMITS) as (api, _, _):
        assert (await api.put("/seed/s", content=b"{}" + b" " * 1998)).status_code == 200
        line = b'{"id": "x"}' + b" " * (1024 - 11)
        assert (await api.post("/seed/s/items", content=line + b"\n" + line)).json()["accepted"] == 2
        array = b'[{"id": "%s"}]' % (b"x" * 100)
        assert (await api.post("/seed/s/items", content=array + b" " * (3000 - len(array)))).json()["accepted"] == 1
        assert (await api.post("/release/seed", json={"id": ["s", "s", "s"]})).status_code == 200


async def test_content_that_is_no_json(api: httpx.AsyncClient) -> None:
    """A body that says it is something else, or compressed, is 406 under the name of that header; curl's is taken."""
    for path in ("/release/seed", "/seed/s/items"):
        for headers, field in NO_JSON:
            answer = await api.post(path, content=b'{"id": "s"}', headers=headers)
            assert answer.status_code == 406
            assert answer.json()["errors"][0]["field"] == field
    for kind in ("application/json; charset=utf-8", "application/x-www-form-urlencoded", "application/x-ndjson", ""):
        answer = await api.post("/seed/s/items", content=b'{"id": "s"}', headers={"Content-Type": kind})
        assert answer.status_code == 202


async def test_lines_before_one_that_is_too_long(broker: BrokerUrls) -> None:
    """What was accepted before a line over its limit is told, and the line's number; of the line little is kept."""

    async def body() -> AsyncIterator[bytes]:
        yield b"\n" + b"\n".join(orjson.dumps(item) for item in items(250)) + b'\n{"id": "'
        for _ in range(100):
            yield b"x" * MIB

    async with limited(broker, max_buffered=4 * MIB) as (api, _, limits):
        answer = await api.post("/seed/s/items", content=body())
        assert (answer.status_code, answer.json()["accepted"]) == (413, 250)
        assert "line 252 is over its limit of 1048576 bytes (COORDINATOR_MAX_LINE)" in answer.json()["message"]
        await counts_settle(api, "s", queued=250)
        assert limits.bodies.used == 0


async def test_a_stream_passes_through_in_little_memory(broker: BrokerUrls) -> None:
    """A stream many times larger than what bodies may have in memory is accepted whole, at the broker's pace."""
    line = orjson.dumps({"id": "x", "metadata": {"text": "y" * 10_000}}) + b"\n"
    most = 0

    async with limited(broker, max_buffered=2 * MIB) as (api, _, limits):

        async def body() -> AsyncIterator[bytes]:
            nonlocal most
            for _ in range(100):
                yield line * 20
                most = max(most, limits.bodies.used)

        answer = await api.post("/seed/s/items", content=body())
        assert (answer.status_code, answer.json()["accepted"]) == (202, 2000)
        assert 0 < most <= 2 * MIB
        assert limits.bodies.used == 0


async def test_bodies_share_their_memory(broker: BrokerUrls) -> None:
    """While bodies have all the memory they may, another is 429 with `Retry-After`; when they end it is served."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"[" + b" " * 5000
        begun.set()
        await end.wait()
        yield b"]"

    async with limited(broker, max_buffered=6000) as (api, _, limits):
        first = asyncio.create_task(api.post("/seed/s/items", content=slow()))
        await begun.wait()
        await eventually(lambda: limits.bodies.used > 5000, "the first body")
        answer = await api.post("/release/seed", content=b" " * 1500)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "limit of 6000 bytes of bodies is reached (COORDINATOR_MAX_BUFFERED)" in answer.json()["message"]
        assert (await api.get("/seed")).status_code == 200
        end.set()
        assert (await first).status_code == 202
        assert (await api.post("/release/seed", content=b" " * 1500)).status_code == 406


async def test_calls_that_wait(broker: BrokerUrls) -> None:
    """Only so many fetches may wait: one more is 429, one that does not wait is served; who leaves frees a place."""
    async with limited(broker, max_polls=2) as (api, _, limits):
        polls = [asyncio.create_task(api.get("/batch", params={"wait": 60, "worker": f"w{n}"})) for n in range(2)]
        await eventually(lambda: limits.polls.used == 2, "two calls that wait")
        answer = await api.get("/batch", params={"wait": 1})
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
        assert "limit of 2 calls that wait is reached (COORDINATOR_MAX_POLLS)" in answer.json()["message"]
        assert (await api.get("/batch")).status_code == 200
        polls[0].cancel()
        await eventually(lambda: limits.polls.used == 1, "one to have left")
        assert (await api.get("/batch", params={"wait": 0.01})).status_code == 200
        await submit(api, "s", 1)
        assert len((await polls[1]).json()["batches"]) == 1
        await eventually(lambda: limits.polls.used == 0, "all to have left")


async def test_requests_a_second(broker: BrokerUrls, tmp_path: Path) -> None:
    """One caller's requests beyond its rate are 429 with `Retry-After`; others, and health, are served meanwhile."""
    path = tmp_path / "tokens.json"
    for name in ("busy", "calm"):
        add_token(path, Token(name=name, roles=("operator",), sha256=digest(name)))
    async with limited(broker, rate_limit=5, tokens_file=path) as (api, _, _):
        busy, calm = ({"Authorization": f"Bearer {name}"} for name in ("busy", "calm"))
        answers = await asyncio.gather(*(api.get("/seed", headers=busy) for _ in range(40)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert (
            "limit of 5 requests a second from one caller is reached (COORDINATOR_RATE_LIMIT)"
            in refused[0].json()["message"]
        )
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert (await api.get("/seed", headers=calm)).status_code == 200
        strangers = await asyncio.gather(*(api.get("/seed") for _ in range(40)))
        assert {answer.status_code for answer in strangers} == {401, 429}
        health = str(api.base_url).partition("/aspire")[0] + "/health/live"
        assert {(await api.get(health)).status_code for _ in range(15)} == {200}

        async def look() -> None:
            answers.append(await api.get("/seed", headers=busy))

        await until(look, lambda: answers[-1].status_code == 200, "to be let in again")


@pytest.mark.parametrize(
    ("path", "setting", "accepted"),
    [("/release/seed", "BODY_TIMEOUT", None), ("/seed/s/items", "STREAM_TIMEOUT", 1)],
)
async def test_bodies_that_do_not_come(broker: BrokerUrls, path: str, setting: str, accepted: int | None) -> None:
    """A body that stops half-way is 408 in time, the connection ends, and what was accepted is told."""
    async with limited(broker, body_timeout=0.3, stream_timeout=0.3) as (api, _, limits):
        host, port = api.base_url.host, api.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        head = f"POST {PREFIX}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b'{"id": "a"}\n{"id"')
        async with asyncio.timeout(DEADLINE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        told = orjson.loads(answer.partition(b"\r\n\r\n")[2])
        assert f"0.3 s (COORDINATOR_{setting})" in told["message"]
        assert told.get("accepted") == accepted
        writer.close()
        await writer.wait_closed()
        assert limits.bodies.used == 0
        if accepted:
            assert (await seed_of(api, "s"))["id"] == "s"
            await ack(api, await fetch(api))

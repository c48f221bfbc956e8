"""The dashboard's own routes: the page's files, and the stream that all open pages share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest

from coordinator.http.app import create_app
from coordinator.http.dashboard.polling import Watches
from coordinator.http.dashboard.static_files import SHELL
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from tests.helpers.steps import Json, put_seed, seed_of
from tests.helpers.support import DEADLINE, PREFIX, eventually, own_vhost, running_coordinator, serving_app


class Site:
    """A served coordinator, what its dashboards watch, and a client."""

    def __init__(self, client: httpx.AsyncClient, watches: Watches) -> None:
        self.client = client
        self.watches = watches

    @contextlib.asynccontextmanager
    async def watching(self, *paths: str) -> AsyncIterator[AsyncIterator[Json]]:
        """The events of a stream."""
        query = urlencode([("get", path) for path in paths])
        async with self.client.stream("GET", f"/dashboard/live?{query}") as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[Json]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line.removeprefix("data: "))


async def next_parts(events: AsyncIterator[Json]) -> Json:
    """The parts of the next event."""
    async with asyncio.timeout(DEADLINE):
        parts: Json = (await anext(events))["parts"]
        return parts


@contextlib.asynccontextmanager
async def open_site(node: Coordinator) -> AsyncIterator[Site]:
    """Serve a node."""
    app = create_app(node)
    async with (
        serving_app(app, node.settings) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE) as client,
    ):
        yield Site(client, app.state.watches)


@pytest.fixture
async def site(node: Coordinator) -> AsyncIterator[Site]:
    """A served coordinator."""
    async with open_site(node) as opened:
        yield opened


async def all_parts(events: AsyncIterator[Json], count: int) -> dict[str, Any]:
    """What a stream's first events say, until each read was answered."""
    parts: dict[str, Any] = {}
    while len(parts) < count:
        parts |= await next_parts(events)
    return parts


async def test_the_stream_says_what_the_api_says(site: Site) -> None:
    """Each part is the API's own answer, errors too; later events hold what has changed alone."""
    api = f"{site.client.base_url}".rstrip("/") + PREFIX
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=DEADLINE) as client:
        await put_seed(client, "a/b")
        async with site.watching("/seed?limit=5", "/seed/a%2Fb", "/seed/none", "/dashboard/summary") as events:
            parts = await all_parts(events, 4)
            assert parts["0"]["body"]["count"] == {"totalItems": 1}
            assert parts["1"] == {"status": 200, "body": await seed_of(client, "a/b")}
            assert (parts["2"]["status"], "none" in parts["2"]["body"]["message"]) == (404, True)
            assert parts["3"]["body"]["seeds"] == {"running": 1, "released": 0}
            await client.put("/release/seed/a%2Fb")
            changed: Json = {}
            while changed.get("3", {}).get("body", {}).get("seeds") != {"running": 0, "released": 1}:
                changed |= await next_parts(events)
            assert "2" not in changed


async def test_what_acts_is_refused(site: Site) -> None:
    """The stream reads as an operator: a GET that would fetch or release is 403 in its part, and does nothing."""
    api = f"{site.client.base_url}".rstrip("/") + PREFIX
    async with httpx.AsyncClient(base_url=api, trust_env=False, timeout=DEADLINE) as client:
        await put_seed(client, "s")
        async with site.watching("/release/seed/s", "/batch?worker=w", "/batch/ack/x", "/nowhere") as events:
            parts = await all_parts(events, 4)
        assert [parts[str(place)]["status"] for place in range(4)] == [403, 403, 403, 404]
        assert (await seed_of(client, "s"))["state"] == "running"


async def test_open_pages_share_their_reads(site: Site) -> None:
    """Ten pages of one view cost one read; the last that goes ends it."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            events = await stack.enter_async_context(site.watching("/seed", "/worker"))
            await all_parts(events, 2)
        assert len(site.watches) == 2
    await eventually(lambda: len(site.watches) == 0, "the end of what nobody watches")


async def test_too_much_is_refused(broker: BrokerUrls) -> None:
    """Of reads there are as many at once as the setting says, and of a page's own a fixed number."""
    async with (
        own_vhost(broker, max_watches=2) as settings,
        running_coordinator(settings) as node,
        open_site(node) as site,
    ):
        async with site.watching("/seed?offset=0", "/seed?offset=1") as events:
            await all_parts(events, 2)
            answer = await site.client.get("/dashboard/live?get=/worker")
            assert answer.status_code == 429
            assert "COORDINATOR_MAX_WATCHES" in answer.json()["message"]
            async with site.watching("/seed?offset=1") as others:
                await all_parts(others, 1)
        for query in ("", "get=seed", "get=/%C3%A9", "get=/" + "x" * 5000, "&".join(["get=/seed"] * 13)):
            answer = await site.client.get(f"/dashboard/live?{query}")
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (406, "get"), query


async def test_the_page_lets_nothing_in(site: Site) -> None:
    """Every file has a policy without anything inline or from elsewhere, and a name for what it is as it is."""
    for path in SHELL:
        answer = await site.client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await site.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    page = SHELL["/"].body
    assert b"<style" not in page
    assert b" style=" not in page
    assert b" on" not in page
    assert (await site.client.get("/dashboard/none.js")).status_code == 404
    assert (await site.client.get("/dashboard/live", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403

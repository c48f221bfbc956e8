"""The dashboard's own routes: the files of the page, and the reads that all open pages share."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from coordinator.http.dashboard.static_files import FILES
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from tests.helpers.steps import put_seed, seed_of, until
from tests.helpers.support import DEADLINE, PREFIX, own_vhost, running_coordinator, serving

POLLED = "/dashboard/api"


@contextlib.asynccontextmanager
async def open_site(node: Coordinator) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a node; gives a client of it."""
    async with (
        serving(node) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE) as client,
    ):
        yield client


@pytest.fixture
async def site(node: Coordinator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a served coordinator."""
    async with open_site(node) as client:
        yield client


@pytest.fixture
async def api(site: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its API."""
    base = f"{site.base_url}".rstrip("/") + PREFIX
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=DEADLINE) as client:
        yield client


async def test_a_polled_read_answers_what_the_api_answers(site: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    """Answers are the API's own, errors too, and no browser keeps them."""
    await put_seed(api, "a/b")
    for path in ("/seed?limit=5", "/seed/a%2Fb", "/seed/none", "/worker", "/seed?limit=x", "/coordinator"):
        polled_answer, answer = await site.get(POLLED + path), await api.get(path)
        assert polled_answer.status_code == answer.status_code, path
        assert polled_answer.json().keys() == answer.json().keys(), path
        assert polled_answer.headers["cache-control"] == "no-store"
    assert (await site.get(f"{POLLED}/seed/a%2Fb")).json() == await seed_of(api, "a/b")
    assert (await site.get("/dashboard/summary")).json()["seeds"] == {"running": 1, "released": 0}


async def test_a_page_sees_what_its_action_did(site: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    """A kept answer is soon replaced."""
    await put_seed(api, "s")
    assert (await site.get(f"{POLLED}/seed/s")).json()["state"] == "running"
    await api.put("/release/seed/s")
    state = ""

    async def look() -> None:
        nonlocal state
        state = (await site.get(f"{POLLED}/seed/s")).json()["state"]

    await until(look, lambda: state == "released", "the release")


async def test_what_acts_is_not_polled(site: httpx.AsyncClient, api: httpx.AsyncClient) -> None:
    """A path that fetches, acks or releases does not exist there, and nothing is done."""
    await put_seed(api, "s")
    for path in ("/release/seed/s", "/batch?worker=w", "/batch/ack/x", "/resume/seed/s", "/event/stream", "/nowhere"):
        assert (await site.get(POLLED + path)).status_code == 404, path
    for method in ("PUT", "POST", "DELETE"):
        assert (await site.request(method, f"{POLLED}/seed/s")).status_code == 405
    assert (await seed_of(api, "s"))["state"] == "running"


async def test_too_many_different_reads_are_refused(broker: BrokerUrls) -> None:
    """As many different reads as the setting says are kept at once; those go on."""
    async with (
        own_vhost(broker, max_watches=2) as settings,
        running_coordinator(settings) as node,
        open_site(node) as site,
    ):
        paths = [f"{POLLED}/seed?offset={offset}" for offset in range(4)]
        answers = [await site.get(path) for path in paths]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert "COORDINATOR_MAX_WATCHES" in answers[-1].json()["message"]
        assert (await site.get(paths[1])).status_code == 200


async def test_the_pages_let_nothing_in(site: httpx.AsyncClient) -> None:
    """Every file has a policy that allows nothing inline and nothing from elsewhere, and an ETag."""
    for path in FILES:
        answer = await site.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await site.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for path in ("/", "/docs"):
        assert not re.search(rb"<style| style=| on\w+=|<script>", FILES[path].body)
    assert (await site.get("/dashboard/none.js")).status_code == 404
    assert (await site.get("/dashboard/who", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403

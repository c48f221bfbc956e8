"""With a black hole for a broker or a coordinator every call ends by its deadline, with an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from coordinator.client import HttpManager, HttpProducer, HttpWorker, Manager, Producer, Reader
from coordinator.errors import CoordinatorError
from coordinator.http.app import create_app
from coordinator.http.shutdown import Requests
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.link import Link
from tests.helpers.steps import submit
from tests.helpers.support import PREFIX, eventually, items, running_coordinator, serving, serving_app

pytestmark = pytest.mark.timeout(180)

DEADLINE = 60.0
"""Longer than any deadline of a call that is not told its own."""
HEARTBEAT = 2
"""Seconds between heartbeats in place of 10: a connection ends after three without one."""


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A way to the broker that can become a black hole."""
    way = Link("test")
    yield way
    await way.close()


async def through(link: Link, url: str) -> str:
    """The same URL, by way of the link; with short heartbeats, if it is one of AMQP."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    target = (parts.hostname, parts.port)
    port = await link.listen(lambda: [target])
    linked = url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}")
    return f"{linked}?heartbeat={HEARTBEAT}" if parts.scheme == "amqp" else linked


async def ends(name: str, call: Callable[[], Awaitable[object]]) -> str | None:
    """What is wrong with a call that should end with an error of ours, if anything is."""
    try:
        async with asyncio.timeout(DEADLINE):
            await call()
    except CoordinatorError:
        return None
    except TimeoutError:
        return f"{name} did not end"
    return f"{name} succeeded"


async def test_a_broker_that_never_answers(settings: Settings, link: Link) -> None:
    """Whoever opens a connection, and whoever has one, is told in time; so is whoever asks a coordinator over HTTP."""
    url = await through(link, settings.amqp_urls()[0])

    async def open_anew() -> None:
        async with Producer([url]):
            pass

    own = settings.model_copy(update={"amqp_url": SecretStr(url)})
    async with running_coordinator(own) as node, Producer([url]) as producer, Manager([url], timeout=5) as manager:
        session = node.session
        await session.catalog.ensure("s")
        await link.swallow()
        problems = await asyncio.gather(
            ends("a new connection", open_anew),
            ends("submit", lambda: producer.submit("s", [{"id": "x"}])),
            ends("a command", lambda: manager.release_seeds(["s"])),
            ends("a release", lambda: session.commands.carry_out("release.seed", ["s"])),
            ends("a seed", lambda: session.catalog.ensure("new")),
            ends("a fetch", lambda: session.leases.fetch("w", frozenset(), 1, 0)),
            over_http(node),
        )
        await link.cut()
        await link.heal()
    assert [problem for problem in problems if problem is not None] == []


async def test_a_resume_at_a_coordinator_that_is_cut_off(settings: Settings, link: Link) -> None:
    """What it knows is old: that the seed runs, or that there is none. The others released it, and made another."""
    url = await through(link, settings.amqp_urls()[0])
    own = settings.model_copy(update={"amqp_url": SecretStr(url)})
    async with (
        running_coordinator(settings) as one,
        running_coordinator(own) as other,
        serving(one) as direct,
        serving(other) as lost,
        httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as api,
    ):
        await submit_to(api, direct, "s")
        await eventually(lambda: "s" in other.session.registry.state.seeds, "both know the seed")
        session = other.instance
        await link.swallow()
        released = await api.put(f"{direct}{PREFIX}/release/seed/s")
        assert released.status_code == 200
        await submit_to(api, direct, "new")
        answers = await asyncio.gather(
            api.put(f"{lost}{PREFIX}/resume/seed/s"), api.put(f"{lost}{PREFIX}/release/seed/new")
        )
        assert [answer.status_code for answer in answers] == [503, 503]
        await link.cut()
        await link.heal()
        await eventually(lambda: other.is_ready and other.instance != session, "it is back", DEADLINE)
        resumed = await api.put(f"{lost}{PREFIX}/resume/seed/s")
        assert resumed.status_code == 200
        await eventually(lambda: one.session.registry.state.seeds["s"].state == "running", "the seed runs")


async def submit_to(api: httpx.AsyncClient, base: str, seed: str) -> None:
    """Add an item to a seed at this coordinator."""
    answer = await api.post(f"{base}{PREFIX}/seed/{seed}/items", json=items(1))
    assert answer.status_code == 202, answer.text


async def over_http(node: Coordinator) -> str | None:
    """What is wrong with the answers of a coordinator whose broker does not answer: none but 503 may come, in time.

    Of items it is said that nobody knows whether they arrived.
    """
    async with serving(node) as url, httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=DEADLINE) as api:
        answers = await asyncio.gather(
            api.get("/batch"), api.put("/release/seed/s"), api.post("/seed/s/items", json=items(1)), api.get("/seed/s")
        )
    statuses = [answer.status_code for answer in answers]
    if not set(statuses) <= {503, 404}:
        return f"HTTP answered {statuses}"
    ingested = answers[2].json()
    return None if (ingested["accepted"], ingested["unconfirmed"]) == (0, 1) else f"items were answered {ingested}"


async def test_a_coordinator_that_never_answers(node: Coordinator, link: Link) -> None:
    """Each client over HTTP gives up after the time it was told."""
    async with serving(node) as direct:
        url = await through(link, direct)
        await link.swallow()
        async with (
            HttpWorker(url, "w", timeout=2.0) as worker,
            HttpProducer(url, timeout=2.0) as producer,
            HttpManager(url, timeout=2.0) as manager,
            Reader(url, timeout=2.0) as reader,
        ):
            problems = await asyncio.gather(
                ends("a fetch", worker.fetch),
                ends("submit", lambda: producer.submit("s", [{"id": "x"}])),
                ends("a release", lambda: manager.release_seeds(["s"])),
                ends("a list", reader.seeds),
            )
        await link.heal()
    assert [problem for problem in problems if problem is not None] == []
    await eventually(lambda: node.is_ready, "the coordinator goes on")


async def test_items_under_way_when_their_coordinator_stops(settings: Settings, link: Link) -> None:
    """The answer says that they may have arrived: a 503 without that would mean that none was added."""
    url = await through(link, settings.amqp_urls()[0])
    async with running_coordinator(settings.model_copy(update={"amqp_url": SecretStr(url)})) as node:
        requests = Requests(create_app(node))
        async with (
            serving_app(requests, node.settings) as base,
            httpx.AsyncClient(base_url=base + PREFIX, trust_env=False, timeout=DEADLINE) as api,
        ):
            await submit(api, "s", 1)
            await link.swallow()
            adding = asyncio.create_task(api.post("/seed/s/items", json=items(10)))
            await eventually(lambda: "page" in {task.get_name() for task in asyncio.all_tasks()}, "a page under way")
            requests.end()
            answer = await adding
            await link.heal()
        assert (answer.status_code, answer.json()["accepted"], answer.json()["unconfirmed"]) == (503, 0, 10)

"""The broker goes and comes back, coordinators end and others go on: nothing is lost, what is repeated is marked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.types import Delivery
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.topology import Header
from tests.helpers.brokers import OUTAGE, kill_broker, until_on_disk, vhost_of
from tests.helpers.support import (
    PREFIX,
    Drain,
    eventually,
    items,
    publish_items,
    running_coordinator,
    serving,
)

pytestmark = pytest.mark.timeout(240)


@dataclass
class Watcher:
    """A stock worker that acks all and remembers, of each item, whether each delivery of it was marked as a repeat."""

    connection: Connection
    marks: dict[str, list[bool]] = field(default_factory=dict)

    @classmethod
    async def begin(cls, settings: Settings, marks: dict[str, list[bool]]) -> Watcher:
        """Connect and consume `work`, adding to what an earlier one saw."""
        watcher = cls(await Connection.open(settings.amqp_urls(), "watcher"), marks)
        channel = await watcher.connection.channel()
        acks: set[asyncio.Task[None]] = set()

        def take(delivery: Delivery) -> None:
            batch = orjson.loads(delivery.body)
            marked = delivery.redelivered or batch["attempt"] > 1 or delivery.headers.get(Header.REDELIVERED) is True
            for item in batch["items"]:
                watcher.marks.setdefault(item["id"], []).append(marked)
            task = asyncio.get_running_loop().create_task(delivery.ack())
            acks.add(task)
            task.add_done_callback(acks.discard)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

        await channel.consume("work", take, prefetch=10)
        return watcher


@pytest.mark.asyncio(loop_scope="session")
async def test_broker_away(killable: PrivateBroker) -> None:
    """While the broker is away the shim says so and does nothing; when it comes, all goes on by itself."""
    async with vhost_of(killable) as settings:
        await kill_broker(killable)
        node = Coordinator(settings)
        running = asyncio.create_task(node.run())
        async with serving(node) as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            await eventually(lambda: "no broker answers" in node.problem, "the coordinator has tried")
            assert (await client.get("/health/live")).status_code == 200
            for method, path in (
                ("GET", "/health/ready"),
                ("GET", PREFIX + "/seed"),
                ("GET", PREFIX + "/batch"),
                ("PUT", PREFIX + "/release/seed/s"),
                ("PUT", PREFIX + "/seed/s"),
                ("POST", PREFIX + "/seed/s/items"),
            ):
                answer = await client.request(method, path, content=b'[{"id": "a"}]' if "items" in path else b"{}")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), (method, path)
                assert settings.amqp_urls()[0] not in answer.text
            await killable.restart()
            await eventually(lambda: node.is_ready, "the coordinator is ready", OUTAGE)
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.post(PREFIX + "/seed/s/items", json=items(5))).status_code == 202
            drain = await Drain.begin(settings)
            await eventually(lambda: drain.counts["s"] == 5, "the items")
            await drain.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.asyncio(loop_scope="session")
async def test_broker_killed_under_load(killable: PrivateBroker) -> None:
    """A broker that is killed amid deliveries loses none of what it confirmed, and every repeat is marked."""
    marks: dict[str, list[bool]] = {}
    async with vhost_of(killable) as settings, running_coordinator(settings) as node:
        await publish_items(settings, "s", [items(100, f"{page}-") for page in range(200)])
        first = await Watcher.begin(settings, marks)
        await eventually(lambda: len(marks) >= 3000, "the crawl is under way")
        await until_on_disk(killable.folder, settings, "seed.s", "work")
        await kill_broker(killable)
        await first.connection.closed.wait()
        await killable.restart()
        await eventually(lambda: node.is_ready, "the coordinator is back", OUTAGE)
        second = await Watcher.begin(settings, marks)
        await eventually(lambda: len(marks) >= 20_000, "every item", OUTAGE)
        await second.connection.close()
    assert len(marks) == 20_000
    unmarked = {item: seen for item, seen in marks.items() if not all(seen[1:])}
    assert not unmarked


async def test_connections_cut(node: Coordinator, settings: Settings) -> None:
    """A coordinator whose connections are closed begins a new session, and the crawl goes on."""
    marks: dict[str, list[bool]] = {}
    session = node.session
    management = Management(settings.management(), settings.vhost())
    names = await listed(management, "coordinator:")
    await publish_items(settings, "s", [items(100, f"{page}-") for page in range(200)])
    watcher = await Watcher.begin(settings, marks)
    await eventually(lambda: len(marks) >= 1000, "the crawl is under way")
    for name in names:
        await management.close_connection(name, "a test")
    await management.close()
    await eventually(lambda: node.is_ready and node.session is not session, "a new session", OUTAGE)
    await eventually(lambda: len(marks) >= 20_000, "every item", OUTAGE)
    assert all(all(seen[1:]) for seen in marks.values())
    await watcher.connection.close()


async def test_a_consumer_that_the_broker_has_forgotten_is_renewed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue holds pages and brings none; nothing else would ever notice."""
    monkeypatch.setattr("coordinator.node.dispatch.stuck_consumers.LOOK_EVERY", 0.5)
    consume, consumers = Channel.consume, list[tuple[Channel, str]]()

    async def noted(self: Channel, queue: str, *args: Any, **named: Any) -> str:  # noqa: ANN401 - passed on as they are
        tag = await consume(self, queue, *args, **named)
        if queue == "seed.s":
            consumers.append((self, tag))
        return tag

    monkeypatch.setattr(Channel, "consume", noted)
    async with running_coordinator(settings):
        drain = await Drain.begin(settings)
        await publish_items(settings, "s", [items(10)])
        await eventually(lambda: len(drain.items()) == 10, "the items before")
        [(channel, tag)] = consumers
        await channel.cancel(tag)
        with capture_logs() as logged:
            await publish_items(settings, "s", [items(10, "later-")])
            await eventually(lambda: len(drain.items()) == 20, "the items after")
        assert "seed.not_served" in {entry["event"] for entry in logged}
        await drain.close()


async def test_next_coordinator(settings: Settings) -> None:
    """When a coordinator stops in the midst of dispatch, the next one goes on, and no item is handed out again."""
    marks: dict[str, list[bool]] = {}
    pages = [items(100, f"{page}-") for page in range(100)]
    async with running_coordinator(settings):
        await publish_items(settings, "s", pages)
        watcher = await Watcher.begin(settings, marks)
        await eventually(lambda: len(marks) >= 1000, "the crawl is under way")
    async with running_coordinator(settings):
        await eventually(lambda: len(marks) >= 10_000, "every item", OUTAGE)
    assert {len(seen) for seen in marks.values()} == {1}
    await watcher.connection.close()


async def test_registry_outlives_coordinators(settings: Settings) -> None:
    """What is released stays released, policies and workers stay known, and epochs go on."""
    async with running_coordinator(settings) as node, serving(node) as url, api_of(url) as api:
        policies = [{"type": "throttle", "period": "minute", "value": 7}]
        await api.put("/seed/s", json={"priority": "high", "policies": policies, "batchSize": 3})
        await api.put("/release/seed/s")
        await api.put("/worker/w", json={"tags": ["x"], "transport": "http"})
    async with running_coordinator(settings) as node, serving(node) as url, api_of(url) as api:
        seed = (await api.get("/seed/s")).json()
        assert (seed["state"], seed["epoch"], seed["priority"], seed["batchSize"]) == ("released", 2, "high", 3)
        assert seed["policies"] == policies
        worker = (await api.get("/worker/w")).json()
        assert (worker["tags"], worker["registered"]) == (["x"], True)


async def test_throttle_outlives_coordinators(settings: Settings) -> None:
    """What one coordinator spent of a minute's allowance, the next one does not spend again."""
    async with running_coordinator(settings) as node, serving(node) as url, api_of(url) as api:
        await api.put("/seed/s", json={"policies": [{"type": "throttle", "period": "minute", "value": 30}]})
        await api.post("/seed/s/items", json=items(100))
        drain = await Drain.begin(settings)
        await eventually(lambda: drain.counts["s"] == 30, "a minute's allowance")
    async with running_coordinator(settings) as node, serving(node) as url, api_of(url) as api:
        await api.post("/seed/other/items", json=items(100, "o"))
        await eventually(lambda: drain.counts["other"] == 100, "another seed is served")
        assert drain.counts["s"] == 30
        assert (await api.get("/seed/s")).json()["counts"]["available"] == 70
    assert Counter(drain.items("s")) == Counter(f"i{number}" for number in range(30))
    await drain.close()


def api_of(url: str) -> httpx.AsyncClient:
    """A client of this shim."""
    return httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=30)


async def listed(management: Management, prefix: str) -> list[str]:
    """The broker's names of the two connections of such a client, which it lists some time after they began."""
    async with asyncio.timeout(20):
        while True:
            found = [one.name for one in await management.connections() if one.client_name.startswith(prefix)]
            if len(found) > 1:
                return found

"""What is particular to a worker that speaks HTTP: handles that end, answers that are lost, a worker forgotten."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.http.app import create_app
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.models import Item
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.support import (
    PREFIX,
    StockWorker,
    client_of,
    eventually,
    items,
    own_vhost,
    publish_items,
    running_coordinator,
    serving,
)
from tests.helpers.workers import Hand, told, working
from worker_stub.handlers import Context, RejectBatch


async def test_rejected_batch_comes_back_when_its_time_is_over(broker: BrokerUrls) -> None:
    """There is no route to reject by: the batch comes back as attempt 2 once it has gone unacked for too long."""

    async def handle(_: Item, context: Context) -> None:
        if context.attempt == 1:
            raise RejectBatch("not now")

    async with (
        own_vhost(broker, ack_timeout=2) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        client_of(url + PREFIX) as api,
        told(settings) as results,
        working(api, "w", handle, transport="http"),
    ):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: results.items.total() >= 5, "5 results")
        assert results.items == Counter(item["id"] for item in items(5))
        assert set(results.attempts.values()) == {2}


async def test_handle_that_is_gone_ends_the_batch_here(settings: Settings, api: httpx.AsyncClient) -> None:
    """When the ack is answered 404 the batch is another's; this worker drops it and goes on."""
    hand = Hand()
    async with told(settings) as results, working(api, "w", hand.handle, transport="http") as running:
        await publish_items(settings, "s", [items(2)])
        await eventually(lambda: hand.busy, "an item in hand")
        other = await StockWorker.consume(settings)
        assert (await api.post("/release/worker/w")).status_code == 200
        await eventually(lambda: other.deliveries, "the batch at the other worker")
        assert other.batches[0]["attempt"] == 2
        hand.gate.set()
        await eventually(lambda: not running.worker.seeds, "the batch, dropped")
        assert not running.worker.finished.total()
        await other.ack_all()
        await other.close()
        await publish_items(settings, "s", [items(5, "later")])
        await eventually(lambda: results.items["later4"], "what came later")


class _Deaf:
    """The shim, but the first answer to an ack is lost after it was carried out."""

    def __init__(self, node: Coordinator) -> None:
        self._app: ASGIApp = create_app(node)
        self.lost = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lost or not scope.get("path", "").endswith("/batch/ack"):
            await self._app(scope, receive, send)
            return
        self.lost += 1

        async def swallow(_: Message) -> None:
            """Say nothing."""

        await self._app(scope, receive, swallow)


async def test_ack_whose_answer_is_lost_loses_nothing(
    settings: Settings, node: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ack that was carried out and never answered: the handle is gone, and yet the batch is this worker's to do."""
    deaf = _Deaf(node)
    monkeypatch.setattr("tests.helpers.support.create_app", lambda _: deaf)
    hand = Hand.open()
    async with (
        serving(node) as url,
        client_of(url + PREFIX) as api,
        told(settings) as results,
        working(api, "w", hand.handle, transport="http", spool=tmp_path),
    ):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: results.items.total() >= 5, "5 results")
    assert deaf.lost == 1
    assert results.items == Counter(item["id"] for item in items(5))


async def test_worker_that_was_removed_registers_anew(broker: BrokerUrls) -> None:
    """Where registration is required a removed worker's fetch is 404: it registers again and works on."""
    hand = Hand.open()
    async with (
        own_vhost(broker, require_registration=True) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        client_of(url + PREFIX) as api,
        told(settings) as results,
        working(api, "w", hand.handle, transport="http") as running,
    ):
        await publish_items(settings, "s", [items(1, "a")])
        await eventually(lambda: results.items["a0"], "a first item")
        assert (await api.delete("/worker/w")).status_code == 200
        for number in range(3):
            await publish_items(settings, "s", [items(1, f"b{number}-")])
            await eventually(lambda n=number: results.items[f"b{n}-0"] or running.task.done(), "more items")  # type: ignore[misc]
        assert not running.task.done()
        assert (await api.get("/worker/w")).json()["registered"]

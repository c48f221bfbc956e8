"""Which work queues a worker consumes: all that its tags allow, whenever they come into being."""

from __future__ import annotations

import httpx
import pytest

from coordinator.settings import Settings
from tests.helpers.support import StockWorker, client_of, eventually, items, publish_items, running_coordinator, serving
from tests.helpers.workers import TRANSPORTS, Hand, told, working


def route(*tags: str) -> dict[str, object]:
    """A seed's policies: to workers that have all these tags."""
    return {"policies": [{"type": "route", "routeTo": tag} for tag in tags]}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_queue_that_the_tags_allow_is_served(
    settings: Settings, api: httpx.AsyncClient, transport: str
) -> None:
    """A worker serves the untagged queue, those there before it and those that come while it runs, and no other's."""
    await api.put("/seed/before", json=route("ocr & pdf"))
    await api.put("/seed/others", json=route("ocr & pdf", "gpu"))
    hand = Hand.open()
    async with (
        told(settings) as results,
        working(api, "w", hand.handle, transport=transport, tags=["ocr & pdf", "b+c"]),
    ):
        await publish_items(settings, "plain", [items(5, "p")])
        await publish_items(settings, "before", [items(5, "b")])
        await publish_items(settings, "others", [items(5, "o")])
        await api.put("/seed/later", json=route("ocr & pdf", "b+c"))
        await publish_items(settings, "later", [items(5, "l")])
        await eventually(lambda: results.items.total() >= 15, "15 results")
        other = await StockWorker.consume(settings, "work.gpu+ocr%20%26%20pdf")
        await eventually(lambda: other.deliveries, "the batch for others")
        await other.ack_all()
        await other.close()
    assert {batch.seed for batch in results.batches} == {"plain", "before", "later"}
    assert set(results.items.values()) == {1}


async def test_tagged_queues_are_asked_for_until_a_coordinator_answers(settings: Settings) -> None:
    """A worker that came while no coordinator was there learns of tagged queues from the next one."""
    async with running_coordinator(settings) as node, serving(node) as url, client_of(url) as api:
        await api.put("/aspire_api/manager/seed/s", json=route("t"))
    hand = Hand.open()
    async with (
        working(settings, "w", hand.handle, tags=["t"]),
        told(settings) as results,
        running_coordinator(settings),
    ):
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: results.items.total() >= 5, "5 results")

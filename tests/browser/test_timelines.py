"""Timelines: what happened to a seed, a worker and a batch, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from coordinator.local_rabbitmq.node import BrokerUrls
from tests.helpers.browser import Site
from tests.helpers.steps import ack, fetch, put_seed, submit
from tests.helpers.support import PREFIX, StockWorker, client_of, eventually, own_vhost, running_coordinator, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def strict(broker: BrokerUrls) -> AsyncIterator[Site]:
    """A coordinator that gives up a batch after its second failure."""
    async with (
        own_vhost(broker, attempt_limit=1) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        client_of(url + PREFIX) as api,
    ):
        yield Site(url, node, api)


async def tells(page: Page, of: str, *wanted: str) -> None:
    """See these events on the timeline, newest first, each by how it begins after the time."""
    lines = page.get_by_role("list", name=f"What happened to {of}").get_by_role("listitem")
    await expect(lines.locator("strong")).to_have_text([one.partition("|")[0] for one in wanted])
    for place, one in enumerate(wanted):
        await expect(lines.nth(place)).to_contain_text(one.partition("|")[2])


async def test_a_seed_a_worker_and_a_batch(strict: Site, page: Page) -> None:
    """Created, sent, at a worker, released, back, taken: each page tells its part, live, and leads to the others."""
    await put_seed(strict.api, "news", batchSize=5)
    await page.goto(f"{strict.url}/#/seed/news")
    await tells(page, "the seed news", "New owner|", "Seed created|")
    await submit(strict.api, "news", 5)
    [batch] = await fetch(strict.api, worker="w1")
    sent = ("Batch queued|5 items", "New owner|", "Seed created|")
    await tells(page, "the seed news", "Batch at a worker|worker w1", *sent)
    await strict.api.put("/release/seed/news")
    back = ("Batch came back|released", "Released|epoch 2", "Batch at a worker|worker w1", *sent)
    await tells(page, "the seed news", *back)
    await strict.api.put("/resume/seed/news")
    await ack(strict.api, await fetch(strict.api, worker="w2"))
    again = ("Batch taken|worker w2", "Batch at a worker|worker w2", "Batch queued|", "New owner|", "Resumed|")
    await tells(page, "the seed news", "Drained: nothing left|", *again, *back)
    await page.get_by_role("list").get_by_role("link", name="w2").first.click()
    await tells(page, "the worker w2", "Batch taken|seed news", "Batch at a worker|seed news", "Seen|")
    await page.get_by_role("list").locator("code").first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(batch["batch"])
    await tells(page, "this batch", *again[:3], back[0], back[2], sent[0])


async def test_a_batch_that_dies(strict: Site, page: Page) -> None:
    """Each failure is told with its reason, and the end."""
    await put_seed(strict.api, "feeds", batchSize=5)
    stock = await StockWorker.consume(strict.node.settings, prefetch=1)
    await submit(strict.api, "feeds", 5)
    for _ in range(2):
        await eventually(lambda: stock.deliveries, "the batch")
        await stock.deliveries.pop().reject()
    await page.goto(f"{strict.url}/#/seed/feeds")
    await tells(
        page,
        "the seed feeds",
        "Drained: nothing left|",
        "Batch dead|failed 2 times, the last time alone: rejected",
        "Batch came back|attempt 2",
        "Batch queued|attempt 2",
        "Batch came back|rejected",
        "Batch queued|5 items",
        "New owner|",
        "Seed created|",
    )
    await stock.close()

"""What the dashboard shows: live, found by search and keyboard, without flicker, and accessible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.helpers.browser import Site
from tests.helpers.crowd import gather_crowd
from tests.helpers.steps import dead_letters, fetch, put_seed, submit
from tests.helpers.support import publish_items

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
SERIOUS = {"serious", "critical"}
VIEWS = {
    "": "Overview",
    "seeds": "Seeds",
    "seed/news": "Seed news",
    "workers": "Workers",
    "worker/w1": "Worker w1",
    "batches": "Batches in hand",
    "queues": "Work queues",
    "dead": "Dead letters",
    "cluster": "Cluster",
    "search?q=news": "Found for “news”",
}


async def fill(site: Site) -> str:
    """A seed, a worker that holds a batch of it, and a dead letter; gives the batch's id."""
    await put_seed(site.api, "news", batchSize=10, policies=[{"type": "throttle", "period": "second", "value": 5000}])
    await submit(site.api, "news", 30)
    [batch] = await fetch(site.api, worker="w1")
    await publish_items(site.node.settings, "news", [[{"no": "id"}]])
    await dead_letters(site.api, 1)
    return str(batch["batch"])


async def serious_findings(page: Page) -> list[str]:
    """What axe finds that is serious or worse, one line each."""
    await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_is_accessible(site: Site, page: Page, scheme: Any) -> None:  # noqa: ANN401 - a literal
    """In light and in dark no view has a serious finding, nor has a dialog."""
    await fill(site)
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    findings = {}
    for name, title in VIEWS.items():
        await page.goto(f"{site.url}/#/{name}")
        await expect(page.get_by_role("heading", level=1)).to_have_text(title)
        await expect(page.locator("main").get_by_text("Loading…")).to_have_count(0)
        findings[name] = await serious_findings(page)
    await page.goto(f"{site.url}/#/seeds")
    for button in ("Release news", "Policies news"):
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        findings[button] = await serious_findings(page)
        await page.keyboard.press("Escape")
    assert {name: found for name, found in findings.items() if found} == {}


async def test_figures_follow_and_rows_stay(site: Site, page: Page) -> None:
    """New items and seeds appear by themselves; the row that was there is the same element as before."""
    await put_seed(site.api, "news", policies=[{"type": "route", "routeTo": "nobody"}])
    await page.goto(f"{site.url}/#/seeds")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="news", exact=True))
    await expect(row).to_contain_text("drained")
    await row.evaluate("row => { row.wasHere = true; }")
    await submit(site.api, "news", 4321)
    await put_seed(site.api, "aardvark")
    await expect(page.get_by_role("link", name="aardvark")).to_be_visible()
    await expect(row).to_contain_text("3,921")  # four batches of a hundred are queued, and wait for a worker
    assert await row.evaluate("row => row.wasHere")


async def test_the_search_finds_who_holds_a_batch(site: Site, page: Page) -> None:
    """By keyboard alone: `/`, the batch's id, Enter; the answer is a sentence that leads to the worker."""
    batch = await fill(site)
    await page.goto(site.url)
    await expect(page.locator("#link")).to_have_text("live")
    await page.keyboard.press("/")
    await page.keyboard.type(batch)
    await page.keyboard.press("Enter")
    await expect(page.locator(".lead")).to_have_text(f"{batch} is held by the worker w1")
    await page.locator(".lead").get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Worker w1")
    await expect(page.get_by_role("table")).to_contain_text("news")


async def test_a_stream_that_breaks_is_mended(site: Site, page: Page) -> None:
    """While the coordinator does not answer the page says so, keeps what it has, and goes on by itself."""
    await put_seed(site.api, "news")
    await page.goto(f"{site.url}/#/seeds")
    await expect(page.get_by_role("link", name="news")).to_be_visible()
    await page.context.set_offline(True)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("#link")).to_have_text("not connected")
    await expect(page.get_by_role("link", name="news")).to_be_visible()
    await put_seed(site.api, "later")
    await page.context.set_offline(False)
    await expect(page.get_by_role("link", name="later")).to_be_visible()


async def test_why_a_seed_does_not_move(site: Site, page: Page) -> None:
    """Where no worker is eligible, the overview, the work queue and the seed's page say so in plain words."""
    await put_seed(site.api, "tiles", policies=[{"type": "route", "routeTo": "gpu"}])
    await submit(site.api, "tiles", 30)
    await page.goto(site.url)
    await expect(page.locator("main")).to_contain_text("tiles: no worker has the tag gpu")
    await page.get_by_role("link", name="Work queues").click()
    await expect(page.locator("main .note.bad")).to_have_text("work.gpu: no worker has the tag gpu")
    await page.goto(f"{site.url}/#/seed/tiles")
    await expect(page.locator("main .note.bad")).to_have_text("Why it does not move: no worker has the tag gpu")


async def test_the_cluster(site: Site, page: Page) -> None:
    """The coordinator that answers is marked, and each node of the broker runs without an alarm."""
    await page.goto(f"{site.url}/#/cluster")
    await expect(page.get_by_role("table", name="Coordinators")).to_contain_text(site.node.instance)
    await expect(page.get_by_text("you see this one")).to_be_visible()
    await expect(page.get_by_role("table", name="Nodes of the broker")).to_contain_text("running")


async def test_ids_are_text(site: Site, page: Page) -> None:
    """An id that looks like markup, or holds slashes, is shown as it is and leads to its own page."""
    odd = "<img src=x onerror=alert(1)>/..?#%41&"
    await put_seed(site.api, odd)
    await page.goto(f"{site.url}/#/seeds")
    await page.get_by_role("link", name="<img").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Seed {odd}")
    await expect(page.locator(".stages")).to_be_visible()
    assert await page.locator("main img").count() == 0


async def test_three_thousand_seeds_and_five_hundred_workers(site: Site, page: Page) -> None:
    """A page shows a part of them, whose updates touch what is on it alone."""
    await gather_crowd(site.node)
    await page.goto(f"{site.url}/#/seeds")
    await expect(page.get_by_text("of 3,000")).to_be_visible()
    assert await page.locator("tbody tr").count() == 50
    await page.get_by_role("link", name="Next").click()
    await expect(page.get_by_role("link", name="seed-0099")).to_be_visible()
    await page.goto(f"{site.url}/#/workers")
    await expect(page.get_by_text("of 500")).to_be_visible()
    await expect(page.locator("#nav")).to_contain_text("3,000")
    await page.goto(f"{site.url}/#/search?q=batch-417")
    await expect(page.locator(".lead")).to_have_text("batch-417 is held by the worker worker-417")

"""What the dashboard costs with 3,000 seeds and 500 workers: time to first paint, CPU of the coordinator."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from typing import Final

from playwright.async_api import Browser, Page, async_playwright
from rich.console import Console

from coordinator import logs
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.node.coordinator import Coordinator
from tests.helpers.browser import find_chromium
from tests.helpers.crowd import gather_crowd, tell_of_workers
from tests.helpers.support import own_vhost, running_coordinator, serving

VIEWS: Final = ("seeds", "workers")
PAGES: Final = (0, 1, 10)
SECONDS: Final = 6.0
PAINTS: Final = 3
PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
ROWS_SHOWN: Final = """new Promise(done => {
  const look = () => document.querySelector("tbody tr") ? done(performance.now()) : setTimeout(look, 5);
  look();
})"""


async def main() -> None:
    """Measure, and print."""
    logs.configure("warning")
    program = find_chromium()
    if program is None:
        sys.exit("no Chromium: run `make setup-browser`")
    async with (
        PrivateBroker() as broker,
        own_vhost(broker.urls, worker_timeout=3600) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        async_playwright() as playwright,
    ):
        await gather_crowd(node)
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        browser = await playwright.chromium.launch(executable_path=program, args=sandbox)
        for view in VIEWS:
            await tell_paint(browser, f"{url}/#/{view}")
        for view in VIEWS:
            for count in PAGES:
                await tell_cpu(browser, node, f"{url}/#/{view}", count)
        await browser.close()


async def tell_paint(browser: Browser, address: str) -> None:
    """How long until something, and until the first rows are there, in a browser that has never been here."""
    paints, rows = [], []
    for _ in range(PAINTS):
        page = await (await browser.new_context()).new_page()
        await page.goto(address)
        rows.append(await page.evaluate(ROWS_SHOWN))
        paints.append(await page.evaluate(PAINTED))
        await page.context.close()
    Console().print(
        f"{address.partition('#/')[2]}: first paint {statistics.median(paints):.0f} ms, "
        f"rows after {statistics.median(rows):.0f} ms (median of {PAINTS})"
    )


async def tell_cpu(browser: Browser, node: Coordinator, address: str, count: int) -> None:
    """How much of a core the coordinator takes while so many pages are open; this process is little else."""
    pages: list[Page] = [await (await browser.new_context()).new_page() for _ in range(count)]
    for page in pages:
        await page.goto(address)
        await page.wait_for_selector("h1")
    await asyncio.sleep(2)
    begun, used = time.monotonic(), time.process_time()
    await asyncio.sleep(SECONDS)
    share = (time.process_time() - used) / (time.monotonic() - begun)
    Console().print(f"{address.partition('#/')[2] or 'overview'}: {count} pages open: {share:.1%} of a core")
    for page in pages:
        await page.context.close()
    await tell_of_workers(node)


if __name__ == "__main__":
    asyncio.run(main())

"""Each action of the dashboard: it asks with numbers, does what it said, and says what it did."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.helpers.browser import Site
from tests.helpers.steps import counts_settle, dead_letters, fetch, put_seed, seed_of, submit, until
from tests.helpers.support import publish_items

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def press(page: Page, name: str) -> None:
    """Press the button of this name."""
    await page.get_by_role("button", name=name, exact=True).click()


async def confirm(page: Page, button: str, *sentences: str) -> None:
    """See the dialog say all this, and confirm."""
    dialog = page.get_by_role("dialog")
    for sentence in sentences:
        await expect(dialog).to_contain_text(sentence)
    await dialog.get_by_role("button", name=button, exact=True).click()
    await expect(dialog).to_be_hidden()


async def said(page: Page, text: str) -> None:
    """See the page say this."""
    await expect(page.locator("#said")).to_contain_text(text)


async def test_a_seed_is_released_and_resumed(site: Site, page: Page) -> None:
    """The dialog tells what becomes of each item, the answer how many came back, and the row follows by itself."""
    await put_seed(site.api, "news", batchSize=10)
    await submit(site.api, "news", 100)
    await fetch(site.api, 2, worker="w1")
    await counts_settle(site.api, "news", sent=20)
    await page.goto(f"{site.url}/#/seeds")
    await press(page, "Release news")
    await confirm(page, "Release seed", "2 batches (20 items) held over HTTP are taken back", "Epoch 1 becomes 2")
    await said(page, "Released news: ")
    await said(page, "0 still in hand. Epoch 2.")
    assert (await seed_of(site.api, "news"))["state"] == "released"
    row = page.get_by_role("row").filter(has_text="news")
    await expect(row).to_contain_text("released")
    await counts_settle(site.api, "news", available=100)
    await press(page, "Resume news")
    await confirm(page, "Resume seed", "100 available items may be handed out again")
    await said(page, "Resumed news: 100 items may be handed out again.")
    await expect(page.get_by_role("button", name="Release news")).to_be_visible()
    assert (await seed_of(site.api, "news"))["state"] == "running"


async def test_priority_and_throttle_are_changed(site: Site, page: Page) -> None:
    """The form holds what is, the second dialog says what differs, and the policies are set as a whole."""
    await put_seed(site.api, "shop", policies=[{"type": "route", "routeTo": "gpu"}])
    await page.goto(f"{site.url}/#/seed/shop")
    await press(page, "Policies shop")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Priority").select_option("high")
    await press(page, "Add a throttle")
    await dialog.get_by_label("Items", exact=True).fill("250")
    await dialog.get_by_label("Period").select_option("minute")
    await press(page, "Remove this route")
    await dialog.get_by_role("button", name="Apply").click()
    await confirm(
        page, "Make 3 changes", "Share 4 becomes 16", "at most 250 items a minute", "only workers with the tag gpu"
    )
    await said(page, "Changed shop: ")
    seed = await seed_of(site.api, "shop")
    assert (seed["priority"], seed["policies"]) == ("high", [{"type": "throttle", "period": "minute", "value": 250}])


async def test_what_does_not_validate_is_said(site: Site, page: Page) -> None:
    """What the coordinator refuses is told in its own words, and nothing is changed."""
    await put_seed(site.api, "shop")
    await page.goto(f"{site.url}/#/seed/shop")
    await press(page, "Policies shop")
    await press(page, "Add a route")
    await page.get_by_role("dialog").get_by_label("Tag").fill("a,b")
    await page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    await confirm(page, "Make 1 change")
    await said(page, "must not hold a comma")
    assert (await seed_of(site.api, "shop"))["policies"] == []


async def test_a_worker_is_released(site: Site, page: Page) -> None:
    """What it holds is told before, and goes to others."""
    await put_seed(site.api, "news", batchSize=10)
    await submit(site.api, "news", 30)
    await fetch(site.api, 3, worker="lost")
    await page.goto(f"{site.url}/#/worker/lost")
    await press(page, "Release lost")
    await confirm(page, "Release worker", "3 batches (30 items) of 1 seed go to other workers at once")
    await said(page, "Released lost: 3 batches it held go to others.")
    assert {batch["attempt"] for batch in await fetch(site.api, 3, worker="other")} == {2}


async def test_a_worker_is_drained(site: Site, page: Page) -> None:
    """It is asked to finish what it holds, and its row says that it drains."""
    await put_seed(site.api, "news", batchSize=10)
    await submit(site.api, "news", 30)
    await fetch(site.api, 2, worker="tired")
    await page.goto(f"{site.url}/#/workers")
    await press(page, "Drain tired")
    await confirm(page, "Drain worker", "2 batches (20 items) are finished and acked by the worker.")
    await said(page, "tired was asked to drain: it finishes 2 batches and takes no more.")
    await expect(page.get_by_role("row").filter(has_text="tired")).to_contain_text("draining")


async def test_dead_letters_are_retried_and_dropped(site: Site, page: Page) -> None:
    """A letter that is retried goes where it came from; one that is dropped is gone."""
    await put_seed(site.api, "odd")
    await publish_items(site.node.settings, "odd", [[{"no": "id"}]])
    [first] = await dead_letters(site.api, 1)
    await page.goto(f"{site.url}/#/dead")
    await press(page, f"Retry {first['id']}")
    await confirm(page, "Retry", "1 page goes back to where it came from, the seed odd,")
    await said(page, "Sent again: 1 page of odd.")
    ids: set[str] = {first["id"]}

    async def look() -> None:
        ids.clear()
        ids.update(letter["id"] for letter in (await site.api.get("/dead")).json()["dead"])

    await until(look, lambda: ids and first["id"] not in ids, "the page that is as malformed as before")
    await press(page, f"Drop {ids.pop()}")
    await confirm(page, "Drop for good", "1 page is deleted for good")
    await said(page, "Dropped: 1 page of odd.")
    assert (await site.api.get("/dead")).json()["count"]["totalItems"] == 0
    await expect(page.get_by_text("There are no dead letters.")).to_be_visible()


async def test_cancel_does_nothing(site: Site, page: Page) -> None:
    """Cancel and Escape leave all as it is, and the focus where it was."""
    await put_seed(site.api, "news")
    await page.goto(f"{site.url}/#/seeds")
    button = page.get_by_role("button", name="Release news")
    for leave in ("Cancel", None):
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        if leave is None:
            await page.keyboard.press("Escape")
        else:
            await press(page, leave)
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(button).to_be_focused()
    assert (await seed_of(site.api, "news"))["state"] == "running"

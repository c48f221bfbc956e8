"""The page of the API: it shows the served description, offline, with no error on the console."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from coordinator.http.routes import ENDPOINTS, OTHERS, PREFIXES
from coordinator.tokens import Role
from tests.helpers.browser import Grant, Site, show_token

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_operation_is_shown_once(site: Site, page: Page) -> None:
    """All operations below the first prefix are there; one that is opened shows its answers, and can be tried."""
    await page.goto(f"{site.url}/docs")
    shown = page.locator(".opblock-summary-path")
    await expect(shown).to_have_count(sum(len(one.methods) for one in (*ENDPOINTS, *OTHERS)))
    paths = {"".join(path.split()).replace("\u200b", "") for path in await shown.all_inner_texts()}
    assert paths == {*(PREFIXES[0] + one.template for one in ENDPOINTS), *(one.path for one in OTHERS)}
    block = page.locator(".opblock", has_text="/health/ready")
    await block.locator(".opblock-summary").click()
    await expect(block.get_by_text("whether it can do its work")).to_be_visible()
    await expect(block.get_by_text("the broker is away or blocked: nothing was done")).to_be_visible()
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute").click()
    await expect(block.locator(".live-responses-table").get_by_text(site.node.instance)).to_be_visible()
    await expect(page.locator("section.models")).to_contain_text("SeedSpec")


@pytest.mark.parametrize("role", ["operator", "worker"])
async def test_with_tokens_the_page_needs_one(guarded: str, page: Page, grant: Grant, role: Role) -> None:
    """Without a token the page says where to enter it; any role may read the description."""
    await page.goto(f"{guarded}/docs")
    await expect(page.get_by_text("This coordinator asks for a token.")).to_be_visible()
    await page.get_by_role("link", name="the dashboard").click()
    await show_token(page, grant("reader", role))
    await expect(page.get_by_label("Token", exact=True) if role == "worker" else page.locator("#nav")).to_be_visible()
    await page.goto(f"{guarded}/docs")
    await expect(page.locator(".opblock").first).to_be_visible()

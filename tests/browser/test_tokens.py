"""The dashboard where tokens are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from coordinator.tokens import new_secret, revoke_tokens
from tests.helpers.browser import Grant, show_token

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_without_a_valid_token_nothing_is_shown(guarded: str, page: Page) -> None:
    """The page asks, says what is wrong with a token, and shows no data."""
    await page.goto(f"{guarded}/#/seeds")
    await expect(page.get_by_text("coordinator token create NAME --role operator")).to_be_visible()
    await show_token(page, new_secret())
    await expect(page.get_by_text("This token is not valid.")).to_be_visible()
    assert "news" not in await page.content()


async def test_an_operator_reads_and_may_not_act(guarded: str, page: Page, grant: Grant) -> None:
    """Buttons say why they do nothing; the token is forgotten on demand, and never in an address."""
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    secret = grant("reader", "operator")
    await page.goto(f"{guarded}/#/seeds")
    await show_token(page, secret)
    await expect(page.get_by_role("link", name="news")).to_be_visible()
    button = page.get_by_role("button", name="Release news")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await button.click(force=True)
    await expect(page.locator("#said")).to_contain_text("your token has no role manager")
    await page.reload()
    await expect(page.get_by_role("link", name="news")).to_be_visible()
    await page.get_by_role("button", name="Forget token").click()
    await expect(page.get_by_label("Token", exact=True)).to_be_visible()
    assert not [address for address in addresses if secret in address]


async def test_a_manager_acts_until_the_token_is_revoked(
    guarded: str, page: Page, grant: Grant, tmp_path: Path
) -> None:
    """With both roles actions are carried out; once it is revoked, the page asks for another token."""
    await page.goto(f"{guarded}/#/seeds")
    await show_token(page, grant("boss", "operator", "manager"))
    await page.get_by_role("button", name="Release news").click()
    await page.get_by_role("dialog").get_by_role("button", name="Release seed").click()
    await expect(page.locator("#said")).to_contain_text("Released news")
    revoke_tokens(tmp_path / "tokens.json", ["boss"])
    await page.get_by_role("link", name="Workers", exact=False).first.click()
    await expect(page.get_by_text("This token is not valid any more.")).to_be_visible()
    await show_token(page, grant("again", "operator"))
    await expect(page.get_by_text("No worker is known yet.")).to_be_visible()


async def test_a_token_that_may_not_read_is_told_so(guarded: str, page: Page, grant: Grant) -> None:
    """A worker's token opens no dashboard."""
    await page.goto(guarded)
    await show_token(page, grant("w", "worker"))
    await expect(page.get_by_text("The token w cannot read: it has the role worker.")).to_be_visible()

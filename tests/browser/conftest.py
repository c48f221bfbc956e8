"""Fixtures of the browser tests: the system's Chromium for all, a coordinator and a page for each.

All of it lives in one event loop, for a browser belongs to the loop that started it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from coordinator.domain.registry_events import SeedSet
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.models import SeedSpec
from coordinator.tokens import Role, Token, add_token, digest, new_secret
from tests.helpers.browser import Grant, Site, find_chromium
from tests.helpers.support import DEADLINE, PREFIX, client_of, in_ci, own_vhost, running_coordinator, serving

WIDTH, HEIGHT = 1440, 900
expect.set_options(timeout=DEADLINE * 1000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    program = find_chromium()
    if program is None:
        missing = "no Chromium: run `make setup-browser`"
        pytest.fail(missing) if in_ci() else pytest.skip(missing)
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # root may not have one
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=sandbox)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(broker: BrokerUrls) -> AsyncIterator[Site]:
    """A coordinator, ready and served."""
    async with (
        own_vhost(broker) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        client_of(url + PREFIX) as api,
    ):
        yield Site(url, node, api)


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page; when the test ends, nothing may have gone wrong on it, nor left this machine."""
    context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.set_default_timeout(DEADLINE * 1000)
    opened = await context.new_page()
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # An answer that is no success is written there by the browser itself.
        if message.type == "error" and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            faults.append(f"asked elsewhere: {request.url}")

    opened.on("console", heard)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", asked)
    yield opened
    await context.close()
    assert faults == []


@pytest.fixture
def grant(tmp_path: Path) -> Grant:
    """Makes tokens."""

    def make(name: str, *roles: Role) -> str:
        secret = new_secret()
        add_token(tmp_path / "tokens.json", Token(name=name, roles=roles, sha256=digest(secret)))
        return secret

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(broker: BrokerUrls, tmp_path: Path, grant: Grant) -> AsyncIterator[str]:
    """A coordinator that asks for tokens, with one seed; gives its address."""
    grant("first", "administrator")
    async with (
        own_vhost(broker, tokens_file=tmp_path / "tokens.json") as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
    ):
        await node.session.registry.append(SeedSet, seed="news", spec=SeedSpec())
        yield url

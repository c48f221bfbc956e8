"""What the browser tests look at, and with which program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from playwright.async_api import Page

from coordinator.node.coordinator import Coordinator

Grant = Callable[..., str]
"""Makes a token with a name and roles; gives its secret."""


@dataclass(frozen=True)
class Site:
    """A coordinator without tokens, served: where, what runs it, and a client of its API."""

    url: str
    node: Coordinator
    api: httpx.AsyncClient


def find_chromium() -> str | None:
    """The system's Chromium, or the one that is named."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


async def show_token(page: Page, secret: str) -> None:
    """Fill the form for the token in."""
    await page.get_by_label("Token", exact=True).fill(secret)
    await page.get_by_role("button", name="Continue").click()

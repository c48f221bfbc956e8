"""What the browser tests look at, and with which program."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import httpx

from coordinator.node.coordinator import Coordinator


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

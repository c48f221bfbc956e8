"""What the shell offers at a press of the tab key: ids that the coordinator knows, if it answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import typer

from coordinator.api_models import DeadAnswer, SeedAnswer, WorkerAnswer
from coordinator.cli.common import known_http
from coordinator.client.reader import Reader
from coordinator.errors import CoordinatorError

PATIENCE: Final = 1.0
"""Seconds after which nothing is offered: who presses a key does not wait."""


def seed_ids(incomplete: str) -> list[str]:
    """Seeds that begin so."""
    return _offered(Reader.seeds, incomplete)


def worker_ids(incomplete: str) -> list[str]:
    """Workers that begin so."""
    return _offered(Reader.workers, incomplete)


def dead_ids(incomplete: str) -> list[str]:
    """Dead letters that begin so."""
    return _offered(Reader.dead, incomplete)


def _offered(
    read: Callable[[Reader], Awaitable[Sequence[SeedAnswer | WorkerAnswer | DeadAnswer]]], incomplete: str
) -> list[str]:
    async def fetch() -> list[str]:
        async with asyncio.timeout(PATIENCE), known_http(Reader, None) as reader:
            return [row.id for row in await read(reader)]

    try:
        return [ident for ident in asyncio.run(fetch()) if ident.startswith(incomplete)]
    except (CoordinatorError, TimeoutError, typer.BadParameter):  # an error would be written amid the line being typed
        return []

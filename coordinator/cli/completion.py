"""Tab completion of ids that the coordinator knows, if it answers quickly."""

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
"""Seconds to wait for the coordinator. A person who presses a key does not wait longer."""


def _ids(
    read: Callable[[Reader], Awaitable[Sequence[SeedAnswer | WorkerAnswer | DeadAnswer]]],
) -> Callable[[str], list[str]]:
    """A completion by the ids of a list."""

    async def fetch() -> list[str]:
        async with asyncio.timeout(PATIENCE), known_http(Reader, None) as reader:
            return [row.id for row in await read(reader)]

    def complete(incomplete: str) -> list[str]:
        try:
            return [ident for ident in asyncio.run(fetch()) if ident.startswith(incomplete)]
        except (CoordinatorError, TimeoutError, typer.BadParameter):
            return []  # an error would be printed into the line that is being typed

    return complete


seed_ids, worker_ids, dead_ids = _ids(Reader.seeds), _ids(Reader.workers), _ids(Reader.dead)

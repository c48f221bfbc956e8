"""What a release or a drain would do now, in numbers, as a coordinator says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from coordinator.cli.common import NOT_FOUND_CODE, known_http, shown
from coordinator.client.reader import Dry, Reader
from coordinator.errors import NotFoundError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say in numbers what it would do now, and do nothing.")]


def print_effects(command: Dry, ids: Sequence[str], http_url: str | None = None) -> None:
    """Print what a command would do with each of these ids."""

    async def read() -> bool:
        found_all = True
        async with known_http(Reader, http_url) as reader:
            for ident in dict.fromkeys(ids):
                try:
                    answer = await reader.dry_run(command, ident)
                    lines = [f"{effect.what} {effect.then}" for effect in answer.effects]
                except NotFoundError:
                    found_all, lines = False, ["not found"]
                for line in lines:
                    typer.echo(shown(f"{ident}: {line}"))
        return found_all

    if not asyncio.run(read()):
        raise typer.Exit(NOT_FOUND_CODE)

"""What a release or a drain would do now, in numbers, as the coordinator answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from coordinator.cli.common import for_each_id
from coordinator.client.reader import Dry, Reader

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print in numbers what it would do now, and do nothing.")]


def print_effects(command: Dry, ids: Sequence[str], http_url: str | None = None) -> None:
    """Print what a command would do with each of these ids."""

    async def read(reader: Reader, ident: str) -> list[str]:
        return [f"{effect.what} {effect.then}" for effect in (await reader.dry_run(command, ident)).effects]

    for_each_id(Reader, http_url, ids, read)

"""`coordinator dead`: list, show, retry and drop dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from coordinator.cli.common import (
    AsJson,
    HttpUrl,
    Yes,
    confirm,
    examples,
    for_each_id,
    known_http,
    print_json,
    shown,
)
from coordinator.cli.completion import dead_ids
from coordinator.cli.list_options import Limit, Match, Offset, Part, Sort
from coordinator.cli.lists import Listing, OfSeed, fetch, plain_cell, show
from coordinator.client.http_manager import HttpManager
from coordinator.client.reader import Reader
from coordinator.domain.list_query import named

SOME: Final = "0f2c81d65e0b4a6c9d3b7a51c2e4f890"
"""The id in the examples."""
LETTERS: Final = Listing("dead", ("id", "kind", "seed", "attempt", "count", "at", "reason"), plain_cell)

Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID…", show_default=False, autocompletion=dead_ids, help="Ids of dead letters."),
]

_dead = typer.Typer(no_args_is_help=False)

app = typer.Typer()
app.add_typer(_dead, name="dead")


@_dead.callback(
    invoke_without_command=True,
    epilog=examples(
        "coordinator dead",
        "coordinator dead list --seed photos",
        f"coordinator dead show {SOME}",
        f"coordinator dead retry {SOME}",
        f"coordinator dead drop {SOME}",
    ),
)
def dead(context: typer.Context, *, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List dead letters, show one, send them again, or drop them. Without a subcommand, list them."""
    context.obj = http_url
    if context.invoked_subcommand is None:
        show(LETTERS, fetch(http_url, Reader.dead), Part(), as_json=as_json)


@_dead.command("list", epilog=examples("coordinator dead list", "coordinator dead list --seed photos --sort -attempt"))
def list_dead(
    context: typer.Context,
    *,
    seed: OfSeed = None,
    match: Match = None,
    kind: Annotated[
        str | None, typer.Option(show_default=False, help="batch, page, return, command or presence.")
    ] = None,
    sort: Sort = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the dead letters, oldest first. --match searches ids and reasons."""
    found = [
        row
        for row in fetch(context.obj, Reader.dead)
        if (seed is None or row["seed"] == seed)
        and (kind is None or row["kind"] == kind)
        and (named(row["id"], match or "") or named(row["reason"], match or ""))
    ]
    show(LETTERS, found, Part(sort, limit, offset), as_json=as_json)


@_dead.command(
    "show",
    epilog=examples(
        f"coordinator dead show {SOME}",
        f"coordinator dead show {SOME} --json",
    ),
)
def show_dead(
    context: typer.Context,
    ident: Annotated[str, typer.Argument(metavar="ID", show_default=False, autocompletion=dead_ids)],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: its reason, its history, and its items."""

    async def read() -> dict[str, Any]:
        async with known_http(Reader, context.obj) as reader:
            return (await reader.dead_letter(ident)).model_dump(mode="json", by_alias=True)

    letter = asyncio.run(read())
    if as_json:
        print_json(letter)
        return
    console = Console(soft_wrap=True, highlight=False)
    for name in ("id", "kind", "seed", "attempt", "count", "at", "reason", "body"):
        if letter.get(name) not in (None, ""):
            console.print(Text.assemble((f"{name:<8} ", "bold"), shown(str(letter[name]))))
    for name in ("history", "items"):
        entries = letter.get(name) or ()
        if entries:
            console.print(Text(name, style="bold"))
        for entry in entries:
            console.print(Text(f"  {shown(str(entry))}"))


@_dead.command(epilog=examples(f"coordinator dead retry {SOME}"))
def retry(context: typer.Context, ids: Ids) -> None:
    """Send dead batches again, with attempt 1."""
    _settle(context.obj, HttpManager.retry_dead, ids, "sent again")


@_dead.command(
    epilog=examples(
        f"coordinator dead drop {SOME}",
        f"coordinator dead drop --yes {SOME}",
    )
)
def drop(
    context: typer.Context,
    ids: Ids,
    *,
    yes: Yes = False,
) -> None:
    """Delete dead letters and their items for good. On a terminal, ask first."""
    confirm(f"Discard {', '.join(map(shown, ids))} and its items?", yes=yes)
    _settle(context.obj, HttpManager.drop_dead, ids, "dropped")


def _settle(
    http_url: str | None, act: Callable[[HttpManager, str], Awaitable[None]], ids: list[str], done: str
) -> None:
    async def settle(manager: HttpManager, ident: str) -> list[str]:
        await act(manager, ident)
        return [done]

    for_each_id(HttpManager, http_url, ids, settle)

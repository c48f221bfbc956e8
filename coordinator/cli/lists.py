"""`coordinator seeds`, `workers`, `batches`, `dead`: what is there and who holds what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import typer

from coordinator.answers import Answer
from coordinator.cli.common import (
    NOT_FOUND_CODE,
    AsJson,
    HttpUrl,
    examples,
    known_http,
    print_json,
    print_table,
    shown,
)
from coordinator.client.http_manager import HttpManager
from coordinator.client.reader import Reader
from coordinator.errors import NotFoundError

SEED: Final = ("id", "state", "priority", "epoch")
WORKER: Final = ("id", "transport", "tags", "connected", "capacity", "lastSeen")
BATCH: Final = ("batch", "seed", "worker", "count", "since", "begun")
DEAD: Final = ("id", "kind", "seed", "attempt", "count", "at", "reason")

Row = dict[str, Any]
DeadIds = Annotated[list[str], typer.Argument(metavar="ID…", show_default=False, help="Ids of dead letters.")]

_dead = typer.Typer(no_args_is_help=False)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog=examples("coordinator seeds", "coordinator seeds --json"))(seeds)
    app.command(epilog=examples("coordinator workers", "coordinator workers --json"))(workers)
    app.command(epilog=examples("coordinator batches", "coordinator batches --json"))(batches)
    app.add_typer(_dead, name="dead")


def seeds(*, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List the seeds, with what of each is available, queued, sent and taken, in items."""
    rows = _fetch(http_url, Reader.seeds)
    _print("seeds", rows, as_json=as_json, columns=SEED, count=_counts)


def workers(*, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List the known workers."""
    rows = _fetch(http_url, Reader.workers)
    _print("workers", rows, as_json=as_json, columns=WORKER, count=_held)


def batches(*, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List the batches that workers hold unacked."""
    rows = _fetch(http_url, Reader.batches)
    _print("batches", rows, as_json=as_json, columns=BATCH)


@_dead.callback(
    invoke_without_command=True,
    epilog=examples("coordinator dead", "coordinator dead retry 0f2c81", "coordinator dead drop 0f2c81"),
)
def dead(context: typer.Context, *, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List the dead letters, send them again, or drop them."""
    context.obj = http_url
    if context.invoked_subcommand is not None:
        return
    rows = _fetch(http_url, Reader.dead)
    _print("dead", rows, as_json=as_json, columns=DEAD)


@_dead.command(epilog=examples("coordinator dead retry 0f2c81"))
def retry(context: typer.Context, ids: DeadIds) -> None:
    """Send dead batches again, with attempt 1."""
    _settle(context.obj, HttpManager.retry_dead, ids, "sent again")


@_dead.command(epilog=examples("coordinator dead drop 0f2c81"))
def drop(context: typer.Context, ids: DeadIds) -> None:
    """Discard dead letters."""
    _settle(context.obj, HttpManager.drop_dead, ids, "dropped")


def _fetch(http_url: str | None, read: Callable[[Reader], Awaitable[Sequence[Answer]]]) -> list[Row]:
    async def fetch() -> list[Row]:
        async with known_http(Reader, http_url) as reader:
            return [row.model_dump(mode="json", by_alias=True) for row in await read(reader)]

    return asyncio.run(fetch())


def _settle(
    http_url: str | None, act: Callable[[HttpManager, str], Awaitable[None]], ids: list[str], done: str
) -> None:
    async def settle() -> int:
        missing = 0
        async with known_http(HttpManager, http_url) as manager:
            for ident in ids:
                try:
                    await act(manager, ident)
                except NotFoundError:
                    missing += 1
                    typer.echo(f"{shown(ident)}: not found")
                else:
                    typer.echo(f"{shown(ident)}: {done}")
        return missing

    if asyncio.run(settle()):
        raise typer.Exit(NOT_FOUND_CODE)


def _print(
    title: str,
    rows: list[Row],
    *,
    as_json: bool,
    columns: Sequence[str],
    count: Callable[[Row], dict[str, object]] = lambda _: {},
) -> None:
    """Print rows; `count` gives the columns of figures that come after the others."""
    if as_json:
        print_json(rows)
        return
    figures = count(rows[0] if rows else {})
    table = [[*(row.get(name) for name in columns), *count(row).values()] for row in rows]
    print_table(title, (*columns, *figures), table)


def _counts(row: Row) -> dict[str, object]:
    counts = row.get("counts") or {}
    return {name: counts.get(name) for name in ("available", "queued", "sent", "taken", "exact")}


def _held(row: Row) -> dict[str, object]:
    held = row.get("held") or []
    return {"batches": len(held), "items": sum(batch["count"] for batch in held)}

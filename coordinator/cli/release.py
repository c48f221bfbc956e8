"""`coordinator release`, `resume`, `purge`: commands over AMQP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Final

import typer

from coordinator.cli.common import (
    NOT_FOUND_CODE,
    AmqpUrl,
    AsJson,
    Yes,
    confirm,
    examples,
    known_broker,
    print_json,
    shown,
)
from coordinator.cli.completion import seed_ids, worker_ids
from coordinator.cli.dry_run import DryRun, print_effects
from coordinator.client.manager import Manager, Reply
from coordinator.errors import CoordinatorError

OK, NOT_FOUND = 200, 404
FIGURES: Final = ("batches", "returned", "held", "purged", "epoch")

SeedIds = Annotated[
    list[str],
    typer.Argument(metavar="ID…", show_default=False, autocompletion=seed_ids, help="One or more ids."),
]
WorkerIds = Annotated[
    list[str],
    typer.Argument(metavar="ID…", show_default=False, autocompletion=worker_ids, help="One or more ids."),
]
Command = Callable[[Manager, Iterable[str]], Awaitable[Reply]]

_release = typer.Typer(no_args_is_help=True, help="Take back a worker's batches, or stop a seed.")
_resume = typer.Typer(no_args_is_help=True, help="Let released seeds run again.")
_purge = typer.Typer(
    no_args_is_help=True, help="Discard the items of a seed that no worker holds, and forget the seed."
)

app = typer.Typer()
app.add_typer(_release, name="release")
app.add_typer(_resume, name="resume")
app.add_typer(_purge, name="purge")


@_release.command(
    "worker",
    epilog=examples("coordinator release worker crawler-7", "coordinator release worker --dry-run crawler-7"),
)
def release_worker(
    ids: WorkerIds, *, dry_run: DryRun = False, amqp_url: AmqpUrl = None, as_json: AsJson = False
) -> None:
    """Give every unacked batch of these workers to other workers."""
    if dry_run:
        print_effects("release/worker", ids)
        return
    _carry_out(Manager.release_workers, ids, amqp_url, as_json=as_json)


@_release.command(
    "seed", epilog=examples("coordinator release seed photos AAABcID5GBc=", "coordinator release seed --dry-run photos")
)
def release_seed(ids: SeedIds, *, dry_run: DryRun = False, amqp_url: AmqpUrl = None, as_json: AsJson = False) -> None:
    """Stop seeds: items that no worker has begun become available, and wait until the seeds are resumed."""
    if dry_run:
        print_effects("release/seed", ids)
        return
    _carry_out(Manager.release_seeds, ids, amqp_url, as_json=as_json)


@_resume.command("seed", epilog=examples("coordinator resume seed photos"))
def resume_seed(ids: SeedIds, *, amqp_url: AmqpUrl = None, as_json: AsJson = False) -> None:
    """Let released seeds run again."""
    _carry_out(Manager.resume_seeds, ids, amqp_url, as_json=as_json)


@_purge.command("seed", epilog=examples("coordinator purge seed photos", "coordinator purge seed --yes photos"))
def purge_seed(
    ids: SeedIds,
    *,
    yes: Yes = False,
    amqp_url: AmqpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Discard the items of seeds that no worker holds, and forget the seeds."""
    confirm(f"Discard the items of {', '.join(map(shown, ids))}?", yes=yes)
    _carry_out(Manager.purge_seeds, ids, amqp_url, as_json=as_json)


def _carry_out(command: Command, ids: list[str], amqp_url: str | None, *, as_json: bool) -> None:
    async def call(urls: list[str]) -> Reply:
        async with Manager(urls, name="coordinator-cli") as manager:
            return await command(manager, ids)

    reply = asyncio.run(call(known_broker(amqp_url)))
    if reply.status not in {OK, NOT_FOUND}:
        raise CoordinatorError(reply.message or f"the coordinator answered {reply.status}")
    if as_json:
        print_json({"status": reply.status, "message": reply.message, "results": reply.results})
    else:
        for result in reply.results:
            typer.echo(_line(result))
    if reply.status == NOT_FOUND:
        raise typer.Exit(NOT_FOUND_CODE)


def _line(result: dict[str, object]) -> str:
    """The result of one id, in one line."""
    figures = ", ".join(f"{name} {result[name]}" for name in FIGURES if isinstance(result.get(name), int))
    text = f"{result['id']}: {result.get('message', '')}" + (f" ({figures})" if figures else "")
    return shown(text).replace("\n", " ")

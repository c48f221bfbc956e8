"""All commands together, and what becomes of their errors."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from coordinator import logs
from coordinator.cli import (
    broker,
    cluster,
    commands,
    dead,
    demo,
    doctor,
    lists,
    seed,
    serve,
    status,
    submit,
    tail,
    tokens,
    waiting,
)
from coordinator.cli.common import NOT_FOUND_CODE, examples, shown
from coordinator.errors import CoordinatorError, NotFoundError

app = typer.Typer(
    name="coordinator",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, and with these passwords
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"coordinator {version('batch-coordinator')}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "coordinator serve",
        "coordinator submit photos items.jsonl",
        "coordinator status",
        "coordinator batches --worker crawler-7",
        "coordinator release seed photos",
    )
)
def _coordinator(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hands a crawl's items to workers in batches over RabbitMQ, takes them back on command, and loses none."""
    logs.configure("warning", "text")


serve.add_to(app)
broker.add_to(app)
demo.add_to(app)
submit.add_to(app)
status.add_to(app)
lists.add_to(app)
cluster.add_to(app)
dead.add_to(app)
waiting.add_to(app)
tail.add_to(app)
commands.add_to(app)
seed.add_to(app)
tokens.add_to(app)
doctor.add_to(app)


def run(arguments: list[str]) -> int:
    """Run a command; returns its exit code. An error of ours is one line on standard error."""
    try:
        app(arguments, prog_name="coordinator")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CoordinatorError as error:
        sys.stderr.write(f"error: {shown(str(error))}\n")
        return NOT_FOUND_CODE if isinstance(error, NotFoundError) else 1
    return 0

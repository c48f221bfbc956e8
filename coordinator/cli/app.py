"""All commands together, and how their errors are reported."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Final

import typer

from coordinator import logs
from coordinator.cli.common import NOT_FOUND_CODE, examples, shown
from coordinator.errors import CoordinatorError, NotFoundError

COMMANDS: Final = {
    "serve": "serve",
    "broker": "broker",
    "demo": "demo",
    "submit": "submit",
    "status": "status",
    "seeds": "lists",
    "workers": "lists",
    "batches": "lists",
    "queues": "lists",
    "cluster": "cluster",
    "wait": "wait",
    "tail": "tail",
    "doctor": "doctor",
    "dead": "dead",
    "release": "release",
    "resume": "release",
    "purge": "release",
    "seed": "seed",
    "drain": "seed",
    "token": "tokens",
}
"""The module of each command, in the order of the help."""


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"coordinator {version('batch-coordinator')}")
        raise typer.Exit


def _coordinator(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hand a crawl's items to workers in batches over RabbitMQ, take them back on command, and lose none."""
    logs.configure("warning", "text")


def app_of(modules: Iterable[str]) -> typer.Typer:
    """The commands of these modules of this package."""
    app = typer.Typer(
        name="coordinator",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # they print local variables, which may hold passwords
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(
        epilog=examples(
            "coordinator serve",
            "coordinator submit photos items.jsonl",
            "coordinator status",
            "coordinator batches --worker crawler-7",
            "coordinator release seed photos",
        )
    )(_coordinator)
    for module in dict.fromkeys(modules):
        part: typer.Typer = import_module(f"coordinator.cli.{module}").app
        app.registered_commands += part.registered_commands
        app.registered_groups += part.registered_groups
    return app


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    """The modules of the named command. To load all modules takes longer than most commands run."""
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    return [COMMANDS[named]] if named in COMMANDS else COMMANDS.values()


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code. An expected error is one line on standard error."""
    try:
        app_of(_needed(arguments))(arguments, prog_name="coordinator")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CoordinatorError as error:
        sys.stderr.write(f"error: {shown(str(error))}\n")
        return NOT_FOUND_CODE if isinstance(error, NotFoundError) else 1
    return 0

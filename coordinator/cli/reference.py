"""The reference of all commands in Markdown, made from their help: `python -m coordinator.cli.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup, TyperOption

from coordinator.cli.app import COMMANDS, app_of

HIDDEN = frozenset({"help", "install_completion", "show_completion"})
PREFIX = "coordinator"

Command = TyperCommand | TyperGroup


def reference() -> str:
    """Every command: its usage, what it does, its arguments and options, its examples."""
    root = typer.main.get_group(app_of(COMMANDS.values()))
    return "\n".join(line for path, command in commands(root, (PREFIX,)) for line in _section(path, command))


def commands(command: Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    """A command and its subcommands that can be run, in the order of the help."""
    if not isinstance(command, TyperGroup) or command.invoke_without_command:
        yield path, command
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            if isinstance(one, (TyperCommand, TyperGroup)):
                yield from commands(one, (*path, name))


def _section(path: tuple[str, ...], command: Command) -> Iterator[str]:
    context = typer.Context(command)
    yield f"### {' '.join(path)}"
    yield "```"
    yield " ".join([*path, *command.collect_usage_pieces(context)])
    yield "```"
    yield from _paragraphs(command.help or "")
    for option in command.params:
        if isinstance(option, TyperOption) and option.name not in HIDDEN:
            names, what = option.get_help_record(context) or ("", "")
            yield f"- `{names}`: {what}"
    yield ""
    lines = [line.strip() for line in (command.epilog or "").splitlines() if line.strip()]
    if lines[1:]:
        yield from ["```", *lines[1:], "```", ""]


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        yield " ".join(line.strip() for line in paragraph.splitlines())
        yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())

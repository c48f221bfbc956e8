"""Shared by the commands: settings from options, tables, and text that is safe to print."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coordinator.client.http_manager import HttpManager
from coordinator.client.reader import Reader
from coordinator.discovery import read_connection
from coordinator.errors import CoordinatorError, NotFoundError
from coordinator.settings import Settings
from coordinator.validation import invalid, is_url

NOT_FOUND_CODE: Final = 4
UNLIMITED_WIDTH: Final = 1_000_000
SENTENCES: Final = frozenset({"why", "reason", "warning"})
"""Columns of sentences: on a narrow terminal they are wrapped, or printed below the table."""
LEAST, MOST = 20, 40
"""The smallest width of such a column, and the largest width of another column that is never wrapped."""
GAP: Final = "  "

C = TypeVar("C", Reader, HttpManager)

AmqpUrl = Annotated[
    str | None,
    typer.Option(
        "--amqp-url",
        envvar="COORDINATOR_AMQP_URL",
        show_default=False,
        help="The broker's nodes, separated by commas. Prefer the variable: arguments show in lists of processes.",
    ),
]
HttpUrl = Annotated[
    str | None,
    typer.Option(
        "--http-url", envvar="COORDINATOR_HTTP_URL", show_default=False, help="The HTTP address of a coordinator."
    ),
]
ManagementUrl = Annotated[
    str | None,
    typer.Option(
        "--management-url",
        envvar="COORDINATOR_MANAGEMENT_URL",
        show_default=False,
        help="The management APIs of the broker's nodes, if they are not on port 15672 of the same hosts.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def examples(*lines: str) -> str:
    """Examples for the end of a command's help."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def load_settings(**given: object) -> Settings:
    """The settings from the environment, overridden by the given options.

    Raises:
        BadParameter: a setting does not validate. The error does not show its value, which may be a secret.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(f"COORDINATOR_{name.upper()}: {what}" for name, what in invalid(error).problems)
        raise typer.BadParameter(faults) from error
    for url in settings.amqp_urls():
        if not is_url(url, "amqp", "amqps"):
            raise typer.BadParameter("COORDINATOR_AMQP_URL: must be like amqp://user:password@host:5672/")
    return settings


def broker_settings(**given: object) -> Settings:
    """The settings as of `load_settings`, with the broker of the coordinator on this machine if they name none.

    Raises:
        CoordinatorError: no broker is known.
    """
    settings = read_connection(load_settings(**given))
    if not settings.amqp_urls():
        raise CoordinatorError(
            "no broker is known: run `coordinator serve` on this machine, or name one in COORDINATOR_AMQP_URL"
        )
    return settings


def known_broker(amqp_url: str | None) -> list[str]:
    """The URLs of the broker that the option names, or of the coordinator's broker on this machine."""
    return broker_settings(amqp_url=amqp_url).amqp_urls()


def known_http(client: type[C], http_url: str | None) -> C:
    """A client of the named coordinator, or of the coordinator on this machine, with our token.

    Raises:
        CoordinatorError: the file of certificate authorities is not valid.
    """
    settings = read_connection(load_settings(http_url=http_url))
    token = settings.token.get_secret_value() if settings.token else None
    url = settings.http_url or f"http://{settings.http_host}:{settings.http_port}"
    return client(url, token=token, ca_file=settings.ca_file)


def for_each_id(
    client: type[C], http_url: str | None, ids: Iterable[str], act: Callable[[C, str], Awaitable[Iterable[str]]]
) -> None:
    """Call a coordinator for each id and print the lines that come back; exit with 4 if an id was not found."""

    async def run() -> bool:
        found_all = True
        async with known_http(client, http_url) as caller:
            for ident in dict.fromkeys(ids):
                try:
                    lines = await act(caller, ident)
                except NotFoundError:
                    found_all, lines = False, ["not found"]
                for line in lines:
                    typer.echo(shown(f"{ident}: {line}"))
        return found_all

    if not asyncio.run(run()):
        raise typer.Exit(NOT_FOUND_CODE)


def print_json(document: object) -> None:
    """Print one JSON document."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, and return only after a yes. With `--yes`, or without a terminal, ask nothing.

    Raises:
        CoordinatorError: the answer was no.
        KeyboardInterrupt: the answer was Ctrl-C.
    """
    if yes or not sys.stdin.isatty():
        return
    try:
        confirmed = typer.confirm(question, err=True)
    except typer.Abort as abort:  # typer raises this for Ctrl-C in a prompt
        raise KeyboardInterrupt from abort
    if not confirmed:
        raise CoordinatorError("not confirmed: nothing was done")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, of: int | None = None) -> None:
    """Print a table as wide as the terminal, or each row on one line. `of` is the length of the whole list."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    count = f"{len(rows)}" if of in {None, len(rows)} else f"{len(rows)} of {of}"
    console.print(Text(f"{title}: {count}", style="bold"))
    if not rows:
        return
    cells = [[cell_text(value) for value in row] for row in rows]
    widths = [max(len(column), *(len(row[place]) for row in cells)) for place, column in enumerate(columns)]
    below = _below(columns, widths, console.width)
    kept = [place for place in range(len(columns)) if place not in below]
    is_crowded = sum(_least(columns[place], widths[place]) for place in kept) > console.width
    table = Table(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False)
    for place in kept:
        table.add_column(
            Text(columns[place], style="underline"),
            justify="right" if all(isinstance(row[place], (int, float)) for row in rows) else "left",
            overflow="fold",
            min_width=None if is_crowded else _least(columns[place], widths[place]) - len(GAP),
        )
    for row in cells:
        table.add_row(*(Text(row[place]) for place in kept))
    console.print(table)
    for row in cells:
        for text in (row[place] for place in below if row[place]):
            console.print(Text(f"{row[0]}: {text}"))


def _least(column: str, widest: int) -> int:
    """The smallest width of a column, with the gap after it."""
    return min(widest, LEAST if column in SENTENCES else MOST) + len(GAP)


def _below(columns: Sequence[str], widths: Sequence[int], width: int) -> list[int]:
    """The places of the columns to print below the table, because the terminal is too narrow for all."""
    if sum(map(_least, columns, widths)) <= width:
        return []
    return [place for place, column in enumerate(columns) if column in SENTENCES]


def without_password(url: str) -> str:
    """A URL's scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def shown(text: str) -> str:
    """The text with escapes for everything unprintable, such as codes that control a terminal; line ends stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def cell_text(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """A value as one line of text for a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(part) for part in value)
    return "" if value is None else shown(str(value)).replace("\n", "\\n")

"""`coordinator status`: an overview, live on the whole screen or printed once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from coordinator.api_models import Answer
from coordinator.cli.cells import Row
from coordinator.cli.common import UNLIMITED_WIDTH, AsJson, HttpUrl, examples, known_http, print_json
from coordinator.cli.list_options import Match, Sort
from coordinator.cli.status_view import Snapshot, render
from coordinator.client.reader import Reader
from coordinator.errors import BrokerUnavailableError

BUSY_SHARE: Final = 5
"""The pause between two reads is at least this many times as long as a read, which is slow with many seeds."""
QUIT: Final = frozenset(b"qQ\x03")

app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator status", "coordinator status --once", "coordinator status --match 'img-*' --sort -available"
    )
)
def status(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once and exit.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two reads.")] = 2.0,
    match: Match = None,
    sort: Sort = None,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show seeds, workers, held batches, work queues and warnings, live. Press q or Ctrl-C to exit.

    --match and --sort apply to the seeds. If standard output is not a terminal, print once.
    """
    if as_json:
        print_json(asyncio.run(_once(http_url, match)).document())
        return
    console = Console()
    if once or not console.is_terminal:
        if not console.is_terminal:
            console = Console(width=UNLIMITED_WIDTH)
        console.print(render(asyncio.run(_once(http_url, match)), sort, height=None))
        return
    asyncio.run(_live(console, http_url, match, sort, every))


async def _once(http_url: str | None, match: str | None) -> Snapshot:
    async with known_http(Reader, http_url) as reader:
        return await look(reader, match)


async def look(reader: Reader, match: str | None) -> Snapshot:
    """Read everything that the view shows.

    Raises:
        CoordinatorError: a read fails.
    """
    seeds, workers, batches, queues, coordinators = await asyncio.gather(
        _rows(reader.seeds(q=match)),
        _rows(reader.workers()),
        _rows(reader.batches()),
        _rows(reader.queues()),
        _rows(reader.coordinators()),
    )
    depths, broker = await asyncio.gather(reader.own_queues(), reader.broker())
    return Snapshot(
        url=reader.url,
        at=time.time(),
        seeds=seeds,
        workers=workers,
        batches=batches,
        dead=depths.get("dead", 0),
        queues=queues,
        coordinators=coordinators,
        broker=broker.model_dump(mode="json", by_alias=True),
    )


async def _rows(read: Awaitable[Sequence[Answer]]) -> list[Row]:
    return [row.model_dump(mode="json", by_alias=True) for row in await read]


async def _live(console: Console, http_url: str | None, match: str | None, sort: str | None, every: float) -> None:
    """Draw until a key or a signal ends it, even during a slow read."""
    async with known_http(Reader, http_url) as reader, _ending() as ended:
        drawing = asyncio.create_task(_draw(console, reader, match, sort, every))
        ending = asyncio.create_task(ended.wait())
        await asyncio.wait({drawing, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        drawing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drawing  # raises the error of the drawing, if there is one


async def _draw(console: Console, reader: Reader, match: str | None, sort: str | None, every: float) -> None:
    """Draw without end. While no coordinator answers, show the last snapshot and the problem."""
    snapshot = await look(reader, match)
    render(snapshot, sort, height=console.height)  # a wrong --sort must fail before the whole screen is used
    problem: str | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(render(snapshot, sort, height=console.height, problem=problem), refresh=True)
            await asyncio.sleep(max(every, BUSY_SHARE * snapshot.took))
            began = time.monotonic()
            try:
                fresh = await look(reader, match)
            except BrokerUnavailableError as error:
                problem = str(error)
            else:
                snapshot, problem = replace(fresh, took=time.monotonic() - began), None


@contextlib.asynccontextmanager
async def _ending() -> AsyncIterator[asyncio.Event]:
    """An event that a key or a signal sets. Afterwards the terminal is restored."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    with _keys():
        if sys.stdin.isatty():
            descriptor = sys.stdin.fileno()

            def pressed() -> None:
                if QUIT.intersection(os.read(descriptor, 64) or b"q"):  # no bytes: the terminal is gone
                    ended.set()

            loop.add_reader(descriptor, pressed)
        try:
            yield ended
        finally:
            if sys.stdin.isatty():
                loop.remove_reader(descriptor)


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Read keys one by one without echo, while the block runs."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

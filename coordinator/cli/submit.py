"""`coordinator submit`: add items from a file or standard input, line by line."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from coordinator.cli.common import AmqpUrl, AsJson, examples, known_broker, print_json
from coordinator.cli.completion import seed_ids
from coordinator.client.producer import PAGE_BYTES, Producer
from coordinator.errors import CoordinatorError, RejectedItemError

CHUNK: Final = 1 << 16

app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator submit photos items.jsonl",
        """echo '{"id": "a.jpg", "action": "process"}' | coordinator submit photos""",
    )
)
def submit(
    seed: Annotated[
        str, typer.Argument(metavar="SEED", autocompletion=seed_ids, help="The seed's id. It need not exist yet.")
    ],
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A file with one item in JSON on each line; - is standard input.")
    ] = "-",
    *,
    amqp_url: AmqpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add items to a seed."""
    urls = known_broker(amqp_url)
    descriptor = _open(file)
    try:
        accepted = asyncio.run(_submit(urls, seed, descriptor, _name(file)))
    finally:
        if file != "-":
            os.close(descriptor)
    if as_json:
        print_json({"accepted": accepted})
    else:
        typer.echo(f"accepted {accepted} items")


async def _submit(urls: list[str], seed: str, descriptor: int, name: str) -> int:
    console = Console(stderr=True)
    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[accepted]} items accepted"),
        TimeElapsedColumn(),
    )
    accepted = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=size, accepted=0)

        def confirmed(count: int) -> None:
            nonlocal accepted
            accepted += count
            progress.update(bar, accepted=accepted)

        try:
            async with Producer(urls) as producer:
                lines = _lines(descriptor, lambda count: progress.advance(bar, count))
                return await producer.submit_lines(seed, lines, confirmed)
        except RejectedItemError as error:
            raise CoordinatorError(f"{name}: {error}; {accepted} items before it were accepted") from error
        except OSError as error:
            raise CoordinatorError(f"{name}: {error.strerror}; {accepted} items were accepted") from error
        except CoordinatorError as error:
            if not accepted:
                raise
            raise CoordinatorError(f"{error}; {accepted} items were accepted, and some more may have been") from error


def _open(file: str) -> int:
    if file == "-":
        return sys.stdin.fileno()
    try:
        return os.open(Path(file), os.O_RDONLY)
    except OSError as error:
        raise CoordinatorError(f"{file}: {error.strerror}") from error


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


async def _lines(descriptor: int, on_read: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The lines of the input. A line that is too long for an item is yielded before its end, and ends the input."""
    rest = b""
    while chunk := await _read(descriptor):
        on_read(len(chunk))
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > PAGE_BYTES:
            break
    yield rest


async def _read(descriptor: int) -> bytes:
    """Read some bytes; no bytes mean the end.

    A thread that waits on a pipe or a terminal cannot be interrupted, so the read starts when there is input. It
    runs in a thread because a file may be slow.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a file, or a device such as /dev/null: reading never blocks for long
        return await asyncio.to_thread(os.read, descriptor, CHUNK)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return await asyncio.to_thread(os.read, descriptor, CHUNK)

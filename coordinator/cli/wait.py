"""`coordinator wait`: wait until seeds are drained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from coordinator.api_models import SeedAnswer
from coordinator.cli.common import HttpUrl, examples, known_http, shown
from coordinator.client.reader import Reader
from coordinator.errors import BrokerUnavailableError, CoordinatorError, NotFoundError

EVERY: Final = 0.5
"""Seconds between two reads. A seed counts as drained after two reads in a row that say so."""
GRACE: Final = 2.0
"""Seconds to wait for an unknown seed: its first items may have been submitted just now."""

app = typer.Typer()


@app.command(epilog=examples("coordinator wait photos", "coordinator wait photos videos --timeout 600"))
def wait(
    seeds: Annotated[list[str], typer.Argument(metavar="SEED…", show_default=False, help="One or more ids.")],
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, show_default=False, help="Give up after this many seconds, with exit code 1.")
    ] = None,
    http_url: HttpUrl = None,
) -> None:
    """Wait until seeds are drained: no item is available, queued, sent, or in hand at a worker."""
    wanted = list(dict.fromkeys(seeds))
    asyncio.run(_wait(http_url, wanted, timeout))
    for seed in wanted:
        typer.echo(f"{shown(seed)}: drained")


async def _wait(http_url: str | None, seeds: Sequence[str], timeout: float | None) -> None:  # noqa: ASYNC109
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
    )
    waits: list[_Wait] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        async with known_http(Reader, http_url) as reader:
            waits = [_Wait(reader, seed, progress) for seed in seeds]
            try:
                async with asyncio.timeout(timeout):
                    for one in waits:  # an unknown seed fails before any wait
                        await one.begin()
                    await asyncio.gather(*(one.run() for one in waits))
            except TimeoutError:
                left = "; ".join(one.state for one in waits if not one.is_done)
                raise CoordinatorError(f"not drained within {timeout:g} s: {left}") from None


class _Wait:
    """The wait for one seed."""

    def __init__(self, reader: Reader, seed: str, progress: Progress) -> None:
        self.is_done = False
        self.state = f"{shown(seed)}: not read yet"
        self._reader = reader
        self._seed = seed
        self._progress = progress
        self._task: TaskID = progress.add_task(shown(seed), total=None, state="")
        self._first: int | None = None

    async def begin(self) -> None:
        """Wait for the first answer.

        Raises:
            NotFoundError: there is no such seed.
            BrokerUnavailableError: no coordinator answers.
        """
        deadline = time.monotonic() + GRACE
        while True:
            try:
                self._show(await self._reader.seed(self._seed))
            except NotFoundError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(EVERY)
            else:
                return

    async def run(self) -> None:
        """Wait until the seed is drained, also while no coordinator answers.

        Raises:
            NotFoundError: the seed was purged in the meantime.
        """
        times = 0
        while times < 2:  # noqa: PLR2004 - a page on its way to its owner is in no count for a moment
            try:
                seed = await self._reader.seed(self._seed)
            except BrokerUnavailableError as error:
                self.state = f"{shown(self._seed)}: {error}"
                times = 0
            else:
                self._show(seed)
                times = times + 1 if seed.progress.drained else 0
            await asyncio.sleep(EVERY)
        self.is_done = True

    def _show(self, seed: SeedAnswer) -> None:
        counts = seed.counts
        left = counts.available + counts.queued + counts.sent + seed.progress.in_hand
        if self._first is None or counts.taken < self._first:  # a coordinator counts from its own start
            self._first = counts.taken
        done = max(0, counts.taken - self._first - seed.progress.in_hand)
        detail = f"{left} items left, {seed.rate:g} per second" + (f"; {seed.why}" if seed.why else "")
        self.state = shown(f"{seed.id}: {detail}")
        if seed.progress.drained:
            self._progress.update(self._task, total=1, completed=1, state="drained")
        else:
            self._progress.update(self._task, total=max(1, done + left), completed=done, state=shown(detail))

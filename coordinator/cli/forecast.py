"""What a release or a drain would do now, in numbers, as the dashboard tells before it acts."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Annotated, Final

import typer

from coordinator.answers import Holding, SeedAnswer, WorkerAnswer
from coordinator.cli.common import NOT_FOUND_CODE, known_http, shown
from coordinator.cli.rows import age
from coordinator.client.reader import Reader
from coordinator.errors import NotFoundError
from coordinator.models import HeldBatch, Transport

UNTOLD: Final = 5.0
"""Seconds in which nobody has had the time yet to say that it holds a batch: workers tell every two."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say in numbers what it would do now, and do nothing.")]
Forecast = Callable[[Reader, str], Coroutine[None, None, list[str]]]


def tell_seeds(ids: Sequence[str]) -> None:
    """Print what the release of these seeds would do."""
    _tell(ids, _of_seed)


def tell_workers(
    ids: Sequence[str], sentences: Callable[[WorkerAnswer], Iterator[str]], http_url: str | None = None
) -> None:
    """Print what would be done with these workers."""

    async def of(reader: Reader, ident: str) -> list[str]:
        return list(sentences(await reader.worker(ident)))

    _tell(ids, of, http_url)


def release_seed(
    seed: SeedAnswer, held: Sequence[Holding], transports: Mapping[str, Transport], now: dt.datetime
) -> Iterator[str]:
    """What the release of a seed would do.

    Args:
        seed: the seed.
        held: its batches that were delivered and not acked.
        transports: how the workers that hold them speak.
        now: the time, for what was handed out a moment ago is held by nobody yet.
    """
    counts = seed.counts
    yield f"{_items(counts.available)} available: they stay, and nobody gets them until the seed is resumed"
    if counts.queued:
        yield f"{_items(counts.queued)} in unsent batches: available again, no attempt counted"
    named = [one for one in held if one.worker is not None]
    strange = [one for one in held if one.worker is None]
    fresh = [one for one in strange if (age(one.since, now) or 0.0) < UNTOLD]
    over_http = [one for one in named if transports.get(str(one.worker)) == "http"]
    with_ours = [one for one in named if one not in over_http]
    for what, batches in (
        ("held over HTTP: taken back, a late ack is refused; what was done of them may be done again", over_http),
        ("waiting at AMQP workers: given back, for nobody has begun them", [one for one in with_ours if not one.begun]),
        (
            "in hand at AMQP workers: the item in hand is finished, the rest given back",
            [one for one in with_ours if one.begun],
        ),
        ("handed out just now: their workers have not told yet whether they have begun", fresh),
        ("with other AMQP clients: they keep what they hold", [one for one in strange if one not in fresh]),
    ):
        if batches:
            yield f"{_batches(batches)} {what}"
    yield f"epoch {seed.epoch} becomes {seed.epoch + 1}"


def release_worker(worker: WorkerAnswer) -> Iterator[str]:
    """What the release of a worker would do."""
    begun = [one for one in worker.held if one.begun]
    if worker.held:
        yield f"{_batches(worker.held)}: to other workers at once, each with one attempt more"
    else:
        yield "it holds nothing that is known; what it holds without saying so goes to others too"
    if begun:
        yield f"{_batches(begun)} of these may be begun: what was done of them is done again"
    if worker.transport == "http":
        yield "its handles end: a late ack is refused; its next fetch is served again"
    else:
        yield "its connections are closed and its own broker user is deleted; it comes back by registering again"


def drain_worker(worker: WorkerAnswer) -> Iterator[str]:
    """What the drain of a worker would do."""
    yield f"{_batches(worker.held)}: finished and acked by it" if worker.held else "it holds nothing: done at once"
    yield "no new batch from then on; nothing is done twice"


async def _of_seed(reader: Reader, ident: str) -> list[str]:
    seed, batches = await asyncio.gather(reader.seed(ident), reader.batches(seed=ident))
    held = [one for one in batches if one.seed == ident]
    transports = {worker.id: worker.transport for worker in await reader.workers()} if held else {}
    return list(release_seed(seed, held, transports, dt.datetime.now(dt.UTC)))


def _tell(ids: Sequence[str], of: Forecast, http_url: str | None = None) -> None:
    async def tell() -> int:
        missing = 0
        async with known_http(Reader, http_url) as reader:
            for ident in dict.fromkeys(ids):
                try:
                    lines = await of(reader, ident)
                except NotFoundError:
                    missing += 1
                    lines = ["not found"]
                for line in lines:
                    typer.echo(shown(f"{ident}: {line}"))
        return missing

    if asyncio.run(tell()):
        raise typer.Exit(NOT_FOUND_CODE)


def _items(count: int) -> str:
    return f"{count:,} item{'s' * (count != 1)}"


def _batches(batches: Sequence[Holding | HeldBatch]) -> str:
    return f"{len(batches):,} batch{'es' * (len(batches) != 1)} ({_items(sum(one.count for one in batches))})"

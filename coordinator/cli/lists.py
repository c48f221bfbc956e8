"""`coordinator seeds`, `workers`, `batches`, `queues`: list what there is and who holds what."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from coordinator.api_models import Answer
from coordinator.cli.cells import Row, age, duration, in_words, routes
from coordinator.cli.common import AsJson, HttpUrl, examples, known_http, print_json, print_table
from coordinator.cli.completion import seed_ids, worker_ids
from coordinator.cli.list_options import Limit, Match, Offset, Part, Sort, Tag
from coordinator.client.reader import Reader
from coordinator.domain.dry_run import UNREPORTED
from coordinator.domain.list_query import named

SEED: Final = (
    "id",
    "state",
    "priority",
    "epoch",
    "tags",
    "available",
    "queued",
    "sent",
    "taken",
    "exact",
    "rate",
    "why",
)
WORKER: Final = ("id", "state", "transport", "tags", "capacity", "batches", "items", "longest", "seen")
BATCH: Final = ("batch", "seed", "worker", "count", "for", "begun")
QUEUE: Final = ("name", "tags", "ready", "unacked", "consumers", "eligible", "warning")
SPANS: Final = frozenset({"for", "longest", "seen", "up"})
"""Columns that hold seconds."""
NOTHING: Final[tuple[object, ...]] = (None, "", [])
UNTOLD: Final[dict[str, tuple[object, ...]]] = {"exact": (None, True), "epoch": (None, 1), "priority": (None, "medium")}
"""Values that a table need not show, by column."""

OfSeed = Annotated[
    str | None,
    typer.Option("--seed", autocompletion=seed_ids, show_default=False, help="Only entries of this seed."),
]
OfWorker = Annotated[
    str | None,
    typer.Option(
        "--worker", autocompletion=worker_ids, show_default=False, help="Only batches that this worker holds."
    ),
]
State = Annotated[str | None, typer.Option("--state", show_default=False, help="Only entries in this state.")]


@dataclass(frozen=True, slots=True)
class Listing:
    """A kind of list: its title, its columns, and what a column of a row holds."""

    title: str
    columns: Sequence[str]
    cell: Callable[[Row, str], object]


app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator seeds --sort -available --limit 10",
        "coordinator seeds --state released --match 'img-*'",
        "coordinator seeds --json",
    )
)
def seeds(
    *,
    state: State = None,
    match: Match = None,
    tag: Tag = None,
    sort: Sort = None,
    limit: Limit = None,
    offset: Offset = 0,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the seeds, with the items of each that are available, queued, sent and taken."""
    found = fetch(http_url, lambda reader: reader.seeds(state=state, q=match))
    found = [row for row in found if tag is None or tag in routes(row)]
    show(SEEDS, found, Part(sort, limit, offset), as_json=as_json)


@app.command(
    epilog=examples(
        "coordinator workers --state live --tag web",
        "coordinator workers --seed photos",
        "coordinator workers --json",
    )
)
def workers(
    *,
    state: State = None,
    match: Match = None,
    tag: Tag = None,
    seed: OfSeed = None,
    sort: Sort = None,
    limit: Limit = None,
    offset: Offset = 0,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the known workers, with the batches and items that each holds, and the age of its oldest batch."""
    found = [
        row
        for row in fetch(http_url, lambda reader: reader.workers(q=match))
        if (state is None or row["state"] == state)
        and (tag is None or tag in row["tags"])
        and (seed is None or any(batch["seed"] == seed for batch in row["held"]))
    ]
    show(WORKERS, found, Part(sort, limit, offset), as_json=as_json)


@app.command(
    epilog=examples(
        "coordinator batches --worker crawler-7",
        "coordinator batches --seed photos --sort -for",
        "coordinator batches --match 0f2c81",
    )
)
def batches(
    *,
    worker: OfWorker = None,
    seed: OfSeed = None,
    match: Match = None,
    sort: Sort = None,
    limit: Limit = None,
    offset: Offset = 0,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the unacked batches with their workers, the longest held first.

    A client that neither sends heartbeats nor speaks HTTP has no name here, and its batches are estimated.
    """
    found = fetch(http_url, lambda reader: reader.batches(worker=worker, seed=seed))
    found = [row for row in found if named(row["batch"], match or "")]
    show(BATCHES, found, Part(sort, limit, offset), as_json=as_json)


@app.command(epilog=examples("coordinator queues", "coordinator queues --sort -ready", "coordinator queues --tag web"))
def queues(
    *,
    match: Match = None,
    tag: Tag = None,
    sort: Sort = None,
    limit: Limit = None,
    offset: Offset = 0,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the work queues by tags, with the number of workers that may take from each."""
    found = [
        row
        for row in fetch(http_url, Reader.queues)
        if named(row["name"], match or "") and (tag is None or tag in row["tags"])
    ]
    show(QUEUES, found, Part(sort, limit, offset), as_json=as_json)


def fetch(http_url: str | None, read: Callable[[Reader], Awaitable[Sequence[Answer]]]) -> list[Row]:
    """Read a list from a coordinator, as JSON objects."""

    async def run() -> list[Row]:
        async with known_http(Reader, http_url) as reader:
            return [row.model_dump(mode="json", by_alias=True) for row in await read(reader)]

    return asyncio.run(run())


def show(listing: Listing, rows: list[Row], part: Part, *, as_json: bool) -> None:
    """Print this part of the rows, as JSON with all fields, or as a table.

    A table leaves out columns without values.
    """
    columns, cell = listing.columns, listing.cell
    shown = part.of(rows, columns, cell)
    if as_json:
        print_json(shown)
        return
    used = [name for name in columns if any(cell(row, name) not in UNTOLD.get(name, NOTHING) for row in shown)]
    table = [[_rounded(cell(row, name), name) for name in used] for row in shown]
    print_table(listing.title, used, table, of=len(rows))


def seed_cell(row: Row, name: str) -> object:
    """What a column of a seed holds."""
    if name in ("available", "queued", "sent", "taken", "exact"):
        return (row.get("counts") or {}).get(name)
    if name == "why":
        return in_words(row.get("why"))
    return routes(row) if name == "tags" else row.get(name)


def worker_cell(row: Row, name: str, now: dt.datetime | None = None) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What a column of a worker holds, now or at another time."""
    held, now = row["held"], now or dt.datetime.now(dt.UTC)
    match name:
        case "batches":
            return len(held)
        case "items":
            return sum(batch["count"] for batch in held)
        case "seen":
            return age(row.get("lastSeen"), now)
        case "longest":
            return max((age(batch["since"], now) or 0.0 for batch in held), default=None)
        case _:
            return row.get(name)


def batch_cell(row: Row, name: str) -> object:
    """What a column of a held batch holds."""
    held_for = age(row.get("since"), dt.datetime.now(dt.UTC))
    if name == "for":
        return held_for
    if name == "worker":
        return row.get("worker") or ("(not reported yet)" if (held_for or 0.0) < UNREPORTED else "(does not report)")
    return row.get(name)


def plain_cell(row: Row, name: str) -> object:
    """The field of a row."""
    return row.get(name)


def _rounded(value: Any, name: str) -> object:  # noqa: ANN401 - whatever JSON holds
    if name in SPANS:
        return duration(value)
    return round(value, 1) if isinstance(value, float) else value


SEEDS: Final = Listing("seeds", SEED, seed_cell)
WORKERS: Final = Listing("workers", WORKER, worker_cell)
BATCHES: Final = Listing("batches", BATCH, batch_cell)
QUEUES: Final = Listing("queues", QUEUE, plain_cell)

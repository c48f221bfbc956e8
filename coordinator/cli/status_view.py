"""Draws a snapshot for `coordinator status`. Pure, so that a test sees what the screen shows."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coordinator.cli.cells import Row, age, duration, throttles
from coordinator.cli.common import cell_text
from coordinator.cli.list_options import Part
from coordinator.cli.lists import SEED, plain_cell, seed_cell, worker_cell
from coordinator.times import rfc3339

PLACES: Final = ("available", "queued", "sent", "taken")
SEED_COLUMNS: Final = ("id", "state", "priority", "throttle", "tags", *PLACES, "rate", "why")
WORKER_COLUMNS: Final = ("id", "state", "transport", "tags", "batches", "items", "longest", "seen", "holds")
QUEUE_COLUMNS: Final = ("name", "ready", "unacked", "consumers", "eligible", "warning")
LONG_HELD: Final = 600.0
"""Seconds after which a held batch causes a warning."""
MOST_WARNINGS: Final = 6
YIELDING: Final = frozenset({"holds", "why", "warning"})
"""Columns that get the width that the others leave. Another column keeps at least `MOST_KEPT` letters."""
MOST_KEPT: Final = 24
FRAME: Final = 3
"""Lines of a table besides its rows: title, head, and the number of rows that are left out."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was read at one time; `took` is the duration of the read in seconds."""

    url: str
    at: float
    seeds: list[Row]
    workers: list[Row]
    batches: list[Row]
    dead: int
    queues: list[Row]
    coordinators: list[Row]
    broker: dict[str, Any]
    took: float = 0.0

    def totals(self) -> dict[str, int]:
        """Items of all seeds by place."""
        return {place: sum(row["counts"][place] for row in self.seeds) for place in PLACES}

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "at": rfc3339(self.at),
            "url": self.url,
            "items": self.totals(),
            "dead": self.dead,
            "warnings": warnings(self),
            "seeds": self.seeds,
            "workers": self.workers,
            "batches": self.batches,
            "queues": self.queues,
            "coordinators": self.coordinators,
            "broker": self.broker,
        }


def warnings(snapshot: Snapshot) -> list[str]:
    """What an operator should look at, worst first."""
    found = []
    broker = snapshot.broker
    if broker["blocked"]:
        found.append("the broker has an alarm and accepts no messages: coordinator doctor")
    found += [f"the broker's node {node['name']} is down" for node in broker["nodes"] if not node["running"]]
    found += [f"{queue['name']}: {queue['warning']}" for queue in snapshot.queues if queue.get("warning")]
    states = Counter(str(worker_cell(row, "state")) for row in snapshot.workers)
    waits = sum(
        row["counts"]["available"] + row["counts"]["queued"] for row in snapshot.seeds if row["state"] == "running"
    )
    if waits and not states.get("live"):
        found.append(f"{waits} items wait, and no worker is live")
    now = dt.datetime.fromtimestamp(snapshot.at, dt.UTC)
    old = [row for row in snapshot.batches if (age(row["since"], now) or 0.0) > LONG_HELD]
    if old:
        found.append(f"{len(old)} batches are held for over {duration(LONG_HELD)}: coordinator batches --sort -for")
    if snapshot.dead:
        found.append(f"{snapshot.dead} dead letters: coordinator dead")
    return found


def render(snapshot: Snapshot, sort: str | None, *, height: int | None, problem: str | None = None) -> RenderableType:
    """The view, cut to this many lines if a height is given.

    Raises:
        BadParameter: the seeds have no such column.
    """
    parts: list[RenderableType] = [_head(snapshot), _summary(snapshot)]
    problems = ([f"no answer since then, trying again: {problem}"] if problem else []) + warnings(snapshot)
    parts += [
        Text(f"! {cell_text(line)}", style="bold red", no_wrap=True, overflow="ellipsis")
        for line in problems[:MOST_WARNINGS]
    ]
    order = sort or "-available"
    seeds = Part(order).of(snapshot.seeds, SEED, _seed_cell)
    workers = sorted(snapshot.workers, key=lambda row: (worker_cell(row, "state") != "live", row["id"]))
    queues = sorted(snapshot.queues, key=lambda row: -row.get("ready", 0))
    rooms = _rooms(None if height is None else height - len(parts) - 1, [len(seeds), len(workers), len(queues)])
    now = dt.datetime.fromtimestamp(snapshot.at, dt.UTC)
    parts.append(_table("seeds", SEED_COLUMNS, seeds, rooms[0], _seed_cell))
    parts.append(_table("workers", WORKER_COLUMNS, workers, rooms[1], partial(_worker_cell, now)))
    if queues:
        parts.append(_table("work queues", QUEUE_COLUMNS, queues, rooms[2], plain_cell))
    return Group(*parts)


def _head(snapshot: Snapshot) -> Text:
    broker = snapshot.broker
    words = [f"coordinator {snapshot.url}"]
    if snapshot.coordinators:
        words.append(f"{len(snapshot.coordinators)} coordinator{'s' * (len(snapshot.coordinators) != 1)}")
    if broker.get("version"):
        words.append(f"{broker.get('product', 'RabbitMQ')} {broker['version']}, {len(broker.get('nodes', ()))} node(s)")
    words.append(dt.datetime.fromtimestamp(snapshot.at).astimezone().strftime("%H:%M:%S"))
    return Text(" · ".join(map(cell_text, words)), style="bold", no_wrap=True, overflow="ellipsis")


def _summary(snapshot: Snapshot) -> Text:
    totals = snapshot.totals()
    states = Counter(str(row["state"]) for row in snapshot.seeds)
    workers = Counter(str(worker_cell(row, "state")) for row in snapshot.workers)
    rate = sum(row["rate"] for row in snapshot.seeds)
    words = [
        "items " + " / ".join(f"{totals[place]:,} {place}" for place in PLACES) + f" ({rate:,.0f}/s)",
        "seeds " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())) if states else "no seeds",
        "workers " + ", ".join(f"{count} {state}" for state, count in sorted(workers.items()))
        if workers
        else "no workers",
        f"{len(snapshot.batches)} batches held",
        f"{snapshot.dead} dead",
    ]
    return Text(" · ".join(words), no_wrap=True, overflow="ellipsis")


def _worker_cell(now: dt.datetime, row: Row, name: str) -> object:
    if name == "holds":
        return ", ".join(f"{one['batch'][:8]} of {one['seed']}" for one in row["held"][:3])
    value = worker_cell(row, name, now)
    if name in {"seen", "longest"}:
        return duration(value) + " ago" * (name == "seen")
    return value


def _table(title: str, names: Sequence[str], rows: Sequence[Row], room: int | None, cell: Any) -> RenderableType:  # noqa: ANN401 - a cell's text or number
    shown = rows if room is None else rows[:room]
    used = [name for name in names if any(cell(row, name) not in (None, "", []) for row in shown)] or list(names[:1])
    head = Text(f"{title}: {len(rows)}", style="bold")
    if not shown:
        return head
    table = Table(box=None, pad_edge=False)
    for name in used:
        numeric = all(isinstance(cell(row, name), (int, float)) for row in shown)
        widest = max((len(cell_text(cell(row, name))) for row in shown), default=0)
        least = 1 if name in YIELDING else min(MOST_KEPT, max(widest, len(name)))
        table.add_column(
            Text(name), justify="right" if numeric else "left", no_wrap=True, overflow="ellipsis", min_width=least
        )
    for row in shown:
        style = "dim" if row.get("state") == "released" else ""
        table.add_row(*(Text(cell_text(cell(row, name))) for name in used), style=style)
    left = len(rows) - len(shown)
    return Group(head, table, Text(f"… and {left} more", style="dim")) if left else Group(head, table)


def _rooms(height: int | None, counts: Sequence[int]) -> list[int | None]:
    """The number of rows for each table. Free lines are shared row by row among tables that have more rows."""
    if height is None:
        return [None] * len(counts)
    free = max(len(counts), height - FRAME * sum(count > 0 for count in counts))
    rooms = [0] * len(counts)
    while free > 0 and any(room < count for room, count in zip(rooms, counts, strict=True)):
        for at, count in enumerate(counts):
            if free > 0 and rooms[at] < count:
                rooms[at] += 1
                free -= 1
    return list(rooms)


def _seed_cell(row: Row, name: str) -> object:
    if name == "rate":
        return round(row["rate"], 1)
    return throttles(row) if name == "throttle" else seed_cell(row, name)

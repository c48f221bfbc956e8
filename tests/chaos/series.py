"""What processes and broker used over time, one row for each stretch of it: whether anything grows is seen there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from tests.chaos.history import Event, Phase, Sample, of

COLUMNS = (
    ("coordinator", "rss_mb"),
    ("coordinator", "tasks"),
    ("coordinator", "files"),
    ("worker", "rss_mb"),
    ("worker", "files"),
    ("broker", "memory_mb"),
    ("broker", "connections"),
    ("broker", "channels"),
    ("broker", "queues"),
)


def rows(events: list[Event], stretch: float) -> Iterator[dict[str, float]]:
    """One row for each stretch of so many seconds: the median over all processes of a kind, by `kind.figure`.

    Medians, since a coordinator that was started just now, or waits for the broker, says little about growth.
    """
    begins = [one.at for one in of(Phase, events) if one.name == "load"]
    samples = of(Sample, events)
    if not begins or not samples:
        return
    found: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        if sample.at >= begins[0]:
            place = int((sample.at - begins[0]) // stretch)
            for name, value in sample.numbers.items():
                found[place][f"{kind_of(sample.process)}.{name}"].append(value)
    for place, numbers in sorted(found.items()):
        names = [f"{kind}.{name}" for kind, name in COLUMNS]
        yield {"seconds": place * stretch} | {name: round(median(numbers[name]), 1) for name in names if numbers[name]}


def kind_of(process: str) -> str:
    """What a process is, by its name."""
    kind = process.partition("-")[0]
    return kind if kind in {"coordinator", "broker"} else "worker"


def to_csv(table: list[dict[str, float]]) -> str:
    """The rows with a line of names before them; what a row lacks is left empty."""
    names = ["seconds", *(f"{kind}.{name}" for kind, name in COLUMNS)]
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in table)]
    return "\n".join(lines) + "\n"


def growth(table: list[dict[str, float]]) -> Iterator[str]:
    """What each figure was in the second row, when all had begun to work, and what it was in the last."""
    if len(table) < 3:
        return
    first, last = table[1], table[-1]
    for kind, name in COLUMNS:
        key = f"{kind}.{name}"
        if key in first and key in last:
            yield f"{kind} {name} {first[key]:g} -> {last[key]:g}"

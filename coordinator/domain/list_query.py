"""Which entries of a list are wanted, and in which order: entries are JSON objects as they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

View = dict[str, Any]

SEED_SORTS: Final = ("id", "available", "queued", "sent", "taken", "rate")
WORKER_SORTS: Final = ("id", "state", "transport", "lastSeen", "held")
HELD_SORTS: Final = ("since", "count", "batch", "seed", "worker")


def both_ways(sorts: Iterable[str]) -> list[str]:
    """Each key, and each turned round."""
    return [key for one in sorts for key in (one, f"-{one}")]


def ordered(entries: Sequence[View], sort: str) -> list[View]:
    """The entries by this key: a figure of `counts` too, or how many of a list; a leading `-` turns it round.

    Entries that are alike stay in the order they come in, and those without a value come last.
    """
    key = sort.removeprefix("-")
    known = [entry for entry in entries if _value(entry, key) is not None]
    unknown = [entry for entry in entries if _value(entry, key) is None]
    return sorted(known, key=lambda entry: _value(entry, key), reverse=sort.startswith("-")) + unknown


def named(ident: str, part: str) -> bool:
    """Whether an id holds this part, in whatever case."""
    return part.casefold() in ident.casefold()


def _value(entry: View, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    counts = entry.get("counts")
    found = counts[key] if isinstance(counts, dict) and key in counts else entry.get(key)
    return len(found) if isinstance(found, list | tuple) else found

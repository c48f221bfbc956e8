"""Which entries of a list are wanted, and in which order: entries are JSON objects as they are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

View = dict[str, Any]

SEED_SORTS: Final = ("id", "available", "queued", "sent", "taken", "rate")
WORKER_SORTS: Final = ("id", "state", "transport", "lastSeen", "held")
HELD_SORTS: Final = ("since", "count", "batch", "seed", "worker")


def both_ways(sorts: Iterable[str]) -> list[str]:
    """Each key, and each turned round."""
    return [key for one in sorts for key in (one, f"-{one}")]


def value_of(entry: View, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What to sort an entry by: a field, a figure of its `counts`, or the length of a list."""
    counts = entry.get("counts")
    found = counts[key] if isinstance(counts, dict) and key in counts else entry.get(key)
    return len(found) if isinstance(found, list | tuple) else found


def ordered(entries: Sequence[View], sort: str, value: Callable[[View, str], Any] = value_of) -> list[View]:
    """The entries by this key; a leading `-` turns the order round.

    Entries with equal values keep their order, and those without a value come last.
    """
    key = sort.removeprefix("-")
    known = [entry for entry in entries if value(entry, key) is not None]
    unknown = [entry for entry in entries if value(entry, key) is None]
    return sorted(known, key=lambda entry: value(entry, key), reverse=sort.startswith("-")) + unknown


def named(ident: str, part: str) -> bool:
    """Whether an id holds this part or fits it as a pattern with `*`, `?` and `[…]`; the case does not matter."""
    ident, part = ident.casefold(), part.casefold()
    return part in ident or fnmatchcase(ident, part)

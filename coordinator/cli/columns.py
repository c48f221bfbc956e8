"""Rows of a list as they are asked for: filtered, sorted, and a part of them. All of it is pure."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import typer

Row = dict[str, Any]

GLOB: Final = frozenset("*?[")
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)")
MINUTE, HOUR, DAY = 60, 3600, 86_400

Match = Annotated[
    str | None,
    typer.Option("--match", metavar="TEXT", show_default=False, help="Part of the id, or a pattern such as 'img-*'."),
]
Tag = Annotated[str | None, typer.Option("--tag", show_default=False, help="Only what has this tag.")]
Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="NAME", show_default=False, help="Sort by this column; -NAME: the largest first."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, show_default=False, help="How many to print at most.")]
Offset = Annotated[int, typer.Option("--offset", min=0, help="How many to leave out before.")]


@dataclass(frozen=True, slots=True)
class Part:
    """In which order rows come, and which part of them."""

    sort: str | None = None
    limit: int | None = None
    offset: int = 0

    def of(self, rows: Sequence[Row], columns: Sequence[str], cell: Callable[[Row, str], object]) -> list[Row]:
        """This part of the rows; rows without a value come last, whichever way they are sorted.

        Raises:
            BadParameter: there is no such column.
        """
        found = list(rows)
        if self.sort is not None:
            name = self.sort.removeprefix("-")
            if name not in columns:
                raise typer.BadParameter(f"{name!r} is none of {', '.join(columns)}", param_hint="--sort")
            known = [row for row in found if cell(row, name) is not None]
            blank = [row for row in found if cell(row, name) is None]
            known.sort(key=lambda row: _key(cell(row, name)), reverse=self.sort.startswith("-"))
            found = known + blank
        end = None if self.limit is None else self.offset + self.limit
        return found[self.offset : end]


def matches(pattern: str | None, text: str) -> bool:
    """Whether a text fits a pattern with `*`, `?` or `[…]`, or holds a text without any."""
    if pattern is None:
        return True
    return fnmatchcase(text, pattern) if GLOB.intersection(pattern) else pattern in text


def is_one(wanted: str | None, found: object) -> bool:
    """Whether a value is the wanted one, where one is wanted."""
    return wanted is None or found == wanted


def routes(row: Row) -> list[str]:
    """The tags that a seed's policies ask for."""
    return [policy["routeTo"] for policy in row.get("policies") or () if policy.get("type") == "route"]


def throttles(row: Row) -> str:
    """A seed's throttles, such as `500/second`."""
    policies = [policy for policy in row.get("policies") or () if policy.get("type") == "throttle"]
    return ", ".join(f"{policy['value']}/{policy['period']}" for policy in policies)


def age(since: object, now: dt.datetime) -> float | None:
    """Seconds since an RFC 3339 moment; None where it is none."""
    try:
        return max(0.0, (now - dt.datetime.fromisoformat(str(since))).total_seconds())
    except (ValueError, TypeError):
        return None


def in_words(text: str | None) -> str | None:
    """A sentence of the coordinator with its moments as times of the day here."""
    return text and MOMENT.sub(lambda found: f"{dt.datetime.fromisoformat(found[0]).astimezone():%H:%M:%S}", text)


def duration(seconds: float | None) -> str:
    """A time span in a few letters."""
    if seconds is None:
        return ""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - a tenth matters below that


def size(count: float | None) -> str:
    """So many bytes in a few letters."""
    if count is None:
        return ""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(len(units) - 1, int(math.log2(max(1, count))) // 10)
    return f"{count / 1024**power:.{0 if count >= 10 * 1024**power or not power else 1}f} {units[power]}"


def _key(value: object) -> tuple[int, float, str]:
    """What sorts numbers among themselves before texts."""
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, ", ".join(map(str, value)) if isinstance(value, list) else str(value))

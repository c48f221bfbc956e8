"""Formats what tables show: a seed's policies, times, durations and sizes."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from rich.filesize import pick_unit_and_suffix

Row = dict[str, Any]

MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)")
MINUTE, HOUR, DAY = 60, 3600, 86_400


def routes(row: Row) -> list[str]:
    """The tags that a seed's routes name."""
    return [policy["routeTo"] for policy in row.get("policies") or () if policy.get("type") == "route"]


def throttles(row: Row) -> str:
    """A seed's throttles, such as `500/second`."""
    policies = [policy for policy in row.get("policies") or () if policy.get("type") == "throttle"]
    return ", ".join(f"{policy['value']}/{policy['period']}" for policy in policies)


def age(since: object, now: dt.datetime) -> float | None:
    """Seconds since an RFC 3339 time; None if the value is not such a time."""
    try:
        return max(0.0, (now - dt.datetime.fromisoformat(str(since))).total_seconds())
    except (ValueError, TypeError):
        return None


def in_words(text: str | None) -> str | None:
    """A sentence of the coordinator, with each RFC 3339 time in it as the local time of day."""
    return text and MOMENT.sub(lambda found: f"{dt.datetime.fromisoformat(found[0]).astimezone():%H:%M:%S}", text)


def duration(seconds: float | None) -> str:
    """A duration in its largest unit."""
    if seconds is None:
        return ""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - a tenth matters below that


def size(count: float | None) -> str:
    """A number of bytes in its largest unit."""
    if count is None:
        return ""
    unit, suffix = pick_unit_and_suffix(int(count), ["B", "KiB", "MiB", "GiB", "TiB"], 1024)
    return f"{count / unit:.{0 if count >= 10 * unit or unit == 1 else 1}f} {suffix}"

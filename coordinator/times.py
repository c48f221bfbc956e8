"""The one form in which times are written."""

from __future__ import annotations

import datetime as dt


def rfc3339(at: float) -> str:
    """Unix time in seconds as RFC 3339 in UTC, with milliseconds and `Z`."""
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Lists are sorted by fields, figures and lengths, either way; rates come from totals."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.domain.list_query import both_ways, named, ordered
from coordinator.domain.throughput import Pace

ENTRIES: list[dict[str, Any]] = [
    {"id": "b", "counts": {"taken": 3}, "held": [1, 2], "worker": None},
    {"id": "a", "counts": {"taken": 9}, "held": [], "worker": "x"},
    {"id": "c", "counts": {"taken": 3}, "held": [1], "worker": "w"},
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("id", "abc"),
        ("-id", "cba"),
        ("taken", "bca"),
        ("-taken", "abc"),
        ("held", "acb"),
        ("worker", "cab"),
        ("-worker", "acb"),
    ],
)
def test_order(sort: str, expected: str) -> None:
    """Those that are alike stay as they were, and those without a value come last, either way."""
    assert "".join(entry["id"] for entry in ordered(ENTRIES, sort)) == expected


def test_names() -> None:
    """A part of an id is found in whatever case, an empty one in all; a pattern fits as a whole."""
    assert named("Photos/ß", "HOTOS/SS")
    assert named("photos", "")
    assert not named("photos", "video")
    assert named("IMG-1", "img-*")
    assert named("a[1]", "a[1]")
    assert not named("img-1", "mg-*")
    assert not named("img-10", "img-?")
    assert named("AAABcID5GBc=", "=")
    assert both_ways(["id"]) == ["id", "-id"]


def test_rates() -> None:
    """A rate is what a total grew by over the last ten seconds; one that began anew is no negative one."""
    pace = Pace()
    assert pace.rate("s") == 0.0
    for second in range(20):
        pace.saw(100.0 + second, {"s": second * 5, "t": 20 - second})
    assert pace.rate("s") == pytest.approx(5.0)
    assert pace.rate("t") == pace.rate("unknown") == 0.0


def test_what_was_taken_settles() -> None:
    """A total that has grown within three seconds is not settled, one that has not is."""
    pace = Pace()
    for at, total in ((0.0, 1), (1.0, 2), (2.0, 2), (3.0, 2)):
        pace.saw(at, {"s": total})
    assert not pace.is_settled("s", 2)
    pace.saw(4.0, {"s": 2})
    assert pace.is_settled("s", 2)
    assert not pace.is_settled("s", 3)

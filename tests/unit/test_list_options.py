"""Rows of lists: which of them, and in which order."""

from __future__ import annotations

import pytest
import typer

from coordinator.cli.cells import Row
from coordinator.cli.list_options import Part

ROWS: list[Row] = [{"id": "b", "n": 2}, {"id": "a", "n": None}, {"id": "c", "n": 10}, {"id": "d", "n": 0.5}]


def ids(part: Part) -> str:
    """The ids of this part of the rows."""
    return "".join(row["id"] for row in part.of(ROWS, ("id", "n"), lambda row, name: row[name]))


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (Part(), "bacd"),
        (Part("id"), "abcd"),
        (Part("-id"), "dcba"),
        (Part("n"), "dbca"),
        (Part("-n"), "cbda"),
        (Part("-n", limit=2), "cb"),
        (Part("-n", limit=2, offset=1), "bd"),
        (Part(offset=9), ""),
    ],
)
def test_a_part_of_the_rows(part: Part, wanted: str) -> None:
    """Numbers sort as numbers, what has no value comes last either way, and the offset counts after sorting."""
    assert ids(part) == wanted


def test_an_unknown_column_is_named() -> None:
    """Who sorts by what is not there is told what is."""
    with pytest.raises(typer.BadParameter, match="'m' is not one of id, n"):
        ids(Part("-m"))

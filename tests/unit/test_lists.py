"""Order and filters of lists."""

from __future__ import annotations

import pytest

from coordinator.domain.lists import View, both_ways, named, ordered


def ids(entries: list[View]) -> list[str]:
    """The entries' ids, in order."""
    return [str(entry["id"]) for entry in entries]


SEEDS: list[View] = [
    {"id": "b", "rate": 0.5, "counts": {"available": 3, "queued": 0}},
    {"id": "c", "rate": 2.0, "counts": {"available": 1, "queued": 0}},
    {"id": "a", "rate": 2.0, "counts": {"available": 2, "queued": 0}},
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("id", "abc"),
        ("-id", "cba"),
        ("available", "cab"),
        ("-available", "bac"),
        ("rate", "bca"),
        ("-rate", "cab"),
        ("queued", "bca"),
        ("-queued", "bca"),
    ],
)
def test_the_order(sort: str, expected: str) -> None:
    """By a field or a count, either way; what is alike stays in the order it came in, either way too."""
    assert ids(ordered(SEEDS, sort)) == list(expected)


@pytest.mark.parametrize("sort", ["worker", "-worker"])
def test_what_has_no_value_comes_last(sort: str) -> None:
    """Either way."""
    held: list[View] = [{"id": "1", "worker": None}, {"id": "2", "worker": "w"}, {"id": "3", "worker": None}]
    assert ids(ordered(held, sort)) == ["2", "1", "3"]


def test_a_list_counts_by_its_length() -> None:
    """A worker that holds more comes later, whatever it holds."""
    workers: list[View] = [{"id": "x", "held": ["a", "b"]}, {"id": "y", "held": ["z"]}, {"id": "z", "held": []}]
    assert ids(ordered(workers, "held")) == ["z", "y", "x"]


def test_a_part_of_an_id() -> None:
    """In whatever case, anywhere in it; the empty part is in all."""
    assert named("Photos-1", "TOS")
    assert named("STRASSE", "straße")
    assert named("a", "")
    assert not named("photos", "videos")


def test_both_ways() -> None:
    """Each key and its opposite."""
    assert both_ways(("id", "rate")) == ["id", "-id", "rate", "-rate"]

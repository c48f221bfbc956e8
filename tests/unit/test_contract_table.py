"""The table that maps the contract to tests: every test it names is there, and every gap is owned up to."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "contract-tests.md"
TEST = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
REASON = re.compile(r"\b(open|later): \S.+")


class Row(NamedTuple):
    """A promise, and what is said of its tests."""

    ident: str
    promise: str
    shown: str


def rows() -> list[Row]:
    """The rows of all tables of the page, without their heads."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(Row._fields) for row in cells), "a cell holds a `|`"
    return [Row(*row) for row in cells if row[0] != "id" and set(row[0]) != {"-"}]


@cache
def read_tests(name: str) -> frozenset[str]:
    """The names of the tests in a file, none where there is no such file."""
    path = ROOT / name
    if not path.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def test_every_named_test_exists() -> None:
    """A test that was renamed or removed is noticed here."""
    named = [(row.ident, match[1], match[2]) for row in rows() for match in TEST.finditer(row.shown)]
    assert named
    assert [one for one in named if one[2] not in read_tests(one[1])] == []


def test_every_row_has_a_test_or_a_reason() -> None:
    """A promise without a test says why, and everything that looks like a test's name is read as one."""
    bare = [row.ident for row in rows() if not TEST.search(row.shown) and not REASON.search(row.shown)]
    assert bare == []
    assert [row.ident for row in rows() if row.shown.count("::") != len(TEST.findall(row.shown))] == []


def test_every_row_has_an_id_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Ids and promises are there and told once; the number of open rows is shown."""
    table = rows()
    assert len({row.ident for row in table}) == len(table)
    assert len({row.promise for row in table}) == len(table)
    assert all(row.ident and row.promise for row in table)
    with capsys.disabled():
        print(f"\ncontract: {len(table)} rows, {sum('open: ' in row.shown for row in table)} open")  # noqa: T201 - meant to be seen

"""The page of log events: it names each event of the source, with its levels and fields, and no other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logs.md"
LEVELS = {"debug", "info", "warning", "error", "exception"}
NAME = re.compile(r"[a-z_]+\.[a-z_]+")
ROW = re.compile(r"\| `([\w.]+)` \| ([\w, ]+) \| ([^|]*) \| ([^|]+) \|")


class Event(NamedTuple):
    """A call that logs."""

    name: str
    level: str
    fields: frozenset[str]
    where: str


def events() -> Iterator[Event]:
    """All calls that log, in the packages that are installed."""
    for package in ("coordinator", "worker_stub"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if _is_log(node):
                    assert isinstance(node, ast.Call)
                    assert isinstance(node.func, ast.Attribute)
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    first = node.args[0]
                    assert isinstance(first, ast.Constant), f"{where}: an event's name is written out"
                    assert isinstance(first.value, str)
                    level = {"exception": "error"}.get(node.func.attr, node.func.attr)
                    fields = {keyword.arg for keyword in node.keywords if keyword.arg not in {None, "exc_info"}}
                    yield Event(first.value, level, frozenset(str(one) for one in fields), where)


def _is_log(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "_log"}
    )


def listed() -> dict[str, tuple[set[str], set[str]]]:
    """The page's events, with their levels and fields."""
    rows = ROW.findall(PAGE.read_text())
    return {name: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields))) for name, levels, fields, _ in rows}


def test_every_event_is_on_the_page_and_the_other_way_round() -> None:
    """A new event is described, one that is gone is struck out; its levels and fields are those of the source."""
    levels: defaultdict[str, set[str]] = defaultdict(set)
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for event in events():
        levels[event.name].add(event.level)
        fields[event.name] |= event.fields
    assert len(levels) > 50
    assert listed() == {name: (levels[name], fields[name]) for name in levels}


def test_names_say_what_and_what_of_it() -> None:
    """An event's name is two words: what it is about, and what of it."""
    assert [event.where for event in events() if not NAME.fullmatch(event.name)] == []

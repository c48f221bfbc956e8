"""The one form in which times are written."""

from __future__ import annotations

import ast
import datetime as dt
from pathlib import Path

from coordinator.times import rfc3339

ROOT = Path(__file__).parents[2]


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    """Whole seconds have their milliseconds too, so that times of one column can be compared as text."""
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_767_225_600.25) == "2026-01-01T00:00:00.250Z"


def test_a_time_can_be_read_again() -> None:
    """What is written is the same moment."""
    at = 1_767_225_600.125
    assert dt.datetime.fromisoformat(rfc3339(at)).timestamp() == at


def test_no_other_module_writes_times() -> None:
    """A second function would sooner or later write another form."""
    writers = [
        str(path.relative_to(ROOT))
        for package in ("coordinator", "worker_stub")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "isoformat"
    ]
    assert writers == ["coordinator/times.py"]

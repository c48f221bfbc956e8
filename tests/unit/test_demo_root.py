"""Which tree the demo crawls when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.demo import crawl


def test_the_first_large_tree_or_else_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first with entries enough is taken; in a system that has none, the largest."""
    for name, files in (("small", 3), ("large", 9), ("larger", 20)):
        (tmp_path / name).mkdir()
        for number in range(files):
            (tmp_path / name / f"{number}").touch()
    monkeypatch.setattr(crawl, "CANDIDATES", [str(tmp_path / name) for name in ("none", "small", "large", "larger")])
    monkeypatch.setattr(crawl, "LEAST", 10)
    assert crawl.default_root() == str(tmp_path / "large")
    monkeypatch.setattr(crawl, "LEAST", 100)
    assert crawl.default_root() == str(tmp_path / "larger")

"""The page of the command line: its reference is the commands' own help."""

from __future__ import annotations

from pathlib import Path

from coordinator.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_reference_is_true() -> None:
    """Where this fails, put what `python -m coordinator.cli.reference` prints below the page's head `Reference`."""
    assert PAGE.read_text().partition("## Reference\n")[2] == reference()

"""Lines of prose in the documentation have at most 100 characters, so that terminals and diffs show them whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 100
PAGES = frozenset(
    str(path.relative_to(ROOT))
    for path in (*(ROOT / "docs").glob("*.md"), *map(ROOT.joinpath, ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")))
)
GENERATED = {"docs/cli.md": "## Reference"}
"""By page: the heading below which a program writes the text."""
FENCE = re.compile(r"\s*(`{3,}|~{3,})")
UNBREAKABLE = re.compile(r"\s*(\||!\[[^\]]*\]\([^)]*\)\s*$|\[[^\]]+\]: )")
"""Rows of tables, images that stand alone, definitions of links: Markdown does not allow a line break in them."""


def long_lines(text: str, generated: str | None = None) -> Iterator[int]:
    """The numbers of the lines of prose that are too wide, up to the heading `generated`.

    Args:
        text: a page of Markdown.
        generated: the heading at which the check stops.
    """
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and line.strip() == found[1]:
                fence = ""
        elif found:
            fence = found[1]
        elif line == generated:
            return
        elif len(line) > WIDTH and not UNBREAKABLE.match(line):
            yield number


@pytest.mark.parametrize("page", sorted(PAGES))
def test_lines_of_prose_are_short(page: str) -> None:
    """Where this fails, wrap the lines that it names."""
    text = (ROOT / page).read_text()
    assert [f"{page}:{number}" for number in long_lines(text, GENERATED.get(page))] == []


def test_only_prose_is_measured() -> None:
    """Tables, code blocks, images and definitions of links may be wide; paragraphs, lists and headings may not."""
    wide = "x" * WIDTH
    page = [
        f"{wide}x",
        wide,
        f"- {wide}",
        f"# {wide}",
        f"| {wide} |",
        f"![{wide}](a.png)",
        f"[a]: {wide}",
        "````json",
        "```",
        f"{wide}x",
        "````",
        f"see ![{wide}](a.png)",
        "## Reference",
        f"{wide}x",
    ]
    assert list(long_lines("\n".join(page), "## Reference")) == [1, 3, 4, 12]
    assert list(long_lines("\n".join(page))) == [1, 3, 4, 12, 14]

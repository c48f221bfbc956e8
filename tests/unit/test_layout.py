"""The layout of the tests: what they share lies in tests/helpers, so that no test file needs another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the names of all modules that a file imports, and of what it takes out of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_test_file(name: str) -> bool:
    """Return whether an imported name leads into a file that pytest collects, or into a conftest."""
    first, *parts = name.split(".")
    return first == "tests" and any(
        part == "conftest" or (part.startswith("test_") and (ROOT / "tests").joinpath(*parts[:place]).is_dir())
        for place, part in enumerate(parts)
    )


def test_no_test_file_is_imported() -> None:
    """Tests that lean on another test file fail when that one changes; what they share lies in tests/helpers."""
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in imported(ast.parse(path.read_text()))
        if is_test_file(name)
    }
    assert not found, "move what these share into tests/helpers:\n" + "\n".join(sorted(found))

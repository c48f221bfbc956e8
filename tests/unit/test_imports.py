"""Modules do not import each other in circles, not even for types or inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("coordinator", "worker_stub")

Imports = Mapping[str, frozenset[str]]
"""For each module, the modules that it imports."""


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a module; a package is its `__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, package: str, modules: frozenset[str]) -> Iterator[str]:
    """The modules that a tree imports anywhere, under `TYPE_CHECKING` and in functions too.

    `from a import b` means the module `a.b` where there is one, and else the module `a`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                if submodule in modules:
                    yield submodule
                elif source in modules:
                    yield source


def imports_of(root: Path, packages: tuple[str, ...]) -> Imports:
    """Read the imports of all modules of these packages."""
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    modules = {module_name(file, root): file for file in files}
    return {
        name: frozenset(
            imported(
                ast.parse(file.read_text()),
                name if file.name == "__init__.py" else name.rpartition(".")[0],
                frozenset(modules),
            )
        )
        - {name}
        for name, file in modules.items()
    }


def circle(imports: Imports) -> list[str]:
    """The shortest import circle, its first module repeated at the end; empty when there is no circle."""
    found = [path for start in imports if (path := _way_back(imports, start))]
    return min(found, key=len, default=[])


def _way_back(imports: Imports, start: str) -> list[str]:
    """The shortest path of imports from a module back to itself."""
    seen, paths = {start}, [[start]]
    while paths:
        longer = []
        for path in paths:
            for name in sorted(imports[path[-1]]):
                if name == start:
                    return [*path, start]
                if name not in seen:
                    seen.add(name)
                    longer.append([*path, name])
        paths = longer
    return []


def test_there_is_no_import_circle() -> None:
    """A reader can start at any module and read what it imports, down to the bottom."""
    imports = imports_of(ROOT, PACKAGES)
    assert {"coordinator.broker.connection", "worker_stub.worker"} <= imports.keys()
    found = circle(imports)
    assert not found, "import circle: " + " -> ".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "from package.b import B",
        "from package import b",
        "from . import b",
        "from .b import B",
        "import package.b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.b import B",
        "def run():\n    from package.b import B",
    ],
)
def test_every_kind_of_import_is_seen(text: str, tmp_path: Path) -> None:
    """The circle is found and named, wherever in the module the import stands."""
    (tmp_path / "package").mkdir()
    for name, content in {
        "__init__": "",
        "a": text,
        "b": "from package import c",
        "c": "from package.a import A",
    }.items():
        (tmp_path / "package" / f"{name}.py").write_text(content)
    assert circle(imports_of(tmp_path, ("package",))) == ["package.a", "package.b", "package.c", "package.a"]

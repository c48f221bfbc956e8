"""The floors of the house: a module imports only from below, and stays small enough to be read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = (
    "coordinator",
    "session",
    "wiring",
    "background",
    "parts",
    "process_state",
    "releases",
    "observe",
    "workers",
    "failures",
    "leases",
    "dispatch",
    "work_queues",
    "seeds",
    "events",
    "replicas",
    "registry",
)
"""The folders and modules of `coordinator/node`, top floor first."""
TOPS = {"coordinator.http", "coordinator.cli", "coordinator.client", "coordinator.demo", "worker_stub"}
"""What nothing below may import, and what may import it beside itself."""
ALLOWED = {
    "coordinator.http": {"coordinator.cli", "coordinator.demo"},
    "coordinator.cli": {"coordinator.__main__"},
    "coordinator.client": {"coordinator.cli", "coordinator.demo", "worker_stub"},
    "coordinator.demo": {"coordinator.cli"},
    "worker_stub": {"coordinator.demo"},
}
IMPURE = {"asyncio", "time", "socket", "threading", "aio_pika", "httpx", "coordinator.node", "coordinator.broker"}
MOST_LINES, MOST_OF_FUNCTION = 300, 40


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Return the name, path and syntax of each module of the two packages."""
    for package in ("coordinator", "worker_stub"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, path, ast.parse(path.read_text())


MODULES = list(modules())


def imports(name: str, path: Path, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Return what a module imports, also within functions and for types alone, each with its line."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                yield f"{source}.{alias.name}", node.lineno


def is_in(name: str, package: str) -> bool:
    """Return whether a module is a package, or in it."""
    return name == package or name.startswith(f"{package}.")


def floor_of(name: str) -> int | None:
    """Return the floor of a module of `coordinator.node`, 0 for the top; None for other modules."""
    if not name.startswith("coordinator.node."):
        return None
    return FLOORS.index(name.split(".")[2])


def test_every_folder_has_its_floor() -> None:
    """A new folder or module of `node/` is put into the list."""
    names = {name.split(".")[2] for name, _, _ in MODULES if name.startswith("coordinator.node.")}
    assert names == set(FLOORS)


def test_no_import_points_up() -> None:
    """A floor imports only from itself and from floors below."""
    wrong = []
    for name, path, tree in MODULES:
        mine = floor_of(name)
        for imported, line in imports(name, path, tree):
            theirs = floor_of(imported)
            if mine is not None and theirs is not None and theirs < mine:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {FLOORS[mine]} imports {FLOORS[theirs]} above it")
    assert wrong == []


def test_nothing_below_imports_the_node() -> None:
    """Words, decisions and the broker know nothing of the running coordinator."""
    above = {"coordinator.node", "coordinator.healthcheck", "coordinator.__main__", *TOPS}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {imported}"
        for name, path, tree in MODULES
        if not any(is_in(name, package) for package in above)
        for imported, line in imports(name, path, tree)
        if is_in(imported, "coordinator.node")
    ]
    assert wrong == []


def test_what_faces_users_is_imported_by_nothing_below() -> None:
    """The HTTP shim, the command line, the clients, the demo and the worker stand on top, beside each other."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {imported}"
        for name, path, tree in MODULES
        for imported, line in imports(name, path, tree)
        for top in TOPS
        if is_in(imported, top) and not any(is_in(name, one) for one in {top, *ALLOWED[top]})
    ]
    assert wrong == []


def test_the_domain_is_pure() -> None:
    """A decision has no clock, no socket and no loop in it, and knows neither the broker nor the node."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {imported}"
        for name, path, tree in MODULES
        if is_in(name, "coordinator.domain")
        for imported, line in imports(name, path, tree)
        if any(is_in(imported, impure) for impure in IMPURE)
    ]
    assert wrong == []


def test_no_module_is_too_long() -> None:
    """A module is read at one go."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for _, path, _ in MODULES}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    """A function fits on a screen."""
    lengths: dict[str, int] = {}
    for _, path, tree in MODULES:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                key = f"{path.relative_to(ROOT)}:{node.name}"
                lengths[key] = max(lengths.get(key, 0), node.end_lineno - node.lineno + 1)
    assert {key: length for key, length in lengths.items() if length > MOST_OF_FUNCTION} == {}

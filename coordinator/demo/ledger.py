"""The ledger: compares the files listed before the crawl with its results."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from coordinator.models import Item
from worker_stub.filesystem import list_tree, path_of

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed entry of the tree; `size` is in bytes, and 0 for anything but a file."""

    item: Item
    is_file: bool
    size: int


@dataclass(slots=True)
class Outcome:
    """The result of one item, and how often it was published."""

    status: str
    data: dict[str, Any]
    error: str | None
    times: int = 1


@dataclass(slots=True)
class Ledger:
    """The comparison; figures count items unless their names say otherwise."""

    expected: int = 0
    done: int = 0
    failed: int = 0
    lost: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    again: int = 0
    files_listed: int = 0
    files_done: int = 0
    bytes_listed: int = 0
    bytes_done: int = 0
    media: Counter[str] = field(default_factory=Counter)
    media_bytes: Counter[str] = field(default_factory=Counter)
    hashed: int = 0
    differing: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether no item is lost, none came that was not listed, and every hash agrees."""
        return not (self.lost or self.strange or self.differing)


def list_entries(root: str) -> dict[str, Entry]:
    """Every entry that a crawl of this tree must find, by item id."""
    entries = {}
    for item in list_tree(root):
        try:
            status = os.lstat(path_of(item))
        except FileNotFoundError:
            continue
        is_file = stat.S_ISREG(status.st_mode) and item["action"] == "process"
        entries[item["id"]] = Entry(item, is_file, status.st_size if is_file else 0)
    return entries


def balance(entries: dict[str, Entry], outcomes: dict[str, Outcome]) -> Ledger:
    """Compare the results with the list."""
    ledger = Ledger(expected=len(entries))
    for ident, entry in entries.items():
        ledger.files_listed += entry.is_file
        ledger.bytes_listed += entry.size
        outcome = outcomes.get(ident)
        if outcome is None:
            ledger.lost.append(ident)
            continue
        ledger.done += 1
        ledger.failed += outcome.status == "failed"
        ledger.again += outcome.times - 1
        if outcome.data.get("type") == "file":
            ledger.files_done += 1
            ledger.bytes_done += outcome.data["size"]
            ledger.media[outcome.data["mediaType"]] += 1
            ledger.media_bytes[outcome.data["mediaType"]] += outcome.data["size"]
    ledger.strange = sorted(outcomes.keys() - entries.keys())
    return ledger


def hash_anew(entries: dict[str, Entry], outcomes: dict[str, Outcome], sample: int) -> Iterable[tuple[str, bool]]:
    """Hash some random files again; yield each item's id and whether the hash agrees with the result."""
    files = [ident for ident, outcome in outcomes.items() if outcome.data.get("type") == "file" and ident in entries]
    for ident in random.sample(files, min(sample, len(files))):
        yield ident, _hash(path_of(entries[ident].item)) == outcomes[ident].data["sha256"]


def _hash(path: bytes) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib has no paths of bytes
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

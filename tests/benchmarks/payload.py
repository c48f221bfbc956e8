"""What is sent in all comparisons, and how it is counted.

Contenders in other environments import it, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ITEMS = 100
"""Items of a batch."""
PAD = 29
"""What fills an item up to 160 bytes, together with the digits of its number."""
OUT = "BENCH_OUT"
EXPECTED = "BENCH_ITEMS"


def item(number: int) -> dict[str, Any]:
    """An item of some 160 bytes; `n` is its number, which is added up where it arrives."""
    made: dict[str, Any] = {
        "id": f"page-{number:010}",
        "n": number,
        "url": f"https://www.example.org/archive/2026/page-{number:010}.html",
        "metadata": {"kind": "page"},
    }
    made["metadata"]["pad"] = "x" * (PAD - len(str(number)))
    return made


def page(number: int, size: int = ITEMS) -> list[dict[str, Any]]:
    """The items of the page with this number."""
    return [item(number * size + place) for place in range(size)]


def pages(count: int, size: int) -> list[list[dict[str, Any]]]:
    """So many pages: a producer makes them all before it sends the first, so that making them does not count."""
    return [page(number, size) for number in range(count)]


def text(items: object) -> bytes:
    """Their JSON."""
    return json.dumps(items, separators=(",", ":")).encode()


def sum_of(count: int) -> int:
    """What the numbers of so many items add up to."""
    return count * (count - 1) // 2


class Tally:
    """Counts what a contender's handler was given, and writes that down when all has come."""

    def __init__(self, expected: int, out: Path) -> None:
        self.expected = expected
        self._out = out
        self._lock = threading.Lock()
        self.items = self.sum = self.messages = 0
        self._first = self._steady = self._cpu = 0.0
        self._before = 0
        self.latencies: list[float] = []

    @classmethod
    def of_environment(cls) -> Tally:
        """As the harness asks for by variables."""
        return cls(int(os.environ[EXPECTED]), Path(os.environ[OUT]))

    def batch(self, items: Iterable[Mapping[str, Any]]) -> None:
        """A batch was handed over."""
        self.numbers([one["n"] for one in items])

    def numbers(self, numbers: list[int]) -> None:
        """The numbers of a batch's items."""
        with self._lock:
            if not self._first:
                self.begin()
            self.messages += 1
            self.items += len(numbers)
            self.sum += sum(numbers)
            if not self._steady and self.items >= self.expected // 3:
                self._steady, self._before = time.monotonic(), self.messages
            if self.items >= self.expected:
                self._tell()

    def begin(self) -> None:
        """The first item is about to be handed over."""
        self._first, self._cpu = time.monotonic(), time.process_time()

    def _tell(self) -> None:
        told = {
            "messages": self.messages,
            "items": self.items,
            "sum": self.sum,
            "first": self._first,
            "last": time.monotonic(),
            "steady": self._steady,
            "messages_before": self._before,
            "cpu": time.process_time() - self._cpu,
        }
        if self.latencies:
            self._out.with_suffix(".latencies").write_text(json.dumps(self.latencies))
        draft = self._out.with_suffix(".draft")
        draft.write_text(json.dumps(told))
        draft.rename(self._out)

"""How many items wait in seeds' queues, where the broker tells only how many messages."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

REMEMBERED = 100_000
"""Pages whose size is remembered while they wait; beyond that their number is taken times the average."""


@dataclass(slots=True)
class _Account:
    known: dict[str, int] = field(default_factory=dict)
    items: int = 0
    strange_pages: int = 0
    strange_items: int = 0


class Pages:
    """The pages that this coordinator put into seeds' queues by id and size, and the average size of all others."""

    def __init__(self) -> None:
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self._remembered = 0

    def put(self, seed: str, page: str, count: int) -> None:
        """A page is about to be published."""
        account = self._accounts[seed]
        if self._remembered < REMEMBERED and page not in account.known:
            account.known[page] = count
            account.items += count
            self._remembered += 1

    def took(self, seed: str, page: str, count: int) -> None:
        """A page was delivered, to its owner or to nobody."""
        account = self._accounts[seed]
        known = account.known.pop(page, None)
        if known is None:
            account.strange_pages += 1
            account.strange_items += count
        else:
            account.items -= known
            self._remembered -= 1

    def estimate(self, seed: str, pages: int) -> tuple[int, bool]:
        """How many items so many waiting pages hold, and whether that is exact."""
        account = self._accounts.get(seed, _Account())
        known = len(account.known)
        if pages == known:
            return account.items, True
        if pages < known:
            return round(pages * account.items / known), False
        average = account.strange_items / account.strange_pages if account.strange_pages else 1.0
        return account.items + round((pages - known) * average), False

    def forget(self, seed: str) -> None:
        """Drop what was noted of a purged seed."""
        gone = self._accounts.pop(seed, None)
        self._remembered -= len(gone.known) if gone else 0

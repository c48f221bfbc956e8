"""What dashboards look at: each read of the API that somebody watches is repeated once for all who do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from coordinator.errors import BusyError

PERIOD: Final = 1.0
"""Seconds between two looks at the same thing."""
DEAR: Final = {"/dead": 5.0}
"""The same for what is dear: to read dead letters is to take all of them out of their queue and to give them back."""
SHARE: Final = 10.0
"""A look that takes long is repeated so many times its duration later at the earliest, so it never fills a core."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a read answered: its status and its JSON."""

    status: int
    body: bytes


Read = Callable[[str], Awaitable[Seen]]


@dataclass(eq=False, slots=True)
class _Watch:
    """One read, who watches it, and what it answered last."""

    path: str
    watchers: set[asyncio.Event] = field(default_factory=set)
    seen: Seen | None = None
    version: int = 0
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class View:
    """What one dashboard watches.

    Args:
        watches: its reads, in the order that it named them.
        changed: set when one of them has changed.
    """

    def __init__(self, watches: Sequence[_Watch], changed: asyncio.Event) -> None:
        self._watches = watches
        self._changed = changed
        self._versions = [0] * len(watches)

    async def changes(self, patience: float) -> dict[int, Seen]:
        """What has changed since the last call, by its place among the reads; nothing when nothing did for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        self._changed.clear()
        found = {}
        for place, watch in enumerate(self._watches):
            if watch.seen is not None and watch.version != self._versions[place]:
                self._versions[place] = watch.version
                found[place] = watch.seen
        return found


class Watches:
    """All reads that are watched now. Each has a task of its own, which ends with its last watcher.

    Args:
        read: answers a path of the API, query included.
        most: how many different ones may be watched at once.
        setting: the setting that says so.
    """

    def __init__(self, read: Read, most: int, setting: str = "MAX_WATCHES") -> None:
        self._read = read
        self._most = most
        self._setting = setting
        self._watches: dict[str, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def check(self, paths: Sequence[str]) -> None:
        """See whether these may be watched too.

        Raises:
            BusyError: too many different ones are watched already.
        """
        new = {path for path in paths if path not in self._watches}
        if len(self._watches) + len(new) > self._most:
            raise BusyError("reads that dashboards watch", self._most, self._setting)

    @contextlib.contextmanager
    def watch(self, paths: Sequence[str]) -> Iterator[View]:
        """Watch these reads within the block.

        Raises:
            BusyError: too many different ones are watched already.
        """
        self.check(paths)
        changed = asyncio.Event()
        watches = [self._join(path, changed) for path in paths]
        try:
            yield View(watches, changed)
        finally:
            for watch in watches:
                self._leave(watch, changed)

    def _join(self, path: str, changed: asyncio.Event) -> _Watch:
        watch = self._watches.setdefault(path, _Watch(path))
        watch.watchers.add(changed)
        watch.joined.set()
        if watch.task is None:
            watch.task = asyncio.create_task(self._keep(watch), name=f"dashboard {path}")
        if watch.seen is not None:
            changed.set()
        return watch

    def _leave(self, watch: _Watch, changed: asyncio.Event) -> None:
        watch.watchers.discard(changed)
        if not watch.watchers and watch.task is not None and self._watches.get(watch.path) is watch:
            watch.task.cancel()
            del self._watches[watch.path]

    async def _keep(self, watch: _Watch) -> None:
        while True:
            begun = time.monotonic()
            watch.joined.clear()
            seen = await self._read(watch.path)
            if seen != watch.seen:
                watch.seen = seen
                watch.version += 1
                for changed in watch.watchers:
                    changed.set()
            await asyncio.sleep(max(PERIOD, (time.monotonic() - begun) * SHARE))
            with contextlib.suppress(TimeoutError):
                # Whoever has just acted joins anew, and wants to see what came of it.
                async with asyncio.timeout(begun + _period_of(watch.path) - time.monotonic()):
                    await watch.joined.wait()


def _period_of(path: str) -> float:
    """How often a read is repeated at most, in seconds."""
    return next((period for start, period in DEAR.items() if path.startswith(start)), PERIOD)

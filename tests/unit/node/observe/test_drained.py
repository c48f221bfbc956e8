"""When a seed counts as drained, and that it is said once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from coordinator.domain.seed_traffic import Pages
from coordinator.node.observe.drained import DrainWatcher


class House:
    """What a watcher looks at: one seed, dispatched here."""

    def __init__(self) -> None:
        self.pages = Pages()
        self.out: dict[str, tuple[int, int]] = {}
        self.buffer: list[str] = []
        self.is_drained = True
        self.lines = {"s": SimpleNamespace(buffer=self.buffer)}
        self.drained: list[tuple[str, str]] = []
        self.asked = 0
        self.watcher = DrainWatcher(
            registry=cast("Any", SimpleNamespace(state=SimpleNamespace(seeds={"s": "s"}))),
            owned_seeds=cast("Any", SimpleNamespace(consumers=self.lines)),
            seed_queues=cast("Any", SimpleNamespace(pages=self.pages)),
            publisher=cast("Any", SimpleNamespace(ledger=SimpleNamespace(counts=lambda: self.out))),
            seed_stats=cast("Any", SimpleNamespace(views=self.views)),
            events=cast("Any", SimpleNamespace(seed=lambda kind, seed: self.drained.append((kind, seed)))),
        )

    async def views(self, seeds: list[str]) -> list[Any]:
        """Ask the broker and the other replicas."""
        self.asked += len(seeds)
        return [
            SimpleNamespace(seed=SimpleNamespace(id=seed), is_drained=self.is_drained, counts=SimpleNamespace(taken=1))
            for seed in seeds
        ]


@pytest.fixture
def house() -> House:
    """Return a house with a seed that has had a page."""
    house = House()
    house.pages.took("s", 10)
    return house


async def test_a_seed_is_drained_at_the_second_look(house: House) -> None:
    """A page on its way to its owner is in no count for a moment, so one look does not do."""
    await house.watcher.look()
    assert house.drained == []
    await house.watcher.look()
    assert house.drained == [("seed.drained", "s")]


async def test_it_is_said_once(house: House) -> None:
    """Until another page comes, nothing is asked any more; then it is drained anew."""
    for _ in range(2):
        await house.watcher.look()
    asked = house.asked
    for _ in range(3):
        await house.watcher.look()
    assert (len(house.drained), house.asked) == (1, asked)
    house.pages.took("s", 10)
    for _ in range(3):
        await house.watcher.look()
    assert len(house.drained) == 2


async def test_a_page_between_two_looks_puts_it_off(house: House) -> None:
    """The first look saw another count of pages, so it does not count."""
    await house.watcher.look()
    house.pages.took("s", 10)
    await house.watcher.look()
    assert house.drained == []
    await house.watcher.look()
    assert len(house.drained) == 1


async def test_nothing_is_asked_of_a_seed_with_batches_out(house: House) -> None:
    """Local counters answer for it."""
    house.out = {"s": (1, 0)}
    for _ in range(3):
        await house.watcher.look()
    assert (house.asked, house.drained) == (0, [])


async def test_a_seed_that_is_not_drained_stays_in_view(house: House) -> None:
    """What workers have in hand ends without a page or a batch here."""
    house.is_drained = False
    for _ in range(3):
        await house.watcher.look()
    assert house.drained == []
    house.is_drained = True
    for _ in range(2):
        await house.watcher.look()
    assert len(house.drained) == 1


async def test_a_seed_that_left_and_came_back_is_no_news(house: House) -> None:
    """Its owner meanwhile has looked at it."""
    house.out = {"s": (1, 0)}
    await house.watcher.look()
    line = house.lines.pop("s")
    await house.watcher.look()
    house.lines["s"], house.out = line, {}
    for _ in range(3):
        await house.watcher.look()
    assert house.drained == []

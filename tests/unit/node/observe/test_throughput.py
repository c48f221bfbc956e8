"""How late the loop is, and how fast items are acked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger, PublishedBatch
from coordinator.node.observe import throughput as module
from coordinator.node.observe.throughput import Throughput
from coordinator.node.work_queues.publisher import Publisher


@pytest.fixture
def publisher() -> Publisher:
    """Return the part of a publisher that is looked at."""
    counters = Counters()
    return cast("Publisher", SimpleNamespace(ledger=Ledger(counters), counters=counters))


async def test_the_rate_and_the_lag_are_measured(monkeypatch: pytest.MonkeyPatch, publisher: Publisher) -> None:
    """What was acked between two looks is the rate; the worst lag of the last looks is told."""
    clock, looks = [100.0], asyncio.Event()

    async def sleep(seconds: float) -> None:
        if clock[0] > 100.0:
            looks.set()
            await asyncio.Event().wait()
        publisher.ledger.published("work", PublishedBatch("p", "b", "s", 50, 1, 100.0, 0.0))
        publisher.ledger.acked("p")
        clock[0] += seconds + 0.25

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], time=lambda: 0.0))
    throughput = Throughput(publisher=publisher)
    assert (throughput.lag, throughput.rate("s"), throughput.is_settled("s")) == (0.0, 0.0, True)
    task = asyncio.create_task(throughput.run())
    async with asyncio.timeout(5):
        await looks.wait()
    task.cancel()
    assert throughput.lag == 0.25
    assert throughput.rate("s") == pytest.approx(50 / (module.LOOK_EVERY + 0.25))
    assert not throughput.is_settled("s")

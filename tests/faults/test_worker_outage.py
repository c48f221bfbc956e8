"""A broker that is gone for a while."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from coordinator.local_rabbitmq.broker import PrivateBroker
from tests.helpers.brokers import OUTAGE, kill_broker, until_on_disk, vhost_of
from tests.helpers.support import (
    PREFIX,
    eventually,
    items,
    publish_items,
    running_coordinator,
    serving,
)
from tests.helpers.workers import Hand, told, working
from worker_stub.handlers import Context


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(300)  # a broker starts twice, and its stream takes a while to be found again
async def test_worker_survives_a_crash_of_the_broker(killable: PrivateBroker, tmp_path: Path) -> None:
    """The broker is killed and comes back: what was taken is told then, what was not comes again, and work goes on."""
    taken, plain = Hand(), Hand()
    async with (
        vhost_of(killable) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
        httpx.AsyncClient(base_url=url + PREFIX, trust_env=False) as api,
    ):
        for tag in ("t", "p"):
            await api.put(f"/seed/{tag}", json={"policies": [{"type": "route", "routeTo": tag}]})
        async with (
            working(api, "taken", taken.handle, tags=["t"], spool=tmp_path) as first,
            working(api, "plain", plain.handle, tags=["p"]) as second,
        ):
            await publish_items(settings, "t", [items(5, "t")])
            await publish_items(settings, "p", [items(5, "p")])
            await eventually(
                lambda: plain.busy and first.worker.presence().taken == {"t": 5}, "a batch taken, another unacked"
            )
            # A broker killed within a second of its first stream's making forgets where that stream is.
            await until_on_disk(killable.folder, settings, "seed.t", "seed.p", "work.t", "work.p")
            await kill_broker(killable)
            await eventually(lambda: not second.worker.presence().held, "the loss is noticed: else it is told twice")
            taken.gate.set()
            plain.gate.set()
            await eventually(lambda: len(taken.finished) == 5, "what was taken, done meanwhile")
            assert first.worker.seeds == {"t"}
            await killable.restart()
            await eventually(lambda: node.is_ready, "the coordinator", OUTAGE)
            async with told(settings) as results:
                await eventually(lambda: results.items["t4"], "what was taken, told", OUTAGE)
                await eventually(lambda: results.items["p4"], "what was not acked, again", OUTAGE)
                await publish_items(settings, "p", [items(5, "later")])
                await eventually(lambda: results.items["later4"], "what came later", OUTAGE)
            assert not first.task.done()
            assert not second.task.done()
    assert results.items.keys() == Counter(f"{of}{number}" for of in ("t", "p", "later") for number in range(5)).keys()
    # The broker may have been killed before it knew that the seeds' pages were done with: they come again then, marked.
    assert all(context.redelivered for hand in (taken, plain) for context in repeats(hand))
    untold = Counter(["p0"])  # under way when the broker went; what came after it of its batch was left
    assert results.items <= Counter(taken.finished + plain.finished) - untold


def repeats(hand: Hand) -> list[Context]:
    """How it came, for each item that had been begun before."""
    seen: set[str] = set()
    again = []
    for item, context in hand.begun:
        if item in seen:
            again.append(context)
        seen.add(item)
    return again

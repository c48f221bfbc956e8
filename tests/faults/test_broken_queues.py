"""A queue that has lost itself, with a node that was killed right after it was declared, holds up its own alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from coordinator import topology
from coordinator.broker.batch_codec import is_marked, read_batch
from coordinator.broker.types import Delivery
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.models import Route, SeedSpec
from tests.helpers.brokers import (
    OUTAGE,
    delete_queue,
    kill_broker,
    knows_its_queues,
    until_on_disk,
    vhost_of,
)
from tests.helpers.steps import command
from tests.helpers.support import Drain, eventually, items, publish_items, running_coordinator
from tests.helpers.workers import Hand, working

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session")]


async def test_a_queue_that_lost_itself_holds_up_its_own_seed_alone(
    killable: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone node that is killed right after a queue was declared forgets its members; the other seeds go on."""
    monkeypatch.setattr("coordinator.broker.channel.RPC_TIMEOUT", 3.0)
    async with vhost_of(killable) as settings, running_coordinator(settings) as node:
        await publish_items(settings, "whole", [items(10)])
        await eventually(
            lambda: knows_its_queues(killable.folder, settings, "seed.whole", "work"), "the place of queues, on disk"
        )
        await node.session.catalog.ensure("doomed")
        await kill_broker(killable)
        assert not knows_its_queues(killable.folder, settings, "seed.doomed")
        await killable.restart()
        with capture_logs() as logged:
            await eventually(lambda: is_left_alone("doomed", logged), "the seed is known as broken", OUTAGE)
        await eventually(lambda: node.is_ready, "the coordinator is ready", OUTAGE)
        session = node.session
        drain = await Drain.begin(settings)
        await publish_items(settings, "whole", [items(10, "later")])
        await eventually(lambda: len(set(drain.items("whole"))) == 20, "the items of the other seed", OUTAGE)
        assert node.session is session
        await drain.close()


async def test_a_work_queue_that_confirms_nothing_holds_up_its_own_batches_alone(
    killable: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has lost itself with a node that was killed too early; once it is deleted and made anew, all goes on."""
    monkeypatch.setattr("coordinator.broker.channel.RPC_TIMEOUT", 3.0)
    monkeypatch.setattr("coordinator.broker.channel.CONFIRM_TIMEOUT", 3.0)
    async with vhost_of(killable) as settings, running_coordinator(settings) as node:
        await publish_items(settings, "whole", [items(10)])
        await node.session.catalog.ensure(
            "routed"
        )  # without items: what is on its way when the broker dies comes again
        known = ("seed.whole", "seed.routed", "work")
        await until_on_disk(killable.folder, settings, *known)
        await node.session.catalog.set("routed", SeedSpec(policies=(Route(type="route", route_to="lost"),)))
        await node.session.depth.declare(("lost",))
        await kill_broker(killable)
        assert not knows_its_queues(killable.folder, settings, "work.lost")
        await killable.restart()
        await eventually(lambda: node.is_ready, "the coordinator is ready", OUTAGE)
        reply = await command(settings, "release.seed", {"id": "whole"})
        assert reply["status"] == 503, "what waits in a queue that says nothing cannot be known"
        await command(settings, "resume.seed", {"id": "whole"})
        with capture_logs() as logged:
            await publish_items(settings, "routed", [items(10, "late")])
            await eventually(lambda: is_broken("work.lost", logged), "the queue is known as broken", OUTAGE)
        hand = Hand.open()
        with capture_logs() as logged:
            async with working(settings, "w", hand.handle, tags=["lost"]):
                await publish_items(settings, "whole", [items(10, "later")])
                await eventually(lambda: len(set(hand.finished)) == 20, "the items of the other seed", OUTAGE)
                await eventually(lambda: is_silent("work.lost", logged), "the worker has tried the queue", OUTAGE)
            assert not any(entry["event"] == "worker.disconnected" for entry in logged)
        drain = await Drain.begin(settings)
        got: list[Delivery] = []
        monkeypatch.undo()  # to delete a queue that has lost itself takes the broker some 5 s
        await delete_queue(settings.amqp_urls(), "work.lost")
        channel = await drain.connection.channel()
        await channel.declare_queue(topology.work_queue(("lost",)))
        await channel.consume("work.lost", got.append, prefetch=20)
        await eventually(lambda: got, "the items that waited", OUTAGE)
        assert sum(read_batch(one).count for one in got) == 10
        assert all(map(is_marked, got))
        await drain.close()


def is_broken(queue: str, logged: Sequence[Mapping[str, object]]) -> bool:
    """Whether it was said of a work queue that it is left alone."""
    return any(entry["event"] == "work.queue_broken" and entry["queue"] == queue for entry in logged)


def is_silent(queue: str, logged: Sequence[Mapping[str, object]]) -> bool:
    """Whether a worker said that a work queue does not answer."""
    return any(entry["event"] == "worker.queue_silent" and entry["queue"] == queue for entry in logged)


def is_left_alone(seed: str, logged: Sequence[Mapping[str, object]]) -> bool:
    """Whether it was said of a seed that its queue does not answer."""
    return any(entry["event"] == "seed.not_consumed" and entry["seed"] == seed for entry in logged)

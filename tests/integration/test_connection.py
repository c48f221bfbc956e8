"""What a connection to the broker promises."""

from __future__ import annotations

import asyncio

import pytest

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.queue_probe import QueueProbe
from coordinator.broker.types import Delivery, Depth, Message
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError
from coordinator.settings import Settings
from tests.helpers.support import DEADLINE, eventually

ROUNDS = 10


async def test_ack_holds_though_the_connection_is_closed_at_once(settings: Settings) -> None:
    """An ack or reject that has returned reaches the broker before the close that follows: nothing comes again."""
    watch = await Connection.open(settings.amqp_urls(), "watch")
    channel = await watch.channel()
    queue = topology.seed_queue("acks")
    await channel.declare_queue(topology.Queue(queue.name, queue.arguments))
    for number in range(ROUNDS):
        closing = await Connection.open(settings.amqp_urls(), "closing")
        got: list[Delivery] = []
        await (await closing.channel()).consume(queue.name, got.append, prefetch=1)
        await channel.publish("", queue.name, Message(b"%d" % number))
        await eventually(lambda got=got: got, "the message")  # type: ignore[misc]
        await (got[0].ack() if number % 2 else got[0].reject())
        await closing.close()
        assert (got[0].body, got[0].redelivered) == (b"%d" % number, False)
    await watch.close()


async def test_channel_that_the_broker_closes_is_noticed(settings: Settings) -> None:
    """Some errors close a channel and leave its connection: whoever waits for the channel's end is told."""
    connection = await Connection.open(settings.amqp_urls(), "watch")
    channel = await connection.channel()
    closed = asyncio.create_task(channel.wait_closed())
    try:
        await channel.publish("no.such.exchange", "", Message(b""))
    except BrokerRefusedError:
        pass
    else:
        raise AssertionError("the broker took a message for an exchange that is not there")
    async with asyncio.timeout(10):
        await closed
    assert not connection.closed.is_set()
    await connection.close()


async def test_each_channel_has_its_own_patience(settings: Settings) -> None:
    """By default a confirm may take half a minute; who cannot wait that long says so."""
    connection = await Connection.open(settings.amqp_urls(), "patience")
    patient, hasty = await connection.channel(), await connection.channel(patience=1.0)
    now = asyncio.get_running_loop().time()
    sent = [channel.send("", "nowhere", Message(b"")) for channel in (patient, hasty)]
    assert [channel.is_late(now + 2.0) for channel in (patient, hasty)] == [False, True]
    hasty.give_up(now + 2.0)
    with pytest.raises(BrokerUnavailableError):
        await sent[1]
    await sent[0]
    await connection.close()


async def test_what_comes_while_a_queue_is_tried_is_kept(settings: Settings) -> None:
    """A message that is delivered to a probe is passed on, and can be acked after the probe has ended."""
    opened: list[Connection] = []

    async def connect() -> Connection:
        opened.append(await Connection.open(settings.amqp_urls(), "probe"))
        return opened[-1]

    watch = await Connection.open(settings.amqp_urls(), "watch")
    channel, queue, probe = await watch.channel(), topology.seed_queue("tried"), QueueProbe(connect)
    await channel.declare_queue(topology.Queue(queue.name, queue.arguments))
    await channel.publish("", queue.name, Message(b"kept"))
    got: list[Delivery] = []
    async with asyncio.timeout(DEADLINE):
        while not got:  # it may stop before the broker has delivered anything
            await probe.probe(queue.name, got.append)
    await got[0].ack()
    kept = [one for one in opened if not one.closed.is_set()]
    assert (got[0].body, got[0].redelivered, len(kept)) == (b"kept", False, 1)
    await kept[0].close()
    assert await watch.depth(queue.name) == Depth(0, 0)
    await watch.close()

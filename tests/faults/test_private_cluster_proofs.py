"""What is done to a broker has taken effect when the call returns; else the error says what was seen."""

from __future__ import annotations

import pytest

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.local_rabbitmq.cluster import PrivateCluster
from tests.helpers import proof
from tests.helpers.brokers import (
    BLOCKED,
    alarms,
    clear_alarm,
    delete_queue,
    fault_of,
    kill_node,
    outcome,
    raise_alarm,
)
from tests.helpers.steps import channel_of
from tests.helpers.support import own_vhost

QUEUE = topology.Queue("q", {"x-queue-type": "quorum"})
NODES = ["a", "b", "c"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def nothing(*_: object) -> int:
    """Do nothing, in place of what shall be done."""
    return 0


async def test_an_alarm_blocks_publishers_until_it_is_cleared(cluster: PrivateCluster) -> None:
    """At each node, though only one has it."""
    elsewhere = cluster.urls_of(0)
    await raise_alarm(cluster, 1, "memory")
    try:
        assert (await alarms(elsewhere), await outcome(elsewhere)) == ({"memory"}, BLOCKED)
    finally:
        await clear_alarm(cluster, 1, "memory")


async def test_an_alarm_that_is_not_raised(cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which alarms there are."""
    monkeypatch.setattr(cluster, "evaluate", nothing)
    monkeypatch.setattr(proof, "DEADLINE", 0.5)
    with pytest.raises(AssertionError, match=r"node 1 lists its disk alarm; seen last: set\(\)"):
        await raise_alarm(cluster, 1, "disk")


async def test_a_queue_is_deleted_on_all_nodes(cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not, the error names the nodes that know it."""
    async with own_vhost(cluster.urls) as settings, channel_of(settings) as channel:
        await channel.declare_queue(QUEUE)
        with monkeypatch.context() as patch:
            patch.setattr(Channel, "delete_queue", nothing)
            patch.setattr(proof, "DEADLINE", 0.1)
            with pytest.raises(AssertionError, match=r"no node knows the queue 'q'; seen last: (.*127.0.0.1:\d+){3}"):
                await delete_queue(settings.amqp_urls(), QUEUE.name)
        await delete_queue(settings.amqp_urls(), QUEUE.name)


async def test_a_node_that_is_not_killed(cluster: PrivateCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that its process is there."""
    monkeypatch.setattr(cluster, "kill", nothing)
    monkeypatch.setattr(proof, "DEADLINE", 0.1)
    with pytest.raises(AssertionError, match=rf"process {cluster.pid_of(1)} is gone; seen last: Counter\(.*'S'"):
        await kill_node(cluster, 1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"leader": None}, "state running, leader None, online 3 of 3"),
        ({"leader": ""}, "state running, leader , online 3 of 3"),
        ({"online": ["a", "c"]}, "state running, leader b, online 2 of 3"),
        ({"state": "down"}, "state down, leader b, online 3 of 3"),
        ({"type": "classic", "leader": None}, ""),
    ],
)
async def test_a_quorum_queue_without_a_leader_or_a_member_is_not_whole(change: dict[str, object], fault: str) -> None:
    """Other queues have none."""
    whole = {"type": "quorum", "state": "running", "leader": "b", "members": NODES, "online": NODES}
    assert fault_of({**whole, **change}) == fault

"""A private cluster for real: its queues have a member on each node, and clients get over the loss of any one."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from coordinator import topology
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.management_answers import Totals
from coordinator.broker.types import Delivery, Depth, Message
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, PrivateBrokerError
from coordinator.local_rabbitmq.cluster import PrivateCluster
from coordinator.settings import Settings
from tests.helpers.brokers import (
    kill_node,
    restart_node,
    suspended_node,
    until_on_disk,
    until_whole,
)
from tests.helpers.processes import is_alive, kill, listening_addresses, processes_of
from tests.helpers.proof import proved
from tests.helpers.steps import command, until
from tests.helpers.support import Drain, eventually, items, own_vhost, publish_items, running_coordinator

LONG = 60.0
"""For what a loaded machine may take long to do."""

QUEUE = topology.Queue("kept", {"x-queue-type": "quorum"})

START_AND_TELL = """
import asyncio
from coordinator.local_rabbitmq.cluster import PrivateCluster

async def main():
    cluster = PrivateCluster()
    start = asyncio.create_task(cluster.start())
    while True:
        await asyncio.sleep(0.05)
        try:
            print(cluster.folder, flush=True)
        except Exception:
            continue
        await start

asyncio.run(main())
"""

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def settings(cluster: PrivateCluster) -> AsyncIterator[Settings]:
    """Settings that name all nodes, with a virtual host of the test's own."""
    async with own_vhost(cluster.urls) as own:
        yield own


def only(settings: Settings, *nodes: int) -> Settings:
    """The same settings, with the URLs of some nodes alone."""
    urls = settings.amqp_urls()
    return settings.model_copy(update={"amqp_url": SecretStr(",".join(urls[node] for node in nodes))})


def node_of(settings: Settings, url: str) -> int:
    """The number of the node that answers at an AMQP URL."""
    return [urlsplit(one).port for one in settings.amqp_urls()].index(urlsplit(url).port)


async def publish(settings: Settings, bodies: Iterable[bytes]) -> None:
    """Publish to the queue, confirmed, each again until it is, on whichever node answers."""
    left = list(bodies)
    async with asyncio.timeout(LONG):
        while left:
            # Refused is what a broker says while a queue has no leader.
            with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
                connection = await Connection.open(settings.amqp_urls(), "producer")
                channel = await connection.channel()
                while left:
                    await channel.publish("", QUEUE.name, Message(left[0]), mandatory=True)
                    left.pop(0)
                await connection.close()


async def read(settings: Settings, count: int) -> set[bytes]:
    """Take so many messages from the queue, not counting repeated ones."""
    got: list[Delivery] = []
    connection = await Connection.open(settings.amqp_urls(), "reader")
    channel = await connection.channel()
    await channel.consume(QUEUE.name, got.append, prefetch=1000)
    await eventually(lambda: len({one.body for one in got}) >= count, "all messages", LONG)
    await connection.close()
    return {one.body for one in got}


async def until_each_node_knows(cluster: PrivateCluster, settings: Settings, *queues: str) -> None:
    """Wait until each node has written down that it has a member of these: killed before, it would come back bare."""
    for number in range(len(cluster)):
        await until_on_disk(cluster.folder / f"node-{number + 1}", settings, *queues)


async def declare(settings: Settings, queue: topology.Queue) -> None:
    """Declare a queue."""
    connection = await Connection.open(settings.amqp_urls(), "declare")
    await (await connection.channel()).declare_queue(queue)
    await connection.close()


@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_replicated_queues_have_a_member_on_each_node(settings: Settings, kind: str) -> None:
    """Quorum queues and streams are kept three times without being told so."""
    await declare(settings, topology.Queue("replicated", {"x-queue-type": kind}))
    url = f"/api/queues/{settings.vhost()}/replicated"
    async with httpx.AsyncClient(base_url=settings.management().split(",")[0], trust_env=False) as client:
        members: list[str] = []
        async with asyncio.timeout(LONG):
            while len(members) < 3:
                members = (await client.get(url)).json().get("members") or []
    assert len(set(members)) == 3


async def test_only_loopback_is_listened_on(cluster: PrivateCluster) -> None:
    """Three ports a node, and one of the name server that they share; none of them open to the network."""
    addresses = listening_addresses(processes_of(cluster.folder))
    assert len({address.rpartition(":")[2] for address in addresses}) == 10
    assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in addresses)


async def test_openings_are_spread_over_the_nodes(settings: Settings) -> None:
    """Clients with the same list do not all sit on its first node."""
    connections = [await Connection.open(settings.amqp_urls(), "spread") for _ in range(24)]
    nodes = Counter(node_of(settings, connection.url) for connection in connections)
    pairs = [await Connection.open(settings.amqp_urls(), "pair", near=one) for one in connections[:6]]
    assert [pair.url for pair in pairs] == [one.url for one in connections[:6]]
    for connection in (*connections, *pairs):
        await connection.close()
    assert len(nodes) == 3


async def test_any_node_may_be_killed(cluster: PrivateCluster, settings: Settings) -> None:
    """Each is killed while messages are published: none that was confirmed is lost, and a coordinator there goes on."""
    await declare(settings, QUEUE)
    async with running_coordinator(settings) as node:
        await until_each_node_knows(cluster, settings, QUEUE.name)
        session, lost = node.session, node_of(settings, node.session.writer.url)
        others = [number for number in range(3) if number != lost]
        near = only(settings, *others)
        drain = await Drain.begin(near)
        await publish_items(near, "s", [items(100, "early")])
        await eventually(lambda: len(set(drain.items("s"))) == 100, "the items before the loss", LONG)
        sent = await kill_amid(cluster, settings, lost)
        await eventually(lambda: node.is_ready and node.session is not session, "a session at another node", LONG)
        await publish_again(near, "s", 20)
        await eventually(lambda: len(set(drain.items("s"))) == 120, "the items after the loss", LONG)
        assert node_of(settings, node.session.writer.url) != lost
        await drain.close()
    await restart_node(cluster, lost)
    for other in others:
        sent |= await kill_amid(cluster, settings, other)
        await restart_node(cluster, other)
    assert await read(settings, len(sent)) == sent


async def kill_amid(cluster: PrivateCluster, settings: Settings, node: int) -> set[bytes]:
    """Kill a node while messages are published; return them once all are confirmed."""
    before, bodies = b"before-%d" % node, [b"%d-%d" % (node, number) for number in range(300)]
    publishing = asyncio.create_task(publish(settings, bodies))
    await publish(settings, [before])
    await kill_node(cluster, node)
    await publishing
    management = Management(settings.management(), settings.vhost())
    assert len(await management.running_nodes()) == 2
    await management.close()
    return {before, *bodies}


async def test_an_opening_leaves_a_node_that_hangs_for_the_next(cluster: PrivateCluster, settings: Settings) -> None:
    """A node that is suspended takes connections and says nothing: it gets its share of the time, not all of it."""
    first = await Connection.open(settings.amqp_urls(), "first")
    node = node_of(settings, first.url)
    async with suspended_node(cluster, node):
        second = await Connection.open(settings.amqp_urls(), "second", near=first, timeout=3)
        with pytest.raises(
            BrokerUnavailableError, match=r"no broker answers at 127\.0\.0\.1:\d+: the broker did not answer in time"
        ):
            await Connection.open(only(settings, node).amqp_urls(), "hung", timeout=0.5)
    assert second.url != first.url
    await second.close()
    await first.close()
    await until_whole(cluster)


async def publish_again(settings: Settings, seed: str, count: int) -> None:
    """Publish items, each page again until it is confirmed."""
    async with asyncio.timeout(LONG):
        for number in range(count):
            confirmed = False
            while not confirmed:
                with contextlib.suppress(BrokerUnavailableError, BrokerRefusedError):
                    await publish_items(settings, seed, [[{"id": f"late{number}"}]])
                    confirmed = True


async def test_a_seed_is_purged_and_begins_anew_while_a_node_is_cut_off(
    cluster: PrivateCluster, settings: Settings
) -> None:
    """Clients lose the node, and it alone; healed, it brings back nothing that was purged, and has what came since."""
    here, there = only(settings, 0, 1), only(settings, 2)
    async with running_coordinator(here) as node:
        await declare(there, topology.seed_queue("s"))  # its leader is on the node that goes away
        await publish_items(here, "s", [items(50, f"old{page}-") for page in range(300)])
        await eventually(lambda: node.session.owned_seeds.buffered("s")[0], "it is dispatched", LONG)
        lost = await Connection.open(there.amqp_urls(), "minority")
        kept = await Connection.open(only(settings, 1).amqp_urls(), "majority")
        await cluster.cut_off(2)
        reply = await command(here, "purge.seed", {"id": ["s"]})
        assert [(one["status"], one["purged"]) for one in reply["results"]] == [(200, 15_000)]
        await publish_again(here, "s", 5)
        async with asyncio.timeout(LONG):
            await lost.closed.wait()
        await cluster.heal(2)
        await until_whole(cluster)
        assert not kept.closed.is_set()
        await kept.close()
        drain = await Drain.begin(there)
        await publish_items(there, "s", [items(5, "last")])
        await eventually(lambda: {"late4", "last4"} <= set(drain.items("s")), "the new items", LONG)
        assert {item for item in drain.items("s") if item.startswith("old")} == set()
        assert len(set(drain.items("s"))) == 10
        await drain.close()


async def test_the_queue_of_a_purged_seed_stays_until_all_nodes_have_long_been_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes it while a node is away gets it back with that node."""
    looks: list[float] = []
    totals = Management.totals

    async def looked(self: Management) -> dict[str, Totals]:
        looks.append(asyncio.get_running_loop().time())
        return await totals(self)

    monkeypatch.setattr(Management, "totals", looked)
    monkeypatch.setattr("coordinator.node.seeds.purged_queues.AGAIN", 0.1)
    monkeypatch.setattr("coordinator.node.seeds.purged_queues.SETTLE", 0.1)
    async with running_coordinator(settings) as node:
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: "s" in node.session.registry.state.seeds, "the seed", LONG)
        await command(settings, "purge.seed", {"id": ["s"]})
        depths: list[Depth | None] = []

        async def look() -> None:
            depths[:] = [await node.session.reader.depth(topology.seed_queue_name("s"))]

        since = len(looks)
        await eventually(lambda: len(looks) > since + 2, "looks at its queue", LONG)
        await until(look, lambda: depths == [Depth(0, 0)], "it stays")
        monkeypatch.setattr("coordinator.node.seeds.purged_queues.WHOLE_FOR", 0.1)
        await until(look, lambda: depths == [None], "it is gone")


async def test_a_queue_whose_leader_hangs_holds_up_nothing_else(
    cluster: PrivateCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who consumes it tries again and again, and is served once its node is back; other queues go on beside it."""
    monkeypatch.setattr("coordinator.broker.channel.RPC_TIMEOUT", 2.0)
    lonely = topology.Queue("lonely", {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1})
    await declare(only(settings, 2), lonely)
    await declare(only(settings, 0), QUEUE)
    connection = await Connection.open(only(settings, 0).amqp_urls(), "beside")
    publishing = await connection.channel()
    await publishing.publish("", lonely.name, Message(b"kept"), mandatory=True)
    got: list[Delivery] = []
    async with suspended_node(cluster, 2):
        with capture_logs() as logged:
            consuming = asyncio.create_task(connection.consume(lonely.name, got.append, prefetch=1))
            await publishing.publish("", QUEUE.name, Message(b"beside"), mandatory=True)
            assert await connection.depth(QUEUE.name) == Depth(ready=1, consumers=0)
            await eventually(
                lambda: "queue.silent" in {entry["event"] for entry in logged}, "a first try in vain", LONG
            )
        assert (consuming.done(), connection.closed.is_set()) == (False, False)
    async with asyncio.timeout(LONG):
        await consuming
    await eventually(lambda: got, "the message", LONG)
    await got[0].ack()  # it came by the channel that consumes, not by one that was given up
    assert got[0].body == b"kept"
    await connection.close()
    await until_whole(cluster)


async def test_all_of_it_starts_again_from_its_folder(cluster: PrivateCluster, settings: Settings) -> None:
    """With the same URLs and the same data; a cluster of another size is refused."""
    await declare(settings, QUEUE)
    await publish(settings, [b"kept"])
    before = cluster.urls
    await cluster.stop()
    with pytest.raises(PrivateBrokerError, match="holds a broker of 3 nodes, and cannot become one of 5"):
        await PrivateCluster(cluster.folder, nodes=5).start()
    await cluster.start()
    assert cluster.urls == before
    assert await read(settings, 1) == {b"kept"}


async def test_all_nodes_end_with_a_killed_parent() -> None:
    """When the program that started it is killed, nodes, name server, helpers and folder go too."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", START_AND_TELL, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    folder = Path((await asyncio.wait_for(parent.stdout.readline(), LONG)).decode().strip())

    def nodes() -> set[Path]:
        return {folder / f"node-{number}" for number in range(1, 4) if processes_of(folder / f"node-{number}")}

    await eventually(lambda: len(nodes()) == 3, "the processes of three nodes", LONG)
    processes = processes_of(folder)
    await kill(parent)
    await proved("all processes are gone", lambda: set(filter(is_alive, processes)), lambda left: not left, LONG)
    await proved(f"{folder} is removed", folder.exists, lambda there: not there, LONG)

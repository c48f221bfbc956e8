"""What the tests that kill brokers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.cluster import PrivateCluster
from tests.helpers.brokers import need_server, own_broker, until_whole


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def killable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateBroker]:
    """A broker that tests kill and start again, one after the other; each has a virtual host of its own there."""
    async with own_broker(tmp_path_factory.mktemp("killable") / "node") as broker:
        yield broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateCluster]:
    """A cluster of three nodes for all tests that need one."""
    need_server()
    async with PrivateCluster(tmp_path_factory.mktemp("cluster") / "nodes") as private:
        yield private
        # A clean stop takes longer, and the data are not needed.
        await asyncio.gather(*(private.kill(node) for node in range(len(private))))


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(nodes: PrivateCluster) -> AsyncIterator[PrivateCluster]:
    """The cluster, whole; it must be whole again when the test ends.

    What a test that failed has killed is started again: else all tests after it fail, too.
    """
    await until_whole(nodes)  # a node that is still joining fails to start a virtual host
    yield nodes
    for node in range(len(nodes)):
        if nodes.pid_of(node) is None:
            await nodes.restart(node)
    await until_whole(nodes)

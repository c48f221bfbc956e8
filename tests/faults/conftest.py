"""What the tests that kill brokers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.cluster import PrivateCluster
from tests.helpers.brokers import need_server, own_broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def killable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateBroker]:
    """A broker that tests kill and start again, one after the other; each has a virtual host of its own there."""
    async with own_broker(tmp_path_factory.mktemp("killable") / "node") as broker:
        yield broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateCluster]:
    """A cluster of three nodes for all tests that need one; each leaves it whole."""
    need_server()
    async with PrivateCluster(tmp_path_factory.mktemp("cluster") / "nodes") as private:
        yield private
        # A clean stop takes longer, and the data are not needed.
        await asyncio.gather(*(private.kill(node) for node in range(len(private))))

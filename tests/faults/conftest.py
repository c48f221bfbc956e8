"""What the tests that kill brokers share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.local_rabbitmq.broker import PrivateBroker
from tests.helpers.brokers import own_broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def killable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateBroker]:
    """A broker that tests kill and start again, one after the other; each has a virtual host of its own there."""
    async with own_broker(tmp_path_factory.mktemp("killable") / "node") as broker:
        yield broker

"""Fixtures of the integration tests: a real broker for all, a virtual host and a coordinator for each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.find_server import find_server
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.containers import broker_in_container, has_engine
from tests.helpers.shell import Shell
from tests.helpers.support import PREFIX, client_of, in_ci, own_vhost, running_coordinator, serving


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker() -> AsyncIterator[BrokerUrls]:
    """A RabbitMQ: the one that is given, else a private node, else one in a container."""
    given = Settings()
    if given.amqp_url is not None:
        yield BrokerUrls(amqp=given.amqp_urls()[0], management=given.management())
    elif find_server() is not None and os.environ.get("COORDINATOR_TEST_BROKER") != "container":
        async with PrivateBroker() as private:
            yield private.urls
    elif has_engine():
        with broker_in_container() as urls:
            yield urls
    elif in_ci():
        pytest.fail("CI must have a RabbitMQ: neither COORDINATOR_AMQP_URL, an installed server, nor a Docker engine")
    else:
        pytest.skip("no RabbitMQ: run `make setup`")


@pytest.fixture
async def settings(broker: BrokerUrls) -> AsyncIterator[Settings]:
    """Settings of a coordinator with a virtual host of its own."""
    async with own_vhost(broker) as own:
        yield own


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Coordinator]:
    """A coordinator in this process, ready."""
    async with running_coordinator(settings) as running:
        yield running


@pytest.fixture
async def api(node: Coordinator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the coordinator's shim, its base the API's first prefix."""
    async with serving(node) as url, client_of(url + PREFIX) as client:
        yield client


@pytest.fixture
def shell(tmp_path: Path, settings: Settings) -> Shell:
    """A shell with an empty home folder."""
    return Shell(tmp_path, settings)

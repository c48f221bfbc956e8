"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from tests.helpers.order import GroupScheduling, rank

pytest_plugins = ["tests.helpers.fixtures"]

# These tests need a composed system, which `make test-compose` sets up; elsewhere they would only be skipped.
collect_ignore = [] if os.environ.get("COORDINATOR_TEST_COMPOSE") == "yes" else ["compose"]

# A shell's background jobs ignore SIGINT, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on the machine, which may be busy, and not on the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """Undo what a test did to the logs: they would go on writing to a stream that ended with that test."""
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into their order, in which processes take them."""
    items.sort(key=lambda item: rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Have pytest-xdist keep groups of tests together."""
    return GroupScheduling(config, log)

"""A private broker that does not run yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.broker import PrivateBroker


async def test_a_broker_that_is_not_started(tmp_path: Path) -> None:
    """It has no node; to wait for it or to stop it is harmless."""
    broker = PrivateBroker(tmp_path / "broker")
    with pytest.raises(PrivateBrokerError):
        _ = broker.urls
    with pytest.raises(PrivateBrokerError):
        _ = broker.pid
    with pytest.raises(PrivateBrokerError):
        await broker.restart()
    await broker.wait()
    await broker.stop()

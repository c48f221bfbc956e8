"""One node is asked for a connection, which has a deadline and a heartbeat."""

from __future__ import annotations

import pytest
from yarl import URL

from coordinator.broker.frame_connection import HEARTBEAT, FrameConnection, connect
from coordinator.errors import BrokerUnavailableError


async def test_a_connection_that_is_not_open_has_no_protocol() -> None:
    """The error is one that callers handle."""
    with pytest.raises(BrokerUnavailableError, match="not connected"):
        _ = FrameConnection(URL("amqp://127.0.0.1:1/")).protocol


@pytest.mark.parametrize(("query", "heartbeat"), [("", str(HEARTBEAT)), ("?heartbeat=3", "3")])
async def test_each_connection_has_a_heartbeat(monkeypatch: pytest.MonkeyPatch, query: str, heartbeat: str) -> None:
    """Without one a lost connection would not be noticed. The URL may say how often."""
    asked: list[tuple[URL, object]] = []

    async def fake(url: URL, *, client_properties: object, **_: object) -> None:
        asked.append((url, client_properties))

    monkeypatch.setattr("coordinator.broker.frame_connection.aio_pika.connect", fake)
    await connect(f"amqp://127.0.0.1:1/{query}", "name", 1.0)
    ((url, properties),) = asked
    assert (url.query["heartbeat"], properties) == (heartbeat, {"connection_name": "name"})


async def test_no_broker_there() -> None:
    """The library's error becomes one of our own."""
    with pytest.raises(BrokerUnavailableError):
        await connect("amqp://127.0.0.1:1/", "name", 5.0)

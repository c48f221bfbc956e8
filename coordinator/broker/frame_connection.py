"""Open a connection of aio-pika whose frames this package reads and writes itself."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aio_pika
from pamqp.common import FieldTable
from yarl import URL

from coordinator.broker.error_mapping import mapped_errors
from coordinator.broker.frame_protocol import FrameProtocol, FrameTransportFactory
from coordinator.errors import BrokerUnavailableError

HEARTBEAT: Final = 10
"""Seconds between two heartbeats, unless the URL has a `heartbeat` of its own."""


class FrameConnection(aio_pika.Connection):
    """aio-pika's connection with a `FrameProtocol` on its socket."""

    def __init__(self, url: URL, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(url, **kwargs)
        self.factory = FrameTransportFactory()
        self.kwargs["transport_factory"] = self.factory

    def __del__(self) -> None:
        """Do nothing: the owner closes the connection. The library would close it here, even without a running loop."""

    @property
    def protocol(self) -> FrameProtocol:
        """The socket's protocol; it exists once the connection is open."""
        if self.factory.protocol is None:
            raise BrokerUnavailableError("not connected")
        return self.factory.protocol


async def connect(text: str, name: str, seconds: float) -> FrameConnection:
    """Connect to one node of the broker.

    Args:
        text: its AMQP URL.
        name: the connection's name in the broker's lists.
        seconds: how long this may take.

    Raises:
        BrokerUnavailableError: the node does not answer, or rejects this user.
    """
    url = URL(text)
    if "heartbeat" not in url.query:
        url = url.update_query(heartbeat=HEARTBEAT)
    properties: FieldTable = {"connection_name": name}
    async with mapped_errors("connect"), asyncio.timeout(seconds):
        return await aio_pika.connect(
            url, client_properties=properties, timeout=seconds, connection_class=FrameConnection
        )

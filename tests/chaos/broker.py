"""The broker of a run: a private cluster of one node or three, as the parties see it."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from coordinator.local_rabbitmq.cluster import PrivateCluster
from tests.helpers.link import Address


class Broker:
    """The nodes, by number; what can be done to them is the cluster's own."""

    def __init__(self, nodes: int = 1) -> None:
        self.cluster = PrivateCluster(nodes=nodes)

    async def __aenter__(self) -> Self:
        await self.cluster.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.stop()

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def amqp(self) -> list[Address]:
        """Where the nodes answer on AMQP."""
        return [_address(self.cluster.urls_of(node).amqp) for node in range(len(self))]

    @property
    def management(self) -> list[Address]:
        """Where the management APIs of the nodes that run would answer; of all, while none runs."""
        nodes = range(len(self))
        running = [node for node in nodes if self.cluster.pid_of(node) is not None]
        return [_address(self.cluster.urls_of(node).management) for node in running or nodes]

    @property
    def login(self) -> tuple[str, str]:
        """User and password."""
        parts = urlsplit(self.cluster.urls_of(0).amqp)
        return parts.username or "", parts.password or ""


def _address(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0

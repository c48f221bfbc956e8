"""The broker of a run: one private node, or three that form a cluster, and what can be done to them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from coordinator.broker.node_config import node_environment
from coordinator.broker.node_folder import load_settings
from coordinator.broker.private import PrivateBroker
from coordinator.broker.server import find_server
from tests.chaos.proxy import Address

Login = tuple[str, str]


@dataclass(slots=True)
class Broker:
    """The nodes, by number."""

    inner: PrivateBroker = field(default_factory=PrivateBroker)

    async def __aenter__(self) -> Broker:
        await self.inner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.inner.stop()

    def __len__(self) -> int:
        return 1

    @property
    def amqp(self) -> list[Address]:
        """Where the nodes answer on AMQP."""
        return [_address(self.inner.urls.amqp)]

    @property
    def management(self) -> list[Address]:
        """Where the nodes' management APIs answer."""
        return [_address(self.inner.urls.management)]

    @property
    def login(self) -> Login:
        """User and password."""
        parts = urlsplit(self.inner.urls.amqp)
        return parts.username or "", parts.password or ""

    async def kill(self, node: int) -> None:  # noqa: ARG002
        """Kill a node; its data stay."""
        await self.inner.kill()

    async def restart(self, node: int) -> None:  # noqa: ARG002
        """Start a node again, having stopped it cleanly if it still runs."""
        await self.inner.restart(timeout=120)

    async def evaluate(self, node: int, expression: str) -> str:  # noqa: ARG002
        """Evaluate an expression of Erlang on a node.

        Raises:
            RuntimeError: it did not do it.
        """
        server = find_server()
        assert server is not None
        settings = load_settings(self.inner.folder, {"amqp_port": 0, "management_port": 0})
        process = await asyncio.create_subprocess_exec(
            str(server.with_name("rabbitmqctl")),
            *("-n", settings.name, "-q", "eval", expression + "."),
            env=node_environment(settings, os.environ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(output.decode(errors="replace"))
        return output.decode().strip()


def _address(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0

"""A RabbitMQ node of our own, for tests and the demo. Any user can start it, and it ends with its parent process."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.config import FIGURES_MS, NodeSettings
from coordinator.local_rabbitmq.find_server import find_server
from coordinator.local_rabbitmq.folder import NOT_STARTED, BrokerFolder, load_settings, write_files
from coordinator.local_rabbitmq.node import BrokerUrls, PrivateNode, Programs

__all__ = ["BrokerUrls", "PrivateBroker", "find_server"]


class PrivateBroker:
    """A single RabbitMQ node with its own folder, user and password. It listens on loopback only.

    It ends with `stop()`, at the end of the `async with` block, or when this process dies for any reason. Nothing
    that it started outlives it. Any number can run side by side.

    Args:
        folder: keeps the node's data, password and ports for the next broker on this folder. It is created if it
            is missing. None: a temporary folder, removed at the end.
        amqp_port: the port for AMQP; 0 for any free port.
        management_port: the port for the management API; 0 for any free port.
        figures_ms: milliseconds between updates of the broker's statistics; RabbitMQ's default is 5000.
    """

    def __init__(
        self, folder: Path | None = None, *, amqp_port: int = 0, management_port: int = 0, figures_ms: int = FIGURES_MS
    ) -> None:
        self._figures_ms = figures_ms
        self._folder = BrokerFolder(folder)
        self._asked_ports = {"amqp_port": amqp_port, "management_port": management_port}
        self._node: PrivateNode | None = None
        self._settings: NodeSettings | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def folder(self) -> Path:
        """The node's folder; a temporary one exists from `start()` to `stop()`."""
        return self._folder.path

    @property
    def urls(self) -> BrokerUrls:
        """The node's URLs, from the first `start()` on."""
        if self._settings is None:
            raise PrivateBrokerError(NOT_STARTED)
        return BrokerUrls.of([self._settings])

    @property
    def pid(self) -> int:
        """The process id of the node while it runs."""
        if self._node is None or self._node.pid is None:
            raise PrivateBrokerError(NOT_STARTED)
        return self._node.pid

    async def start(self, timeout: float = 60) -> BrokerUrls:  # noqa: ASYNC109 - the error must hold the end of the log
        """Start the node and wait until it answers on AMQP and on its management API.

        Args:
            timeout: how many seconds to wait for it.

        Returns:
            The node's URLs.

        Raises:
            PrivateBrokerError: RabbitMQ is not installed, the folder is in use or not ours, a port is taken,
                or the node did not start; then the message ends with the last lines of its log.
        """
        if self._node is not None:
            raise PrivateBrokerError("the private broker is already started")
        programs = Programs.find()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            lock = self._folder.claim()
            settings = replace(load_settings(self._folder.path, self._asked_ports), figures_ms=self._figures_ms)
            write_files(settings)
            self._node = PrivateNode(settings, lock, temporary=self._folder.is_temporary)
            await self._node.start(programs, timeout)
            undo.pop_all()
        self._settings = settings
        return self.urls

    async def stop(self) -> None:
        """Stop the node, and remove a temporary folder. This takes 6 s with a given folder, else less than 1 s."""
        await self._close()
        await asyncio.to_thread(self._folder.remove)

    async def kill(self) -> None:
        """Kill the node (SIGKILL), as a crash would, and wait until it has ended. The folder stays."""
        if self._node is not None:
            await self._node.kill()

    async def restart(self, timeout: float = 60) -> BrokerUrls:  # noqa: ASYNC109 - as start()
        """Stop the node cleanly if it still runs, then start it again with the same folder and ports.

        Args:
            timeout: seconds for the new start.

        Returns:
            The node's URLs, which do not change.

        Raises:
            PrivateBrokerError: it was not started before, or an error of `start()`.
        """
        if self._settings is None:
            raise PrivateBrokerError(NOT_STARTED)
        known = self._settings
        self._asked_ports = {"amqp_port": known.amqp_port, "management_port": known.management_port}
        await self._close(keep=True)
        return await self.start(timeout)

    async def wait(self) -> None:
        """Wait until the node has ended for any reason; returns at once when it is not started."""
        if self._node is not None:
            await self._node.wait()

    async def _close(self, *, keep: bool = False) -> None:
        if self._node is not None:
            await self._node.close(keep=keep)
            self._node = None
        self._folder.release()

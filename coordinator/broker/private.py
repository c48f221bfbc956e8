"""A RabbitMQ node of our own, for tests and the demo: started by any user, and gone with its parent."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from coordinator.broker.node_config import FIGURES_MS
from coordinator.broker.node_folder import NOT_STARTED, Home, load_settings, write_files
from coordinator.broker.private_node import BrokerUrls, PrivateNode, Programs
from coordinator.broker.server import find_server
from coordinator.errors import PrivateBrokerError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from coordinator.broker.node_config import NodeSettings

__all__ = ["BrokerUrls", "PrivateBroker", "find_server"]


class PrivateBroker:
    """A RabbitMQ node in a folder of its own, on loopback only, with a user and a password of its own.

    It ends with `stop()`, with the `async with` block, and when this process dies in whatever way; nothing it
    started outlives it. Any number may run side by side.

    Args:
        folder: holds the node's data, password and ports for the next broker on this folder. It is made if it
            is missing. None: a temporary folder, removed at the end.
        amqp_port: the port for AMQP, 0 for any that is free.
        management_port: the port for the management API, 0 for any that is free.
        figures_ms: how often the broker brings its figures up to date; RabbitMQ's own is 5000.
    """

    def __init__(
        self, folder: Path | None = None, *, amqp_port: int = 0, management_port: int = 0, figures_ms: int = FIGURES_MS
    ) -> None:
        self._figures_ms = figures_ms
        self._home = Home(folder)
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
        """The folder that holds all of the node; a temporary one is there from `start()` to `stop()`."""
        return self._home.path

    @property
    def urls(self) -> BrokerUrls:
        """Where the node answers, from the first `start()` on."""
        if self._settings is None:
            raise PrivateBrokerError(NOT_STARTED)
        return BrokerUrls.of([self._settings])

    @property
    def pid(self) -> int:
        """The process id of the node while it runs."""
        if self._node is None or self._node.pid is None:
            raise PrivateBrokerError(NOT_STARTED)
        return self._node.pid

    async def start(self, timeout: float = 60) -> BrokerUrls:  # noqa: ASYNC109 - the error must hold the log's end
        """Start the node and wait until it answers on AMQP and on its management API.

        Args:
            timeout: seconds until it is given up.

        Returns:
            Where it answers.

        Raises:
            PrivateBrokerError: RabbitMQ is not installed, the folder is in use or not ours, a port is taken,
                or the node did not come up; then the sentence is followed by the end of its log.
        """
        if self._node is not None:
            raise PrivateBrokerError("the private broker is already started")
        programs = Programs.find()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            lock = self._home.claim()
            settings = replace(load_settings(self._home.path, self._asked_ports), figures_ms=self._figures_ms)
            write_files(settings)
            self._node = PrivateNode(settings, lock, temporary=self._home.is_temporary)
            await self._node.start(programs, timeout)
            undo.pop_all()
        self._settings = settings
        return self.urls

    async def stop(self) -> None:
        """Stop the node, and remove a temporary folder. Takes 6 s with a given folder, else less than 1 s."""
        await self._close()
        await asyncio.to_thread(self._home.remove)

    async def kill(self) -> None:
        """Kill the node (SIGKILL), as a crash would, and wait until it is gone. The folder stays."""
        if self._node is not None:
            await self._node.kill()

    async def restart(self, timeout: float = 60) -> BrokerUrls:  # noqa: ASYNC109 - as start()
        """Start the node again on the same folder and ports, having stopped it cleanly if it still runs.

        Args:
            timeout: seconds for the new start.

        Returns:
            Where it answers: as before.

        Raises:
            PrivateBrokerError: it was not started before; else as `start()`.
        """
        if self._settings is None:
            raise PrivateBrokerError(NOT_STARTED)
        known = self._settings
        self._asked_ports = {"amqp_port": known.amqp_port, "management_port": known.management_port}
        await self._close(keep=True)
        return await self.start(timeout)

    async def wait(self) -> None:
        """Wait until the node has ended, by itself or otherwise; returns at once when it is not started."""
        if self._node is not None:
            await self._node.wait()

    async def _close(self, *, keep: bool = False) -> None:
        if self._node is not None:
            await self._node.close(keep=keep)
            self._node = None
        self._home.release()

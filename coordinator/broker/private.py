"""A RabbitMQ node of our own, for tests and the demo: started by any user, and gone with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from coordinator.broker.node_config import HOST, USER, NodeSettings, node_environment
from coordinator.broker.node_folder import claim_folder, load_settings, write_files
from coordinator.broker.ports import amqp_answers, management_answers
from coordinator.broker.server import find_epmd, find_server
from coordinator.broker.watchdog import KEEP, Order
from coordinator.broker.watched import WatchedNode
from coordinator.errors import PrivateBrokerError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BrokerUrls", "PrivateBroker", "find_server"]

_POLL_SECONDS = 0.05
_TAIL_LINES = 40
_NOT_STARTED = "the private broker is not started"


@dataclass(frozen=True, repr=False)
class BrokerUrls:
    """Where a broker answers, and as whom.

    Attributes:
        amqp: `amqp://user:password@host:port/vhost`.
        management: `http://user:password@host:port`, the base of the management API.
    """

    amqp: str
    management: str

    def __repr__(self) -> str:
        amqp, management = (re.sub(r":[^:@/]*@", ":***@", url) for url in (self.amqp, self.management))
        return f"BrokerUrls(amqp={amqp!r}, management={management!r})"


class PrivateBroker:
    """A RabbitMQ node in a folder of its own, on loopback only, with a user and a password of its own.

    It ends with `stop()`, with the `async with` block, and when this process dies in whatever way; nothing it
    started outlives it. Any number may run side by side.

    Args:
        folder: holds the node's data, password and ports for the next broker on this folder. It is made if it
            is missing. None: a temporary folder, removed at the end.
        amqp_port: the port for AMQP, 0 for any that is free.
        management_port: the port for the management API, 0 for any that is free.
    """

    def __init__(self, folder: Path | None = None, *, amqp_port: int = 0, management_port: int = 0) -> None:
        self._temporary = folder is None
        self._folder = folder and folder.resolve()
        self._asked_ports = {"amqp_port": amqp_port, "management_port": management_port}
        self._lock: int | None = None
        self._node: WatchedNode | None = None
        self._urls: BrokerUrls | None = None

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
        if self._folder is None:
            raise PrivateBrokerError(_NOT_STARTED)
        return self._folder

    @property
    def urls(self) -> BrokerUrls:
        """Where the node answers, from the first `start()` on."""
        if self._urls is None:
            raise PrivateBrokerError(_NOT_STARTED)
        return self._urls

    @property
    def pid(self) -> int:
        """The process id of the node, from `start()` to `stop()`."""
        if self._node is None or self._node.pid is None:
            raise PrivateBrokerError(_NOT_STARTED)
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
        server, epmd = _installed()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="private-broker-"))
            self._lock = claim_folder(self._folder)
            settings = load_settings(self._folder, self._asked_ports)
            write_files(settings)
            order = Order(
                server=str(server),
                epmd=str(epmd),
                epmd_port=settings.epmd_port,
                folder=str(self._folder),
                temporary=self._temporary,
                environment=node_environment(settings, os.environ),
            )
            self._node = await WatchedNode.launch(order, self._folder / "log" / "console.log", self._lock)
            await self._wait_for_answers(self._node, settings, timeout)
            undo.pop_all()
        login = f"{USER}:{settings.password}@{HOST}"
        self._urls = BrokerUrls(
            amqp=f"amqp://{login}:{settings.amqp_port}/%2F",
            management=f"http://{login}:{settings.management_port}",
        )
        return self._urls

    async def stop(self) -> None:
        """Stop the node, and remove a temporary folder. Takes 6 s with a given folder, else less than 1 s."""
        await self._close()
        if self._temporary and self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None

    async def kill(self) -> None:
        """Kill the node (SIGKILL), as a crash would, and wait until it is gone. The folder stays."""
        if self._node is not None:
            self._node.kill()
        await self.wait()

    async def restart(self, timeout: float = 60) -> BrokerUrls:  # noqa: ASYNC109 - as start()
        """Start the node again on the same folder and ports, having stopped it cleanly if it still runs.

        Args:
            timeout: seconds for the new start.

        Returns:
            Where it answers: as before.

        Raises:
            PrivateBrokerError: it was not started before; else as `start()`.
        """
        urls = self.urls
        self._asked_ports = {
            "amqp_port": urlsplit(urls.amqp).port or 0,
            "management_port": urlsplit(urls.management).port or 0,
        }
        await self._close(KEEP)
        return await self.start(timeout)

    async def wait(self) -> None:
        """Wait until the node has ended, by itself or otherwise; returns at once when it is not started."""
        if self._node is not None:
            await self._node.ended.wait()

    async def _close(self, last_word: bytes = b"") -> None:
        if self._node is not None:
            await self._node.close(last_word)
            self._node = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _wait_for_answers(self, node: WatchedNode, settings: NodeSettings, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not (
                    await amqp_answers(settings.amqp_port)
                    and await management_answers(settings.management_port, settings.password)
                ):
                    if node.ended.is_set():
                        raise PrivateBrokerError(f"the private broker ended while it started\n{self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            what = f"the private broker did not answer within {seconds:g} s"
            raise PrivateBrokerError(f"{what}\n{self._log_tail()}") from error

    def _log_tail(self) -> str:
        logs = [self.folder / "log" / name for name in ("console.log", "rabbit.log")]
        tails = [log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] for log in logs if log.exists()]
        return "\n".join(line for tail in tails for line in tail)


def _installed() -> tuple[Path, Path]:
    server, epmd = find_server(), find_epmd()
    if server is None or epmd is None:
        missing = "rabbitmq-server" if server is None else "Erlang's epmd"
        raise PrivateBrokerError(
            f"{missing} was not found: install RabbitMQ (Debian: apt install rabbitmq-server, macOS:"
            " brew install rabbitmq), or name one that runs in COORDINATOR_AMQP_URL"
        )
    return server, epmd

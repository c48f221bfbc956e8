"""One RabbitMQ node in a claimed folder. A private broker has one node, a private cluster has several."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.config import HOST, USER, NodeSettings, node_environment
from coordinator.local_rabbitmq.find_server import find_epmd, find_server
from coordinator.local_rabbitmq.ports import answers, management_answers
from coordinator.local_rabbitmq.process import WatchedProcess
from coordinator.local_rabbitmq.watchdog import KEEP, Order

_POLL_SECONDS = 0.05
_TAIL_LINES = 40


@dataclass(frozen=True, repr=False)
class BrokerUrls:
    """The URLs of a broker, with user and password. For a cluster, each field lists all nodes, separated by commas.

    Attributes:
        amqp: `amqp://user:password@host:port/vhost`.
        management: `http://user:password@host:port`, the base of the management API.
    """

    amqp: str
    management: str

    def __repr__(self) -> str:
        amqp, management = (re.sub(r":[^:@/]*@", ":***@", url) for url in (self.amqp, self.management))
        return f"BrokerUrls(amqp={amqp!r}, management={management!r})"

    @classmethod
    def of(cls, nodes: Sequence[NodeSettings]) -> BrokerUrls:
        """The URLs of these nodes."""
        return cls(
            amqp=",".join(f"amqp://{USER}:{node.password}@{HOST}:{node.amqp_port}/%2F" for node in nodes),
            management=",".join(f"http://{USER}:{node.password}@{HOST}:{node.management_port}" for node in nodes),
        )


@dataclass(frozen=True)
class Programs:
    """The installed programs that a node needs."""

    server: Path
    epmd: Path

    @classmethod
    def find(cls) -> Programs:
        """Find them on this machine.

        Raises:
            PrivateBrokerError: one is missing; the message says what to install.
        """
        server, epmd = find_server(), find_epmd()
        if server is None or epmd is None:
            missing = "rabbitmq-server" if server is None else "Erlang's epmd"
            raise PrivateBrokerError(
                f"{missing} was not found: install RabbitMQ (Debian: apt install rabbitmq-server, macOS:"
                " brew install rabbitmq), or name one that runs in COORDINATOR_AMQP_URL"
            )
        return cls(server, epmd)

    def name_server(self, port: int) -> list[str]:
        """The command of a name server on this port of loopback."""
        return [str(self.epmd), "-port", str(port), "-address", HOST]


class PrivateNode:
    """One node. After it has stopped, it can be started again.

    Args:
        settings: the node's settings; its files are already written.
        lock: the file descriptor that holds the claim on the folder.
        temporary: whether its data are removed when it is closed.
    """

    def __init__(self, settings: NodeSettings, lock: int, *, temporary: bool) -> None:
        self.settings = settings
        self._lock = lock
        self._temporary = temporary
        self._process: WatchedProcess | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return None if process is None or process.ended.is_set() else process.pid

    @property
    def has_data(self) -> bool:
        """Whether it has run before. If it belongs to a cluster, it has already joined it."""
        return (self.settings.folder / "data").exists()

    async def start(self, programs: Programs, seconds: float) -> None:
        """Start it and wait until it answers on AMQP and on its management API.

        The nodes of a cluster share one name server; a single node has its own.

        Args:
            programs: the installed programs.
            seconds: how long to wait for it.

        Raises:
            PrivateBrokerError: it did not come up; the message ends with the last lines of its log.
        """
        settings = self.settings
        order = Order(
            command=[str(programs.server)],
            name_server=[] if settings.peers else programs.name_server(settings.epmd_port),
            epmd_port=settings.epmd_port,
            folder=str(settings.folder),
            temporary=self._temporary,
            environment=node_environment(settings, os.environ),
        )
        self._process = await WatchedProcess.launch(order, settings.folder / "log" / "console.log", self._lock)
        await self.until_it_answers(seconds)

    async def until_it_answers(self, seconds: float) -> None:
        """Wait until it answers on AMQP and on its management API.

        Raises:
            PrivateBrokerError: it did not answer in time, or it ended; the message ends with the last lines of its log.
        """
        settings = self.settings
        try:
            async with asyncio.timeout(seconds):
                while not (
                    await answers(settings.amqp_port)
                    and await management_answers(settings.management_port, settings.password)
                ):
                    if self._process is None or self._process.ended.is_set():
                        raise PrivateBrokerError(f"the private broker ended while it started\n{self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            what = f"the private broker did not answer within {seconds:g} s"
            raise PrivateBrokerError(f"{what}\n{self._log_tail()}") from error

    async def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would, and wait until it has ended. Its data stay."""
        self._signal(signal.SIGKILL)
        await self.wait()

    def suspend(self) -> None:
        """Suspend its process (SIGSTOP): its sockets stay open, but it does not answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a suspended process (SIGCONT)."""
        self._signal(signal.SIGCONT)

    async def wait(self) -> None:
        """Wait until it has ended for any reason; returns at once when it does not run."""
        if self._process is not None:
            await self._process.ended.wait()

    async def close(self, *, keep: bool = False) -> None:
        """Stop it. This takes 6 s when its data stay, else less than 1 s.

        Args:
            keep: whether to keep even temporary data.
        """
        if self._process is not None:
            await self._process.close(KEEP if keep else b"")
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _log_tail(self) -> str:
        logs = [self.settings.folder / "log" / name for name in ("console.log", "rabbit.log")]
        tails = [log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] for log in logs if log.exists()]
        return "\n".join(line for tail in tails for line in tail)

"""One RabbitMQ node on a folder that somebody has claimed: a private broker is one, a private cluster has several."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.broker.node_config import HOST, USER, NodeSettings, node_environment
from coordinator.broker.ports import answers, management_answers
from coordinator.broker.server import find_epmd, find_server
from coordinator.broker.watchdog import KEEP, Order
from coordinator.broker.watched import WatchedNode
from coordinator.errors import PrivateBrokerError

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL_SECONDS = 0.05
_TAIL_LINES = 40


@dataclass(frozen=True, repr=False)
class BrokerUrls:
    """Where a broker answers, and as whom; of a cluster each holds the URLs of all nodes, separated by commas.

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
    """What a node needs installed."""

    server: Path
    epmd: Path

    @classmethod
    def find(cls) -> Programs:
        """Find them on this machine.

        Raises:
            PrivateBrokerError: one is missing; the sentence says what to install.
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
    """A node; while it does not run it may be started again.

    Args:
        settings: with its files written.
        lock: the file descriptor of the folder's claim.
        temporary: whether its data go when it is closed.
    """

    def __init__(self, settings: NodeSettings, lock: int, *, temporary: bool) -> None:
        self.settings = settings
        self._lock = lock
        self._temporary = temporary
        self._watched: WatchedNode | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        watched = self._watched
        return None if watched is None or watched.ended.is_set() else watched.pid

    @property
    def has_data(self) -> bool:
        """Whether it has run before: such a node is part of a cluster already, and joins none."""
        return (self.settings.folder / "data").exists()

    async def start(self, programs: Programs, seconds: float) -> None:
        """Start it and wait until it answers on AMQP and on its management API.

        A node that belongs to a cluster shares that one's name server; another has its own.

        Args:
            programs: what is installed.
            seconds: how long until it is given up.

        Raises:
            PrivateBrokerError: it did not come up; the sentence is followed by the end of its log.
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
        self._watched = await WatchedNode.launch(order, settings.folder / "log" / "console.log", self._lock)
        await self.until_it_answers(seconds)

    async def until_it_answers(self, seconds: float) -> None:
        """Wait until it answers on AMQP and on its management API.

        Raises:
            PrivateBrokerError: it did not, or has ended; the sentence is followed by the end of its log.
        """
        settings = self.settings
        try:
            async with asyncio.timeout(seconds):
                while not (
                    await answers(settings.amqp_port)
                    and await management_answers(settings.management_port, settings.password)
                ):
                    if self._watched is None or self._watched.ended.is_set():
                        raise PrivateBrokerError(f"the private broker ended while it started\n{self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            what = f"the private broker did not answer within {seconds:g} s"
            raise PrivateBrokerError(f"{what}\n{self._log_tail()}") from error

    async def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would, and wait until it is gone. Its data stay."""
        self._signal(signal.SIGKILL)
        await self.wait()

    def suspend(self) -> None:
        """Stop its process where it is (SIGSTOP): its sockets stay open and nothing answers any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    async def wait(self) -> None:
        """Wait until it has ended, by itself or otherwise; returns at once when it does not run."""
        if self._watched is not None:
            await self._watched.ended.wait()

    async def close(self, *, keep: bool = False) -> None:
        """Stop it. Takes 6 s when its data stay, else less than 1 s.

        Args:
            keep: whether even temporary data stay.
        """
        if self._watched is not None:
            await self._watched.close(KEEP if keep else b"")
            self._watched = None

    def _signal(self, number: signal.Signals) -> None:
        if self._watched is not None:
            self._watched.send_signal(number)

    def _log_tail(self) -> str:
        logs = [self.settings.folder / "log" / name for name in ("console.log", "rabbit.log")]
        tails = [log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] for log in logs if log.exists()]
        return "\n".join(line for tail in tails for line in tail)

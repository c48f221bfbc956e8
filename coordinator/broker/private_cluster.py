"""A RabbitMQ cluster of our own on one machine, for tests and for trying things out, faults included."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Self

from coordinator.broker.management import Management
from coordinator.broker.node_config import node_environment
from coordinator.broker.node_folder import NOT_STARTED, Home, load_cluster, write_files
from coordinator.broker.ports import answers
from coordinator.broker.private_node import BrokerUrls, PrivateNode, Programs
from coordinator.broker.remote import evaluate
from coordinator.broker.watchdog import Order
from coordinator.broker.watched import WatchedNode
from coordinator.errors import ManagementError, PrivateBrokerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from coordinator.broker.node_config import NodeSettings

_POLL_SECONDS = 0.05
_NAME_SERVER_SECONDS = 10.0

# Nodes let each other in by a cookie. With another one for its peers a node refuses them, and they it, at once.
_CUT_OFF = "[begin erlang:set_cookie(P, 'cut off'), erlang:disconnect_node(P) end || P <- {peers}]"
_HEAL = "[begin erlang:set_cookie(P, erlang:get_cookie()), net_kernel:connect_node(P) end || P <- {peers}]"


class PrivateCluster:
    """Several RabbitMQ nodes that form one broker, each in a folder of its own, on loopback only.

    Like a `PrivateBroker`, it ends with `stop()`, with the `async with` block, and when this process dies in
    whatever way. Nodes are named by their number, from 0 on; what is done to one leaves the others alone.

    Args:
        folder: holds all data, the password and the ports for the next cluster of the same size on this folder.
            It is made if it is missing. None: a temporary folder, removed at the end.
        nodes: how many; an odd number, for the smaller part of a divided cluster pauses.
        amqp_port: the first node's port for AMQP, each further node has the next one; 0 for any that are free.
        management_port: the same for the management API.
    """

    def __init__(
        self, folder: Path | None = None, *, nodes: int = 3, amqp_port: int = 0, management_port: int = 0
    ) -> None:
        self._size = nodes
        self._home = Home(folder)
        self._asked_ports = {"amqp_port": amqp_port, "management_port": management_port}
        self._name_server: WatchedNode | None = None
        self._nodes: list[PrivateNode] = []

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

    def __len__(self) -> int:
        return self._size

    @property
    def folder(self) -> Path:
        """The folder that holds all nodes' folders; a temporary one is there from `start()` to `stop()`."""
        return self._home.path

    @property
    def urls(self) -> BrokerUrls:
        """Where the nodes answer, all URLs of a kind in one text with commas between, from `start()` to `stop()`."""
        return BrokerUrls.of([node.settings for node in self._running()])

    def urls_of(self, node: int) -> BrokerUrls:
        """Where one node answers."""
        return BrokerUrls.of([self._running()[node].settings])

    def pid_of(self, node: int) -> int | None:
        """A node's process id; None while it does not run."""
        return self._running()[node].pid

    async def start(self, timeout: float = 120) -> BrokerUrls:  # noqa: ASYNC109 - the error must hold a log's end
        """Start all nodes side by side, and wait until they have formed a cluster and answer.

        Args:
            timeout: seconds until it is given up.

        Returns:
            Where they answer.

        Raises:
            PrivateBrokerError: RabbitMQ is not installed, the folder is in use, not ours or that of a cluster of
                another size, a port is taken, or a node did not come up; then the sentence is followed by the end
                of its log.
        """
        if self._nodes:
            raise PrivateBrokerError("the private cluster is already started")
        programs = Programs.find()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            lock = self._home.claim()
            settings = load_cluster(self._home.path, self._size, self._asked_ports)
            for one in settings:
                write_files(one)
            self._name_server = await self._start_name_server(programs, settings[0], lock)
            self._nodes = [PrivateNode(one, lock, temporary=self._home.is_temporary) for one in settings]
            await self._start_all(programs, timeout)
            undo.pop_all()
        return self.urls

    async def stop(self) -> None:
        """Stop all nodes, and remove a temporary folder. Takes some seconds with a given folder, else less than 1 s."""
        await asyncio.gather(*(node.close() for node in self._nodes))
        self._nodes = []
        if self._name_server is not None:
            await self._name_server.close()
            self._name_server = None
        self._home.release()
        await asyncio.to_thread(self._home.remove)

    async def kill(self, node: int) -> None:
        """Kill a node (SIGKILL), as a crash would, and wait until it is gone. Its data stay."""
        await self._running()[node].kill()

    async def restart(self, node: int, timeout: float = 60) -> None:  # noqa: ASYNC109 - as start()
        """Start a node again on the same folder and ports, having stopped it cleanly if it still runs.

        Args:
            node: its number.
            timeout: seconds for the new start, and for a second one if the first fails.

        Raises:
            PrivateBrokerError: it did not come up; the sentence is followed by the end of its log.
        """
        await self.close(node)
        await _start(self._running()[node], Programs.find(), timeout)

    async def close(self, node: int) -> None:
        """Stop a node cleanly; its data stay. Takes 6 s."""
        await self._running()[node].close(keep=True)

    def suspend(self, node: int) -> None:
        """Stop a node's process where it is (SIGSTOP): its sockets stay open, and nothing answers any more.

        The others give it up after some 10 s; until then, what asks all nodes waits for it.
        """
        self._running()[node].suspend()

    def resume(self, node: int) -> None:
        """Let a suspended node go on (SIGCONT).

        A node that the others had given up does not always come back to them by itself: see `until_whole()`.
        """
        self._running()[node].resume()

    async def cut_off(self, node: int) -> None:
        """Part a node from all others at once; clients reach it until it pauses, because it is in the minority.

        Raises:
            PrivateBrokerError: the node did not do as it was told.
        """
        await self._tell_of_peers(node, _CUT_OFF)

    async def heal(self, node: int, timeout: float = 60) -> None:  # noqa: ASYNC109 - as start()
        """Let a node that was cut off back, and wait until it is.

        Raises:
            PrivateBrokerError: as `until_whole()`, or the node did not do as it was told.
        """
        await self._tell_of_peers(node, _HEAL)
        await self.until_whole(timeout)

    async def until_whole(self, timeout: float = 30) -> None:  # noqa: ASYNC109 - as start()
        """Wait until each node sees that all run.

        Up to RabbitMQ 4.2, nodes that lost each other for so short a time that none of them paused, or while one was
        suspended, may stay parted for good, as they do in production. Then `restart()` the one that was away.

        Raises:
            PrivateBrokerError: it did not come to that; the sentence says what each node sees.
        """
        seen = {node.settings.name: "nothing" for node in self._running()}
        whole = str(sorted(seen))
        try:
            async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                for node in self._running():
                    group.create_task(self._until_it_sees(node.settings, whole, seen))
        except TimeoutError:
            raise PrivateBrokerError(f"the nodes are not one cluster within {timeout:g} s; they see {seen}") from None

    async def wait(self) -> None:
        """Wait until all nodes have ended, by themselves or otherwise; returns at once when it is not started."""
        await asyncio.gather(*(node.wait() for node in self._nodes))

    async def evaluate(self, node: int, expression: str) -> str:
        """Evaluate an expression of Erlang on a node; returns the value as Erlang writes it.

        Raises:
            PrivateBrokerError: the node did not answer, or with an error.
        """
        return await evaluate(self._running()[node].settings, expression)

    def _running(self) -> Sequence[PrivateNode]:
        if not self._nodes:
            raise PrivateBrokerError(NOT_STARTED)
        return self._nodes

    async def _tell_of_peers(self, node: int, expression: str) -> None:
        chosen = self._running()[node].settings
        peers = ", ".join(f"'{name}'" for name in chosen.peers if name != chosen.name)
        await self.evaluate(node, expression.format(peers=f"[{peers}]"))

    async def _start_all(self, programs: Programs, seconds: float) -> None:
        """Start the first node and those with data, then the others: a join to a node that still starts can fail."""
        early = [node for node in self._nodes if node is self._nodes[0] or node.has_data]
        late = [node for node in self._nodes if node not in early]
        try:
            for nodes in (early, late):
                async with asyncio.TaskGroup() as group:
                    for node in nodes:
                        group.create_task(_start(node, programs, seconds))
            await self.until_whole()
        except* PrivateBrokerError as errors:
            raise errors.exceptions[0] from None

    async def _until_it_sees(self, node: NodeSettings, whole: str, seen: dict[str, str]) -> None:
        management = Management(BrokerUrls.of([node]).management, "/")
        try:
            while seen[node.name] != whole:
                try:
                    seen[node.name] = str(sorted(await management.running_nodes()))
                except ManagementError as error:
                    seen[node.name] = str(error)
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await management.close()

    async def _start_name_server(self, programs: Programs, settings: NodeSettings, lock: int) -> WatchedNode:
        (self.folder / "log").mkdir(exist_ok=True)
        order = Order(
            command=programs.name_server(settings.epmd_port),
            name_server=[],
            epmd_port=settings.epmd_port,
            folder=str(self.folder),
            temporary=self._home.is_temporary,
            environment=node_environment(settings, os.environ),
        )
        name_server = await WatchedNode.launch(order, self.folder / "log" / "console.log", lock)
        async with asyncio.timeout(_NAME_SERVER_SECONDS):
            while not await answers(settings.epmd_port):  # noqa: ASYNC110 - another process tells of no event
                await asyncio.sleep(_POLL_SECONDS)
        return name_server


async def _start(node: PrivateNode, programs: Programs, seconds: float) -> None:
    """Start a node, at a second try if need be.

    Nodes that start at once ask each other for their feature flags, and RabbitMQ 3.10 ends where the other has not read
    its own yet.
    """
    try:
        await node.start(programs, seconds)
    except PrivateBrokerError:
        await node.close(keep=True)
        await node.start(programs, seconds)

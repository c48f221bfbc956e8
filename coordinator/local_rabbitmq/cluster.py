"""A RabbitMQ cluster of our own on one machine, for tests and trials. A caller can kill, suspend and cut off nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from coordinator.broker.management import Management
from coordinator.errors import ManagementError, PrivateBrokerError
from coordinator.local_rabbitmq.config import NodeSettings, node_environment
from coordinator.local_rabbitmq.erlang_eval import evaluate
from coordinator.local_rabbitmq.folder import NOT_STARTED, BrokerFolder, load_cluster, write_files
from coordinator.local_rabbitmq.node import BrokerUrls, PrivateNode, Programs
from coordinator.local_rabbitmq.ports import answers
from coordinator.local_rabbitmq.process import WatchedProcess
from coordinator.local_rabbitmq.watchdog import Order

_POLL_SECONDS = 0.05
_NAME_SERVER_SECONDS = 10.0

# Nodes trust each other by a shared cookie. A node that uses another cookie for its peers loses them at once.
_CUT_OFF = "[begin erlang:set_cookie(P, 'cut off'), erlang:disconnect_node(P) end || P <- {peers}]"
_HEAL = "[begin erlang:set_cookie(P, erlang:get_cookie()), net_kernel:connect_node(P) end || P <- {peers}]"


class PrivateCluster:
    """Several RabbitMQ nodes that form one broker. Each has its own folder, and all listen on loopback only.

    Like a `PrivateBroker`, it ends with `stop()`, at the end of the `async with` block, or when this process dies for
    any reason. Methods name a node by its number, from 0 on, and affect only that node.

    Args:
        folder: keeps all data, the password and the ports for the next cluster of the same size on this folder.
            It is created if it is missing. None: a temporary folder, removed at the end.
        nodes: the number of nodes. Choose an odd one: when the cluster is divided, the smaller part pauses.
        amqp_port: the first node's port for AMQP, each further node has the next one; 0 for any free ports.
        management_port: the same for the management API.
    """

    def __init__(
        self, folder: Path | None = None, *, nodes: int = 3, amqp_port: int = 0, management_port: int = 0
    ) -> None:
        self._size = nodes
        self._folder = BrokerFolder(folder)
        self._asked_ports = {"amqp_port": amqp_port, "management_port": management_port}
        self._name_server: WatchedProcess | None = None
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
        """The folder of all nodes' folders; a temporary one exists from `start()` to `stop()`."""
        return self._folder.path

    @property
    def urls(self) -> BrokerUrls:
        """The URLs of all nodes, separated by commas, from `start()` to `stop()`."""
        return BrokerUrls.of([node.settings for node in self._running()])

    def urls_of(self, node: int) -> BrokerUrls:
        """The URLs of one node."""
        return BrokerUrls.of([self._running()[node].settings])

    def pid_of(self, node: int) -> int | None:
        """A node's process id; None while it does not run."""
        return self._running()[node].pid

    async def start(self, timeout: float = 120) -> BrokerUrls:  # noqa: ASYNC109 - the error must hold the end of a log
        """Start all nodes, and wait until they have formed a cluster and answer.

        Args:
            timeout: how many seconds to wait for each node.

        Returns:
            The URLs of all nodes.

        Raises:
            PrivateBrokerError: RabbitMQ is not installed; the folder is in use, not ours, or belongs to a cluster of
                another size; a port is taken; or a node did not start, and then the message ends with the last
                lines of its log.
        """
        if self._nodes:
            raise PrivateBrokerError("the private cluster is already started")
        programs = Programs.find()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            lock = self._folder.claim()
            settings = load_cluster(self._folder.path, self._size, self._asked_ports)
            for one in settings:
                write_files(one)
            self._name_server = await self._start_name_server(programs, settings[0], lock)
            self._nodes = [PrivateNode(one, lock, temporary=self._folder.is_temporary) for one in settings]
            await self._start_all(programs, timeout)
            undo.pop_all()
        return self.urls

    async def stop(self) -> None:
        """Stop all nodes and remove a temporary folder. Takes a few seconds with a given folder, else under 1 s."""
        await asyncio.gather(*(node.close() for node in self._nodes))
        self._nodes = []
        if self._name_server is not None:
            await self._name_server.close()
            self._name_server = None
        self._folder.release()
        await asyncio.to_thread(self._folder.remove)

    async def kill(self, node: int) -> None:
        """Kill a node (SIGKILL), as a crash would, and wait until it has ended. Its data stay."""
        await self._running()[node].kill()

    async def restart(self, node: int, timeout: float = 60) -> None:  # noqa: ASYNC109 - as start()
        """Stop a node cleanly if it still runs, then start it again with the same folder and ports.

        Args:
            node: its number.
            timeout: seconds for the new start, and for a second one if the first fails.

        Raises:
            PrivateBrokerError: it did not start; the message ends with the last lines of its log.
        """
        await self.close(node)
        await _start(self._running()[node], Programs.find(), timeout)

    async def close(self, node: int) -> None:
        """Stop a node cleanly; its data stay. This takes 6 s."""
        await self._running()[node].close(keep=True)

    def suspend(self, node: int) -> None:
        """Suspend a node's process (SIGSTOP): its sockets stay open, but it does not answer.

        The other nodes count it as down after some 10 s; until then, every request to all nodes waits for it.
        """
        self._running()[node].suspend()

    def resume(self, node: int) -> None:
        """Continue a suspended node (SIGCONT).

        If the others counted it as down, it does not always rejoin them by itself: see `until_whole()`.
        """
        self._running()[node].resume()

    async def cut_off(self, node: int) -> None:
        """Cut a node off from all others at once.

        Clients reach it until it notices that it is in the minority, and pauses.

        Raises:
            PrivateBrokerError: the node did not evaluate the command.
        """
        await self._evaluate_for_peers(node, _CUT_OFF)

    async def heal(self, node: int, timeout: float = 60) -> None:  # noqa: ASYNC109 - as start()
        """Reconnect a node that was cut off, and wait until the cluster is whole.

        Raises:
            PrivateBrokerError: an error of `until_whole()`, or the node did not evaluate the command.
        """
        await self._evaluate_for_peers(node, _HEAL)
        await self.until_whole(timeout)

    async def until_whole(self, timeout: float = 30) -> None:  # noqa: ASYNC109 - as start()
        """Wait until every node sees all nodes running.

        Up to RabbitMQ 4.2, nodes may stay separated for good when they lost each other so briefly that none of them
        paused, or while one was suspended. The same happens in production. Then `restart()` the node that was away.

        Raises:
            PrivateBrokerError: this did not happen in time; the message says which nodes each node sees.
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
        """Wait until all nodes have ended for any reason; returns at once when it is not started."""
        await asyncio.gather(*(node.wait() for node in self._nodes))

    async def evaluate(self, node: int, expression: str) -> str:
        """Evaluate an Erlang expression on a node; returns the value as Erlang prints it.

        Raises:
            PrivateBrokerError: the node did not answer, or answered with an error.
        """
        return await evaluate(self._running()[node].settings, expression)

    def _running(self) -> Sequence[PrivateNode]:
        if not self._nodes:
            raise PrivateBrokerError(NOT_STARTED)
        return self._nodes

    async def _evaluate_for_peers(self, node: int, expression: str) -> None:
        chosen = self._running()[node].settings
        peers = ", ".join(f"'{name}'" for name in chosen.peers if name != chosen.name)
        await self.evaluate(node, expression.format(peers=f"[{peers}]"))

    async def _start_all(self, programs: Programs, seconds: float) -> None:
        """Start the first node and those with data, then the others: joining a node that still starts can fail."""
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

    async def _start_name_server(self, programs: Programs, settings: NodeSettings, lock: int) -> WatchedProcess:
        (self.folder / "log").mkdir(exist_ok=True)
        order = Order(
            command=programs.name_server(settings.epmd_port),
            name_server=[],
            epmd_port=settings.epmd_port,
            folder=str(self.folder),
            temporary=self._folder.is_temporary,
            environment=node_environment(settings, os.environ),
        )
        name_server = await WatchedProcess.launch(order, self.folder / "log" / "console.log", lock)
        async with asyncio.timeout(_NAME_SERVER_SECONDS):
            while not await answers(settings.epmd_port):  # noqa: ASYNC110 - no event comes from another process
                await asyncio.sleep(_POLL_SECONDS)
        return name_server


async def _start(node: PrivateNode, programs: Programs, seconds: float) -> None:
    """Start a node, with a second attempt if the first one fails.

    Nodes that start at the same time ask each other for their feature flags. RabbitMQ 3.10 ends when the other node has
    not read its own flags yet.
    """
    try:
        await node.start(programs, seconds)
    except PrivateBrokerError:
        await node.close(keep=True)
        await node.start(programs, seconds)

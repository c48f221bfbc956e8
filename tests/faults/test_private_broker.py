"""The private broker for real: processes, ports, files, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.node import BrokerUrls
from tests.helpers.brokers import kill_broker, need_server, own_broker
from tests.helpers.processes import is_alive, kill, listening_addresses, processes_of
from tests.helpers.proof import proved

START_AND_TELL = """
import asyncio, json, sys
from coordinator.local_rabbitmq.broker import PrivateBroker

async def main():
    async with PrivateBroker() as broker:
        print(json.dumps({"pid": broker.pid, "folder": str(broker.folder)}), flush=True)
        await broker.wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True, scope="module")
def _server() -> None:
    need_server()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[tuple[PrivateBroker, PrivateBroker]]:
    """Two brokers side by side, for all tests that leave them as they are."""
    one, other = PrivateBroker(), PrivateBroker()
    async with stopped_at_the_end(one, other):
        yield one, other


@contextlib.asynccontextmanager
async def stopped_at_the_end(*brokers: PrivateBroker) -> AsyncIterator[None]:
    """Start brokers at once, which takes less time than one after the other."""
    try:
        await asyncio.gather(*(broker.start() for broker in brokers))
        yield
    finally:
        await asyncio.gather(*(broker.stop() for broker in brokers))


def state_and_parent(pid: int) -> tuple[str, int]:
    """Give a process's state, a letter, and its parent's id."""
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def cores_of_threads(pid: int) -> list[set[int]]:
    """Where each thread of a process may run (Linux)."""
    return [os.sched_getaffinity(int(path.name)) for path in Path(f"/proc/{pid}/task").iterdir()]


def command_lines() -> list[bytes]:
    """Give the command line of each process of the machine."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it just ended
            lines.append(file.read_bytes())
    return lines


async def declare_queue(urls: BrokerUrls) -> None:
    """Declare the durable queue `kept`."""
    async with httpx.AsyncClient(base_url=urls.management) as client:
        (await client.put("/api/queues/%2F/kept", json={"durable": True})).raise_for_status()


async def has_queue(urls: BrokerUrls) -> bool:
    """Whether the queue `kept` is there."""
    async with httpx.AsyncClient(base_url=urls.management) as client:
        return (await client.get("/api/queues/%2F/kept")).is_success


@pytest.mark.asyncio(loop_scope="module")
async def test_two_run_side_by_side(pair: tuple[PrivateBroker, PrivateBroker]) -> None:
    """Two brokers share no port, password or folder, and each answers with its own."""
    ports = {urlsplit(url).port for broker in pair for url in (broker.urls.amqp, broker.urls.management)}
    assert len(ports) == 4
    assert pair[0].folder != pair[1].folder
    await declare_queue(pair[0].urls)
    assert await has_queue(pair[0].urls)
    assert not await has_queue(pair[1].urls)


@pytest.mark.asyncio(loop_scope="module")
async def test_only_loopback_is_listened_on(pair: tuple[PrivateBroker, PrivateBroker]) -> None:
    """Four ports each (AMQP, management, distribution, name server), none of them open to the network."""
    addresses = listening_addresses(processes_of(pair[0].folder))
    assert len({address.rpartition(":")[2] for address in addresses}) == 4
    assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in addresses)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells by /proc where threads may run")
async def test_its_threads_may_run_on_any_core(pair: tuple[PrivateBroker, PrivateBroker]) -> None:
    """Others work on this machine too: a thread that is bound to a core waits while they keep that core busy."""
    cores = cores_of_threads(pair[0].pid)
    assert len(cores) > 1
    assert all(those == os.sched_getaffinity(0) for those in cores)


async def test_the_password_is_in_no_command_line(pair: tuple[PrivateBroker, PrivateBroker]) -> None:
    """Other users can read every command line, so no process shows a secret there."""
    state = json.loads((pair[0].folder / "private-broker.json").read_text())
    lines = command_lines()
    assert any(b"beam.smp" in line for line in lines)
    assert not any(state[secret].encode() in line for line in lines for secret in ("password", "cookie"))


@pytest.mark.asyncio(loop_scope="module")
async def test_there_is_one_user_and_no_guest(pair: tuple[PrivateBroker, PrivateBroker]) -> None:
    """Only our user exists, as administrator."""
    async with httpx.AsyncClient(base_url=pair[0].urls.management) as client:
        users = (await client.get("/api/users")).json()
    assert [(user["name"], user["tags"]) for user in users] == [("coordinator", ["administrator"])]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_replicated_queues_work(pair: tuple[PrivateBroker, PrivateBroker], kind: str) -> None:
    """Quorum queues and streams can be declared from the start."""
    async with httpx.AsyncClient(base_url=pair[0].urls.management) as client:
        body = {"durable": True, "arguments": {"x-queue-type": kind}}
        assert (await client.put(f"/api/queues/%2F/{kind}", json=body)).status_code == 201


@dataclass
class Ending:
    """Three brokers, started at once, each of which ends in another way."""

    stopped: PrivateBroker
    orphaned: PrivateBroker
    """Its watchdog is killed."""
    parent: Process
    """Has one of its own, and is killed."""
    told: bytes
    """What the parent says of its broker."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ending() -> AsyncIterator[Ending]:
    """Brokers that end."""
    stopped, orphaned = PrivateBroker(), PrivateBroker()
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", START_AND_TELL, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with stopped_at_the_end(stopped, orphaned):
        yield Ending(stopped, orphaned, parent, await asyncio.wait_for(parent.stdout.readline(), 60))
        await kill(parent)


@pytest.mark.asyncio(loop_scope="module")
async def test_stop_leaves_nothing(ending: Ending) -> None:
    """After stop() no process and no temporary folder is left, and it may be called again."""
    broker = ending.stopped
    folder, processes = broker.folder, processes_of(broker.folder)
    assert broker.pid in processes
    with pytest.raises(PrivateBrokerError, match="already started"):
        await broker.start()
    await broker.stop()
    await broker.stop()
    assert not folder.exists()
    await all_gone(processes)
    with pytest.raises(PrivateBrokerError, match="not started"):
        _ = broker.pid


@pytest.mark.asyncio(loop_scope="module")
async def test_it_ends_with_a_killed_parent(ending: Ending) -> None:
    """When the program that started it is killed, node, name server, helpers and folder go too."""
    told = json.loads(ending.told)
    folder = Path(told["folder"])
    processes = processes_of(folder)
    assert told["pid"] in processes
    assert len(processes) >= 3
    await kill(ending.parent)
    await all_gone(processes)
    await proved(f"{folder} is removed", folder.exists, lambda there: not there)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_it_ends_with_a_killed_watchdog(ending: Ending) -> None:
    """When the watchdog itself is killed, the kernel ends its children, and the broker counts as ended."""
    broker = ending.orphaned
    processes = processes_of(broker.folder)
    await kill(state_and_parent(broker.pid)[1])
    await asyncio.wait_for(broker.wait(), 10)
    await all_gone(processes)


async def all_gone(pids: set[int]) -> None:
    """Wait until all of these processes have ended."""
    await proved("all processes of the broker are gone", lambda: set(filter(is_alive, pids)), lambda left: not left)


async def test_a_given_folder_keeps_its_data(tmp_path: Path) -> None:
    """The next broker on a folder has the same URLs and data, after a clean stop and after a crash; two are refused."""
    async with own_broker(tmp_path / "node") as first:
        urls = first.urls
        await declare_queue(urls)
        with pytest.raises(PrivateBrokerError, match=rf"already runs \(pid {os.getpid()}\)"):
            await PrivateBroker(tmp_path / "node").start()
        # Cleanly first: a crash forgets queues declared just before it, whose records only a stop surely writes.
        assert await first.restart() == urls
        assert await has_queue(urls)
        await kill_broker(first)
    async with own_broker(tmp_path / "node") as second:
        assert second.urls == urls
        assert await has_queue(urls)


async def test_a_start_that_fails_tells_why_and_leaves_nothing(tmp_path: Path) -> None:
    """A broken configuration shows in the error, which holds the end of the node's log."""
    folder = tmp_path / "node"
    broker = PrivateBroker(folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PrivateBrokerError, match=f"port {port} is in use"):
            await PrivateBroker(folder, amqp_port=port).start()
    (folder / "data").touch()  # where the node wants to make a folder
    with pytest.raises(PrivateBrokerError, match=r"ended while it started\n(.*\n)*.*data"):
        await broker.start()
    await proved("no process is left", lambda: processes_of(folder), lambda left: not left)
    with pytest.raises(PrivateBrokerError, match=r"did not answer within 0\.01 s"):
        await PrivateBroker().start(timeout=0.01)

"""Where contenders run: one private broker, a virtual host for each run, and a process for each program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import orjson

from coordinator import topology
from coordinator.broker import ports
from coordinator.broker.channel import Channel, Depth, Message
from coordinator.broker.connection import Connection
from coordinator.broker.messages import page_message
from coordinator.broker.private import BrokerUrls, PrivateBroker
from coordinator.settings import Settings
from tests.benchmarks import payload
from tests.benchmarks.harness import Terms, WrongResultError
from tests.support import own_vhost

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
PEER_PYTHON = CACHE / "bench-venv" / "bin"
PATIENCE = 60.0
NOTHING = Depth(0, 0)
IN_FLIGHT = 200
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Bed:
    """A broker to measure on."""

    urls: BrokerUrls
    pid: int
    version: str
    folder: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def made(cls) -> AsyncIterator[Bed]:
        """A private broker and a folder for what programs write."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with PrivateBroker() as broker:
                at = urlsplit(broker.urls.management)
                async with management(at.geturl()) as http:
                    version = str((await http.get("/api/overview")).json()["rabbitmq_version"])
                yield cls(broker.urls, broker.pid, version, Path(folder))

    @contextlib.asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """A virtual host of its own, with all of the project's exchanges and queues."""
        async with own_vhost(self.urls) as settings:
            connection = await Connection.open(settings.amqp_urls(), "bench")
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(connection.close)
                channel = await connection.channel()
                http = await stack.enter_async_context(management(self.urls.management))
                yield Site(self, settings, connection, channel, http)


@contextlib.asynccontextmanager
async def management(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the broker's management API."""
    at = urlsplit(url)
    auth = (at.username or "", at.password or "")
    base = f"{at.scheme}://{at.hostname}:{at.port}"
    async with httpx.AsyncClient(base_url=base, auth=auth, trust_env=False, timeout=PATIENCE) as http:
        yield http


@dataclass(frozen=True)
class Program:
    """A process that was started."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu(self) -> float:
        """Seconds of processor time that it and its children have used."""
        return cpu_of(self.pid)

    def memory(self) -> float:
        """Resident memory, in MB."""
        return memory_of(self.pid)


@dataclass(frozen=True)
class Site:
    """One run's virtual host."""

    bed: Bed
    settings: Settings
    connection: Connection
    channel: Channel
    http: httpx.AsyncClient

    @property
    def url(self) -> str:
        """Where programs connect."""
        return self.settings.amqp_urls()[0]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for programs of the project."""
        return {
            "COORDINATOR_AMQP_URL": self.url,
            "COORDINATOR_MANAGEMENT_URL": self.settings.management(),
            "COORDINATOR_HOME": str(self.bed.folder / self.settings.vhost()),
            "COORDINATOR_HTTP_PORT": "0",
            "COORDINATOR_LOG_FORMAT": "json",
            "COORDINATOR_RATE_LIMIT": "0",
        }

    def out(self, name: str = "out") -> Path:
        """A file for a program to write to."""
        folder = self.bed.folder / self.settings.vhost()
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.json"

    @contextlib.asynccontextmanager
    async def running(
        self, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[Program]:
        """A program, in a process group of its own; stopped at the end."""
        log = self.out("log").with_name(f"{Path(command[0]).name}-{time.monotonic_ns()}.log")
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdout=file,
                stderr=file,
                cwd=ROOT,
                start_new_session=True,
            )
        try:
            yield Program(process, log)
        finally:
            await stop(process)

    @contextlib.asynccontextmanager
    async def coordinator(self, number: int = 0) -> AsyncIterator[tuple[Program, str]]:
        """A coordinator as shipped, ready; and where it answers HTTP. Several have a home each."""
        command = (sys.executable, "-m", "coordinator", "serve")
        home = f"{self.environment['COORDINATOR_HOME']}-{number}"
        async with self.running(*command, environment={**self.environment, "COORDINATOR_HOME": home}) as program:
            url = ""
            async with asyncio.timeout(PATIENCE):
                while not url:
                    await asyncio.sleep(0.05)
                    url = _address(program.log)
            yield program, url

    async def declare(self, *queues: topology.Queue) -> None:
        """Have the project's exchanges and queues, and some more."""
        for exchange in topology.EXCHANGES:
            await self.channel.declare_exchange(exchange)
        for queue in (*topology.QUEUES, *queues):
            await self.channel.declare_queue(queue)

    async def fill(self, exchange: str, key: str, messages: Iterable[Message]) -> None:
        """Publish all, confirmed, many at once."""
        await self.fill_many(((key, message) for message in messages), exchange)

    async def fill_many(self, messages: Iterable[tuple[str, Message]], exchange: str = topology.ITEMS) -> None:
        """Publish all by their routing keys, confirmed, many at once."""
        running: set[asyncio.Task[None]] = set()
        for key, message in messages:
            if len(running) >= IN_FLIGHT:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            running.add(asyncio.create_task(self.channel.publish(exchange, key, message, mandatory=True)))
        await asyncio.gather(*running)

    def checked_page(self, number: int, size: int = payload.ITEMS) -> Message:
        """A page as a producer of the project sends it."""
        inner = payload.text(payload.page(number, size))[1:-1]
        return page_message(inner, size, f"page-{number}", self.connection.user)

    async def drained(self, queue: str) -> None:
        """Wait until a queue holds nothing, acks included: a worker that is stopped earlier would leave some of it."""
        async with asyncio.timeout(15):
            while (await self._seen(queue)).get("messages", 1):
                await asyncio.sleep(0.2)

    async def _seen(self, queue: str) -> dict[str, Any]:
        path = f"/api/queues/{quote(self.settings.vhost(), safe='')}/{quote(queue, safe='')}"
        seen: dict[str, Any] = (await self.http.get(path)).json()
        return seen

    async def terms(self, queue: str, messages: int, size: int = payload.ITEMS) -> Terms:
        """What the broker saw of the run; its counters lag by a second or two.

        Raises:
            WrongResultError: the queue did not let so many messages through, each once.
        """
        begun, seen = time.monotonic(), {}
        while time.monotonic() - begun < 15:
            seen = await self._seen(queue)
            stats = seen.get("message_stats", {})
            if stats.get("ack", 0) >= messages and not seen.get("messages", 1):
                break
            await asyncio.sleep(0.3)
        stats = seen.get("message_stats", {})
        if (stats.get("ack"), seen.get("messages")) != (messages, 0) or stats.get("redeliver", 0):
            raise WrongResultError(f"{queue}: of {messages} messages the broker says {stats}")
        host = (await self.http.get(f"/api/vhosts/{quote(self.settings.vhost(), safe='')}")).json()
        whole = host.get("message_stats", {})
        return Terms(
            queue_type=str(seen["type"]),
            durable=bool(seen["durable"]),
            unconfirmed=max(0, int(whole.get("publish", 0)) - int(whole.get("confirm", 0))),
            unacked=int(stats.get("deliver_no_ack", 0)),
            items=size,
            payload=len(payload.text(payload.page(0, size))),
        )


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a program and its children: politely, then not."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def result(out: Path, programs: Sequence[Program], items: int, *, patience: float = PATIENCE) -> dict[str, Any]:
    """What a sink or a handler wrote down.

    Raises:
        WrongResultError: it did not come in time, a program has ended, or it is not what was sent.
    """
    begun = time.monotonic()
    while not out.exists():
        dead = [one for one in programs if one.process.returncode not in {None, 0}]
        if dead or time.monotonic() - begun > patience:
            tails = "\n".join(one.log.read_text(errors="replace")[-2000:] for one in programs)
            raise WrongResultError(f"nothing came in {patience:g} s, or a program ended\n{tails}")
        await asyncio.sleep(0.05)
    told: dict[str, Any] = orjson.loads(out.read_bytes())
    if (told["items"], told["sum"]) != (items, payload.sum_of(items)):
        raise WrongResultError(f"of {items} items there came {told}")
    return told


async def eventually_fast(holds: Callable[[], bool]) -> None:
    """Wait until something holds, looked at each millisecond, since that is what is measured."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def listening(port: int) -> None:
    """Wait until somebody answers on a port of loopback.

    Raises:
        WrongResultError: nobody does.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        if await ports.answers(port):
            return
        await moment()
    raise WrongResultError(f"nobody answers on port {port}")


async def moment() -> None:
    """Let other processes go on: they set no event here."""
    await asyncio.sleep(0.05)


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used, and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def memory_of(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def has(program: str) -> bool:
    """Whether a program can be run."""
    return shutil.which(program) is not None


def _address(log: Path) -> str:
    address, ready = "", False
    for line in log.read_bytes().splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            address = entry.get("http", address)
            ready = ready or entry.get("event") == "node.ready"
    return address if ready else ""

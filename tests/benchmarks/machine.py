"""What the benchmarks ask of the machine: processes, ports, files that other programs write."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from coordinator.local_rabbitmq import ports
from tests.benchmarks import payload
from tests.benchmarks.harness import WrongResultError

PATIENCE = 180.0
TICKS = os.sysconf("SC_CLK_TCK")


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

    def most_memory(self) -> float:
        """The most resident memory that it ever had, in MB."""
        return memory_of(self.pid, "VmHWM:")


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


def memory_of(pid: int, which: str = "VmRSS:") -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return 0.0


def has(program: str) -> bool:
    """Whether a program can be run."""
    return shutil.which(program) is not None

"""Processes of this machine: what they are doing, and signals that have taken effect when the call returns.

A signal takes effect some time after it was sent. A test that goes on at once may still meet a process that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.helpers import proof
from tests.helpers.proof import proved

ENDED = {"Z", "X"}
"""States of a thread that has ended: its files and sockets are closed."""
SUSPENDED = "T"
HOST = "127.0.0.1"


def states_of_threads(pid: int) -> Counter[str]:
    """Count the threads of a process by their state, a letter of `/proc`; empty when the process is gone."""
    states: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # this thread has just ended
                states[(thread / "stat").read_text().rpartition(")")[2].split()[0]] += 1
    return states


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    return not ENDED.issuperset(states_of_threads(pid))


def processes_of(folder: Path) -> set[int]:
    """Return the ids of all processes that work in this folder: of a broker the node, its name server and helpers."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.add(int(entry.name))
            except OSError:
                continue  # it has just ended, or is another user's
    return found


def listening_addresses(pids: set[int]) -> set[str]:
    """Return the `address:port` of each listening socket of these processes."""
    lines = subprocess.run(["ss", "-Hltnp"], check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S607
    return {line.split()[3] for line in lines if any(f"pid={pid}," in line for pid in pids)}


def refuses(port: int) -> bool:
    """Whether a port of loopback refuses connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            probe.connect((HOST, port))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


async def suspend(pid: int, *, may_end: bool = False) -> None:
    """Suspend a process (SIGSTOP), and wait until each of its threads has stopped.

    Args:
        pid: the process.
        may_end: whether something else may end the process meanwhile; without it that is an error.

    Raises:
        AssertionError: a thread still runs; the sentence counts the threads by state.
    """
    _send(pid, signal.SIGSTOP, may_end=may_end)
    await proved(
        f"each thread of process {pid} is suspended",
        lambda: states_of_threads(pid),
        lambda states: (states.keys() == {SUSPENDED}) or (may_end and ENDED.issuperset(states)),
    )


async def resume(pid: int, *, may_end: bool = False) -> None:
    """Let a suspended process go on (SIGCONT), and wait until none of its threads is stopped any more.

    Args:
        pid: the process.
        may_end: as of `suspend()`.

    Raises:
        AssertionError: a thread is still stopped; the sentence counts the threads by state.
    """
    _send(pid, signal.SIGCONT, may_end=may_end)
    await proved(
        f"no thread of process {pid} is suspended any more",
        lambda: states_of_threads(pid),
        lambda states: SUSPENDED not in states and (may_end or states),
    )


@contextlib.asynccontextmanager
async def suspended(pid: int) -> AsyncIterator[None]:
    """Suspend a process for as long as the block lasts."""
    await suspend(pid)
    try:
        yield
    finally:
        await resume(pid)


async def kill(process: Process | int, port: int | None = None) -> None:
    """Kill a process (SIGKILL), and wait until it is gone; nothing is wrong when it has ended before.

    Args:
        process: itself, or its id. A child of ours is waited for, too.
        port: a port of loopback that it listens on, which refuses connections then.

    Raises:
        AssertionError: it is still there, or the port still takes connections.
    """
    if isinstance(process, Process) and process.returncode is not None:
        return  # its id may be another process's by now
    pid = process if isinstance(process, int) else process.pid
    _send(pid, signal.SIGKILL, may_end=True)
    await gone(pid, port)
    if isinstance(process, Process):
        async with asyncio.timeout(proof.DEADLINE):
            await process.wait()


async def gone(pid: int, port: int | None = None) -> None:
    """Wait until a process has ended, and its port, if one is given, refuses connections.

    Raises:
        AssertionError: it is still there, or the port still takes connections.
    """
    await proved(f"process {pid} is gone", lambda: states_of_threads(pid), ENDED.issuperset)
    if port is not None:
        await proved(f"port {port} of process {pid} refuses connections", lambda: refuses(port), bool)


def _send(pid: int, number: signal.Signals, *, may_end: bool) -> None:
    """Send a signal.

    Not by the process object's own method: of a process that has just died that would fetch the exit code before the
    task that waits for it.
    """
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        if not may_end:
            raise AssertionError(f"process {pid} is gone: it cannot get {number.name}") from None

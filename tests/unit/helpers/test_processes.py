"""A signal has taken effect when the call returns; one that takes none is an error that says what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.helpers import proof
from tests.helpers.processes import is_alive, kill, refuses, resume, states_of_threads, suspend, suspended

THREADS = 3
LISTEN = f"""
import socket, threading, time
for _ in range({THREADS - 1}):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].close()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists threads in /proc")


@pytest.fixture
async def listening() -> AsyncIterator[tuple[Process, int]]:
    """A process of several threads, and the port that it listens on."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LISTEN, stdout=PIPE)
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    yield process, port
    if process.returncode is None:
        process.kill()
    await process.wait()


@contextlib.contextmanager
def no_signals() -> Iterator[None]:
    """For as long as the block lasts, signals are not sent, and little time is given to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", lambda *_: None)
        patch.setattr(proof, "DEADLINE", 0.1)
        yield


async def test_all_threads_are_suspended_and_go_on(listening: tuple[Process, int]) -> None:
    """In the block all of them are stopped, and after it none."""
    pid = listening[0].pid
    async with suspended(pid):
        assert states_of_threads(pid) == {"T": THREADS}
    assert "T" not in states_of_threads(pid)


async def test_a_suspension_that_takes_no_effect(listening: tuple[Process, int]) -> None:
    """The error counts the threads by state."""
    with (
        no_signals(),
        pytest.raises(AssertionError, match=rf"each thread of process \d+ is suspended; .*Counter\(.*'S': {THREADS}"),
    ):
        await suspend(listening[0].pid)


async def test_a_process_that_does_not_go_on(listening: tuple[Process, int]) -> None:
    """The error counts the threads by state."""
    pid = listening[0].pid
    await suspend(pid)
    with (
        no_signals(),
        pytest.raises(AssertionError, match=rf"no thread of process \d+ is suspended any more; .*'T': {THREADS}"),
    ):
        await resume(pid)


async def test_a_killed_process_is_gone_and_its_port_too(listening: tuple[Process, int]) -> None:
    """It is waited for, and may be killed again; suspending it then is an error, unless it may end."""
    process, port = listening
    assert not refuses(port)
    await kill(process, port)
    assert refuses(port)
    assert not is_alive(process.pid)
    assert process.returncode == -signal.SIGKILL
    await kill(process)
    await suspend(process.pid, may_end=True)
    await resume(process.pid, may_end=True)
    with pytest.raises(AssertionError, match="is gone: it cannot get SIGSTOP"):
        await suspend(process.pid)


async def test_a_kill_that_takes_no_effect(listening: tuple[Process, int]) -> None:
    """The error says that the process is there, by the states of its threads."""
    with (
        no_signals(),
        pytest.raises(AssertionError, match=rf"process \d+ is gone; seen last: Counter\(.*'S': {THREADS}"),
    ):
        await kill(listening[0])


async def test_a_port_that_outlives_its_process(
    listening: tuple[Process, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the port."""
    monkeypatch.setattr(proof, "DEADLINE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AssertionError, match=rf"port {port} of process \d+ refuses connections; seen last: False"):
            await kill(listening[0], port)

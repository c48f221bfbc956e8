"""A watchdog runs a process, and ends it with its input."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coordinator.local_rabbitmq.process import WatchedProcess
from coordinator.local_rabbitmq.watchdog import KEEP, Order
from tests.helpers.support import eventually


def order(folder: Path, *, temporary: bool) -> Order:
    """Run a process that does nothing, in place of a node."""
    return Order(
        command=["sleep", "600"],
        name_server=[],
        epmd_port=0,
        folder=str(folder),
        temporary=temporary,
        environment={"PATH": os.environ["PATH"]},
    )


@asynccontextmanager
async def launched(tmp_path: Path, *, temporary: bool) -> AsyncIterator[tuple[WatchedProcess, Path]]:
    """A watched process that runs, and its folder."""
    folder = tmp_path / "node"
    (folder / "log").mkdir(parents=True)
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    process = await WatchedProcess.launch(order(folder, temporary=temporary), tmp_path / "log", lock)
    try:
        await eventually(lambda: process.pid, "the process runs")
        yield process, folder
    finally:
        await process.close()
        os.close(lock)


def runs(process: WatchedProcess) -> bool:
    """Whether the process exists."""
    try:
        os.kill(process.pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("temporary", "last_word", "stays"), [(True, b"", False), (True, KEEP, True), (False, b"", True)]
)
async def test_the_end(tmp_path: Path, *, temporary: bool, last_word: bytes, stays: bool) -> None:
    """The process ends; a temporary folder is removed, unless it is to be kept."""
    async with launched(tmp_path, temporary=temporary) as (process, folder):
        assert runs(process)
        await process.close(last_word)
        assert (process.ended.is_set(), runs(process), folder.exists()) == (True, False, stays)


async def test_a_process_that_dies_is_noticed(tmp_path: Path) -> None:
    """It is not signalled any more: its id may belong to another process by then."""
    async with launched(tmp_path, temporary=True) as (process, _):
        process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(10):
            await process.ended.wait()
        process.send_signal(signal.SIGKILL)


def test_an_order_is_one_line(tmp_path: Path) -> None:
    """The watchdog reads one line, and gets the same order from it."""
    sent = order(tmp_path, temporary=True)
    line = sent.to_line()
    assert line.count(b"\n") == 1
    assert Order(**json.loads(line)) == sent

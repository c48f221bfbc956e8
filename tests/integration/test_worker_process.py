"""The worker as a process: killed, told to stop, and called wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from coordinator.settings import Settings
from tests.helpers.processes import kill
from tests.helpers.support import DEADLINE, StockWorker, eventually, items, publish_items
from tests.helpers.workers import base_of, spooled, told

ROOT = Path(__file__).parents[2]
HANDLERS = """
import threading, time
from pathlib import Path

def note(item, context):
    with open("begun", "a") as file:
        file.write(f"{item['id']} {context.attempt}\\n")
    if not Path("go").exists():
        threading.Event().wait()
"""


def _environment(home: Path) -> dict[str, str]:
    """The environment without this run's own coordinator and broker."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COORDINATOR_")}
    return inherited | {"COORDINATOR_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}


@contextlib.asynccontextmanager
async def process(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m worker_stub` in a folder of its own, its output in the file `output` there; killed in the end."""
    (folder / "held.py").write_text(HANDLERS)
    with (folder / "output").open("ab") as output:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker_stub",
            *arguments,
            cwd=folder,
            env=_environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield running
    finally:
        await kill(running)


async def call(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run it to its end; its exit code and the lines that it wrote."""
    async with process(folder, *arguments) as running, asyncio.timeout(DEADLINE):
        code = await running.wait()
    return code, (folder / "output").read_text().splitlines()


def begun(folder: Path) -> list[str]:
    """What the handler has begun: an item's id and the attempt."""
    path = folder / "begun"
    return path.read_text().splitlines() if path.exists() else []


async def test_killed_worker_loses_no_batch(settings: Settings, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A worker killed in the midst of a batch: another gets that batch, same id and items, as attempt 2."""
    async with process(tmp_path, "--id", "w", "--handler", "held:note", "--http-url", base_of(api)) as running:
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: begun(tmp_path), "an item in hand")
        await kill(running)
    other = await StockWorker.consume(settings)
    await eventually(lambda: other.deliveries, "the batch")
    assert [(batch["attempt"], batch["items"]) for batch in other.batches] == [(2, items(5))]
    assert other.deliveries[0].headers["attempt"] == 2
    await other.ack_all()
    await other.close()


async def test_killed_worker_works_its_spool_off(settings: Settings, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A worker killed after it has acked: nothing comes back, and its next run finishes what it had taken."""
    arguments = (
        "--id",
        "w",
        "--ack",
        "taken",
        "--handler",
        "held:note",
        "--spool",
        "spool",
        "--http-url",
        base_of(api),
    )
    async with process(tmp_path, *arguments) as running:
        await publish_items(settings, "s", [items(5)])
        await eventually(lambda: begun(tmp_path), "an item in hand of what was taken")
        await kill(running)
    assert len(spooled(tmp_path / "spool")) == 1
    (tmp_path / "go").touch()
    async with told(settings) as results, process(tmp_path, *arguments):
        await eventually(lambda: results.items.total() >= 5, "5 results")
        await eventually(lambda: not spooled(tmp_path / "spool"), "an empty spool")
    assert results.items == Counter(item["id"] for item in items(5))
    assert begun(tmp_path) == ["i0 1", *(f"i{number} 1" for number in range(5))]


@pytest.mark.parametrize("transport", ["amqp", "http"])
async def test_told_to_stop_it_ends_in_time(
    settings: Settings, api: httpx.AsyncClient, tmp_path: Path, transport: str
) -> None:
    """SIGTERM ends it with exit code 0 within its deadline though a handler hangs; what was not begun has no fault."""
    await api.put("/seed/s", json={"batchSize": 1})
    options = ("--id", "w", "--handler", "held:note", "--transport", transport, "--stop-timeout", "1")
    async with process(tmp_path, *options, "--http-url", base_of(api)) as running:
        await publish_items(settings, "s", [items(2)])
        await eventually(lambda: begun(tmp_path), "an item in hand")
        other = await StockWorker.consume(settings)
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            assert await running.wait() == 0
    await eventually(lambda: other.deliveries, "the batch that was not begun")
    assert other.batches[0]["attempt"] == 1
    await other.ack_all()
    await other.close()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--handler", "nosuch:thing"], "worker-stub: handler: cannot import nosuch"),
        (["--handler", "held:nothing"], "worker-stub: handler: held has no nothing"),
        (["--handler", "held"], "worker-stub: handler: must be module:function"),
        (["--id", "not an id"], "worker-stub: id: must be 1 to 100 characters"),
        (["--tags", "x" * 65], "worker-stub: tags: "),
        (["--handler", "null"], "worker-stub: amqp-url: is needed: no running coordinator was found"),
        (["--handler", "null", "--transport", "http"], "worker-stub: http-url: is needed"),
        (["--amqp-url", "nonsense"], "worker-stub: amqp-url: must be like amqp://"),
        (["--http-url", "127.0.0.1:8787"], "worker-stub: http-url: must be like http://"),
        (["--ack", "taken", "--spool", "held.py/spool", "--amqp-url", "amqp://127.0.0.1:1/"], "worker-stub: "),
    ],
)
async def test_what_cannot_work_ends_with_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    """A wrong handler, id or tag, an address that is missing or none, an impossible spool: one line, exit code 1."""
    code, lines = await call(tmp_path, *arguments)
    assert (code, len(lines)) == (1, 1), lines
    assert lines[0].startswith(line)


async def test_spool_in_use_ends_with_one_line(api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A second worker on the same spool is refused."""
    arguments = ("--ack", "taken", "--spool", "spool", "--handler", "null", "--http-url", base_of(api), "--id", "w")
    async with process(tmp_path, *arguments):
        await eventually(lambda: b"worker.connected" in (tmp_path / "output").read_bytes(), "the first worker")
        (tmp_path / "second").mkdir()
        code, lines = await call(tmp_path / "second", *("../spool" if one == "spool" else one for one in arguments))
    assert (code, len(lines)) == (1, 1), lines
    assert "is in use by another worker" in lines[0]


async def test_unknown_option_and_help(tmp_path: Path) -> None:
    """An unknown option is wrong usage, exit code 2; the help tells by examples."""
    code, _ = await call(tmp_path, "--no-such-option")
    assert code == 2
    code, lines = await call(tmp_path, "--help")
    assert code == 0
    assert any("Examples:" in line for line in lines)
    assert any("worker-stub --id" in line for line in lines)

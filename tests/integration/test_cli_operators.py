"""What operators do at the command line, against a real broker, `status` on a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from coordinator.settings import Settings
from tests.helpers.processes import kill
from tests.helpers.shell import Shell
from tests.helpers.steps import channel_of, fetch, put_seed, submit
from tests.helpers.support import PREFIX

SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
ON_SCREEN, OFF_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


async def rows(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    """A list as JSON."""
    code, output, errors = await shell.run(*arguments, "--json")
    assert (code, errors) == (0, "")
    found: list[dict[str, Any]] = json.loads(output)
    return found


async def test_a_seed_is_set_bit_by_bit(shell: Shell) -> None:
    """Only what is given changes; `none` takes a policy away, and what is no policy is wrong usage."""
    async with shell.serving():
        for arguments in (
            "--priority high --throttle 500/s --throttle 9/day --route web",
            "--batch-size 50",
            "--route ocr",
            "--throttle none",
        ):
            assert (await shell.run("seed", "set", "a/b=", *arguments.split()))[0] == 0
        (seed,) = await rows(shell, "seeds")
        assert (seed["id"], seed["priority"], seed["batchSize"]) == ("a/b=", "high", 50)
        assert seed["policies"] == [{"type": "route", "routeTo": "ocr"}]
        assert (await shell.run("seed", "set", "a/b=", "--throttle", "5/fortnight"))[0] == 2
        assert await rows(shell, "seeds") == [seed]


async def test_lists_are_filtered_sorted_and_cut(shell: Shell) -> None:
    """Who holds what, of which seed, the fullest seeds first: by options, in tables and in JSON alike."""
    async with shell.serving() as (_, client):
        client.base_url = client.base_url.join(PREFIX + "/")
        await put_seed(client, "web-1", policies=[{"type": "route", "routeTo": "web"}])
        await submit(client, "web-1", 300)
        held = await fetch(client, 2, worker="w1", tags="web")
        await submit(client, "img-1", 50)
        held += await fetch(client, 1, worker="w2")
        assert [row["id"] for row in await rows(shell, "seeds", "--match", "web-*")] == ["web-1"]
        assert [row["id"] for row in await rows(shell, "seeds", "--tag", "web")] == ["web-1"]
        assert await rows(shell, "seeds", "--state", "released") == []
        assert [row["id"] for row in await rows(shell, "seeds", "--sort", "-id", "--limit", "1")] == ["web-1"]
        assert [row["id"] for row in await rows(shell, "workers", "--seed", "img-1")] == ["w2"]
        assert {row["batch"] for row in await rows(shell, "batches", "--worker", "w1")} == {
            one["batch"] for one in held[:2]
        }
        (holding,) = await rows(shell, "batches", "--match", held[2]["batch"][:10])
        assert (holding["worker"], holding["seed"]) == ("w2", "img-1")
        assert (await shell.run("batches", "--sort", "colour"))[0] == 2
        document = json.loads((await shell.run("status", "--json"))[1])
        assert {row["id"] for row in document["workers"]} == {"w1", "w2"}
        code, output, _ = await shell.run("cluster")
        assert (code, "coordinators: 1" in output, "broker: RabbitMQ" in output) == (0, True, True)
        code, output, _ = await shell.run("release", "seed", "--dry-run", "img-1", "nobody")
        assert (code, "img-1: 1 batch (50 items) held over HTTP" in output) == (4, True)
        code, output, _ = await shell.run("release", "worker", "--dry-run", "w1")
        assert (code, "w1: 2 batches (200 items) of 1 seed go to other workers" in output) == (0, True)
        code, output, _ = await shell.run("drain", "worker", "--dry-run", "w1", "nobody")
        assert (code, "w1: 2 batches (200 items) are finished" in output, "nobody: not found" in output) == (
            4,
            True,
            True,
        )
        assert {one["state"] for one in await rows(shell, "seeds")} == {"running"}
        assert len(await rows(shell, "batches")) == 3
        code, output, _ = await shell.run("status", "--once")
        assert code == 0
        assert f"{holding['batch'][:8]} of img-1" in output


async def test_the_doctor_finds_what_is_wrong(shell: Shell, settings: Settings) -> None:
    """All is well at first; where a seed's queue gets no items, there is a fault with its mend, and exit code 1."""
    async with shell.serving():
        await shell.run("submit", "photos", stdin=b'{"id": "1"}\n')
        code, output, errors = await shell.run("doctor")
        assert (code, errors) == (0, "")
        assert "0 faults" in output or "all is well" in output
        async with channel_of(settings) as channel:
            await channel.unbind("seed.photos", "items", "photos")
        code, output, _ = await shell.run("doctor", "--json")
        (fault,) = [finding for finding in json.loads(output) if finding["level"] == "fault"]
        assert (code, fault["check"]) == (1, "bindings")
        assert "seed.photos is not bound to the exchange items" in fault["what"]
        assert fault["mend"]


@contextlib.contextmanager
def terminal(shell: Shell, *arguments: str, columns: int = 100, lines: int = 24) -> Iterator[tuple[Any, int]]:
    """A command on a terminal of its own: the process, and the terminal's other side."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COORDINATOR_")}
    environment |= {"COORDINATOR_HOME": str(shell.home), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "coordinator", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)  # noqa: S603 - ours
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


async def read_until(terminal_side: int, wanted: bytes, seen: bytes = b"") -> bytes:
    """All that was drawn, once this is in it."""
    async with asyncio.timeout(30):
        while wanted not in SEQUENCE.sub(b"", seen) and wanted not in seen:
            try:
                seen += await asyncio.to_thread(os.read, terminal_side, 65536)
            except OSError:  # the other side is closed
                break
    assert wanted in SEQUENCE.sub(b"", seen) or wanted in seen, seen
    return seen


@pytest.mark.parametrize("end", ["q", "signal"])
async def test_status_is_live_and_leaves_the_terminal_as_it_was(shell: Shell, end: str) -> None:
    """It draws on a screen of its own, follows what happens, and ends with 0 by key or signal."""
    async with shell.serving():
        with terminal(shell, "status", "--every", "0.2") as (process, side):
            seen = await read_until(side, b"no seeds")
            assert ON_SCREEN in seen
            await shell.run("submit", "photos", stdin=b'{"id": "1"}\n')
            await read_until(side, b"photos", seen)
            if end == "signal":
                process.send_signal(signal.SIGINT)
            else:
                os.write(side, b"q")
            await read_until(side, OFF_SCREEN)
            assert await asyncio.to_thread(process.wait, 20) == 0


async def test_status_bears_an_outage(shell: Shell) -> None:
    """While no coordinator answers, it keeps what it knew and says so, and it can be ended."""
    async with shell.serving() as (coordinator, _):
        await shell.run("submit", "photos", stdin=b'{"id": "1"}\n')
        with terminal(shell, "status", "--every", "0.2") as (process, side):
            seen = await read_until(side, b"photos")
            await kill(coordinator)
            await read_until(side, b"trying again", seen)
            os.write(side, b"q")
            assert await asyncio.to_thread(process.wait, 20) == 0


async def test_status_ends_in_the_midst_of_a_look(shell: Shell) -> None:
    """A key ends it at once, also while a coordinator takes its time to answer."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()  # until the client has gone
        writer.close()
        gone.set()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with terminal(shell, "status", "--http-url", url) as (process, side):
            async with asyncio.timeout(30):
                await asked.wait()
            os.write(side, b"q")
            assert await asyncio.to_thread(process.wait, 20) == 0
        await asyncio.wait_for(gone.wait(), 20)


@pytest.mark.parametrize(
    "command", ["status", "status --once", "seeds", "batches", "queues", "seed set s --priority low"]
)
async def test_without_a_coordinator_it_is_one_line(shell: Shell, command: str) -> None:
    """Where none answers, a command ends with 1 and one clear line."""
    code, output, errors = await shell.run(*command.split(), "--http-url", "http://127.0.0.1:1")
    assert (code, output) == (1, "")
    assert errors.startswith("error: no coordinator answers at http://127.0.0.1:1")
    assert errors.count("\n") == 1

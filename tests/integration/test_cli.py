"""The command line against a real broker, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.helpers.shell import Shell
from tests.helpers.support import PREFIX


def listed(output: str) -> dict[str, Any]:
    """A list's entries by id."""
    return {row["id"]: row for row in json.loads(output)}


async def test_a_seed_is_run_from_the_command_line(shell: Shell) -> None:
    """Items are submitted, the seed is listed, released, resumed and purged, by commands that need no address."""
    seed = "a/b+c= %é"
    async with shell.serving():
        lines = b"".join(b'{"id": "%d"}\n' % number for number in range(250))
        assert await shell.run("submit", seed, stdin=lines) == (0, "accepted 250 items\n", "")
        code, output, _ = await shell.run("release", "seed", seed)
        assert (code, output.partition(":")[0]) == (0, seed)
        _, output, _ = await shell.run("seeds", "--json")
        assert listed(output)[seed]["state"] == "released"
        _, output, _ = await shell.run("seeds")
        assert seed in output
        assert (await shell.run("resume", "seed", seed))[0] == 0
        code, output, _ = await shell.run("purge", "seed", seed, "--json")
        assert (code, json.loads(output)["results"][0]["purged"]) == (0, 250)
        assert listed((await shell.run("seeds", "--json"))[1]) == {}


async def test_an_unknown_id_is_4(shell: Shell) -> None:
    """A command on ids exits with 4 when one is not known, whatever its kind."""
    async with shell.serving():
        for command in ("release seed", "release worker", "resume seed", "purge seed", "dead retry", "dead drop"):
            code, output, _ = await shell.run(*command.split(), "nobody")
            assert (command, code) == (command, 4)
            assert output.startswith("nobody: ")


async def test_waiting_for_a_seed(shell: Shell) -> None:
    """`wait` ends with 0 when nothing is left, with 1 when its time is up, and tells why; 4 when there is no such seed.

    `tail` tells what happened, to people and to programs.
    """
    async with shell.serving() as (_, api):
        assert (await shell.run("submit", "s", stdin=b'{"id": "a"}'))[0] == 0
        code, output, errors = await shell.run("wait", "s", "--timeout", "5")
        assert (code, output) == (1, "")
        assert "not drained within 5 s: s: 1 items left" in errors
        assert "no worker is there" in errors
        waiting = await shell.start("wait", "s")
        [batch] = (await api.get(f"{PREFIX}/batch", params={"worker": "w1", "wait": 20})).json()["batches"]
        assert (await api.put(f"{PREFIX}/batch/ack/{batch['id']}")).status_code == 200
        async with asyncio.timeout(30):
            output, errors = (part.decode() for part in await waiting.communicate())
        assert (waiting.returncode, output, errors) == (0, "s: drained\n", "")
        assert (await shell.run("wait", "s", "nobody"))[0::2] == (4, "error: seed 'nobody' is not known\n")
        _, output, _ = await shell.run("tail", "--no-follow", "--json", "--batch", batch["batch"])
        told = [json.loads(line) for line in output.splitlines()]
        assert [event["kind"] for event in told] == ["batch.sent", "batch.held", "batch.acked"]
        _, output, _ = await shell.run("tail", "--no-follow", "--worker", "w1", "-n", "1")
        assert output.endswith(f"seed=s worker=w1 batch={batch['batch']} items=1 attempt=1\n")
        following = await shell.start("tail", "--kind", "seed.released", "-n", "0")
        async with asyncio.timeout(30):
            assert following.stdout is not None
            line = asyncio.create_task(following.stdout.readline())
            while not line.done():  # until it follows, it hears nothing
                assert (await api.put(f"{PREFIX}/release/seed/s")).status_code == 200
                await asyncio.wait([line], timeout=0.2)
            assert b"seed.released" in line.result()
        following.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            _, stopped = await following.communicate()
        assert (following.returncode, b"Traceback" in stopped) == (130, False)


async def test_a_broken_line_is_told(shell: Shell) -> None:
    """A broken line ends a submit with its number and what was accepted before it, in one line."""
    async with shell.serving():
        code, output, errors = await shell.run("submit", "s", stdin=b'{"id": "a"}\n\n{"id": "b"}\nnonsense\n')
        assert (code, output) == (1, "")
        assert "line 4" in errors
        assert "2 items before it were accepted" in errors
        assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_is_clean(shell: Shell, number: signal.Signals) -> None:
    """A signal ends the coordinator with 0 within its deadline; a fetch that waits is answered, the file is gone."""
    async with shell.serving() as (process, api):
        fetch = asyncio.create_task(api.get(f"{PREFIX}/batch", params={"wait": 60, "worker": "w1"}))
        async with asyncio.timeout(20):
            while not (await api.get(f"{PREFIX}/worker")).json()["workers"]:
                pass
        process.send_signal(number)
        async with asyncio.timeout(10):
            answer = await fetch
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert b"Traceback" not in errors
        assert not (shell.home / "connection.json").exists()


async def test_an_interrupted_submit_is_130(shell: Shell) -> None:
    """Ctrl-C while standard input has nothing more ends a submit with 130, without a traceback."""
    async with shell.serving():
        process = await shell.start("submit", "s")
        assert process.stdin is not None
        process.stdin.write(b'{"id": "%d"}\n' * 101)
        async with asyncio.timeout(20):
            while "s" not in listed((await shell.run("seeds", "--json"))[1]):
                pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            await process.wait()
            assert process.stderr is not None
            assert b"Traceback" not in await process.stderr.read()
        process.stdin.close()
        assert process.returncode == 130


async def test_tokens_open_a_public_address(shell: Shell) -> None:
    """With tokens a public address needs no `--insecure`; commands on this machine need none, others their own."""
    code, output, _ = await shell.run("token", "create", "ops", "--role", "operator")
    assert code == 0
    async with shell.serving("--http-host", "0.0.0.0") as (_, api):  # noqa: S104 - what is tried
        assert (await shell.run("seeds", "--json"))[:2] == (0, "[]\n")
        assert (await api.get(f"{PREFIX}/seed")).status_code == 401
        operator = {"Authorization": f"Bearer {output.strip()}"}
        assert (await api.get(f"{PREFIX}/seed", headers=operator)).status_code == 200
        assert (await shell.run("token", "revoke", "ops"))[0] == 0
        assert (await api.get(f"{PREFIX}/seed", headers=operator)).status_code == 401
        url = str(api.base_url)
        code, _, errors = await shell.run("seeds", "--http-url", url)
        assert (code, errors) == (1, "error: this needs a token: Authorization: Bearer … (401)\n")

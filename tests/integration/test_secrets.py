"""Passwords and tokens appear nowhere but where they are asked for: not in logs, errors, or lists of processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from coordinator.broker.connection import Connection
from coordinator.errors import BrokerUnavailableError
from coordinator.settings import Settings
from tests.helpers.shell import Shell
from tests.helpers.steps import until
from tests.helpers.support import PREFIX

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads the list of processes in /proc")


def command_lines() -> str:
    """The arguments and titles of all processes, as anybody on this machine may read them."""
    texts = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "comm"):
            with contextlib.suppress(OSError):
                texts.append((folder / name).read_bytes().decode(errors="replace"))
    return "\n".join(texts)


def password_of(url: str) -> str:
    """The password in a URL."""
    password = urlsplit(url).password
    assert password is not None
    return password


async def test_no_secret_is_shown(tmp_path: Path, settings: Settings) -> None:
    """While workers register, come, fail and are released, no password and no token is in any log or list."""
    shell = Shell(tmp_path, settings)
    _, output, _ = await shell.run("token", "create", "workers", "--role", "worker", "--role", "manager")
    token = output.strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with shell.serving("--log-level", "debug") as (_, api):
        local = json.loads((tmp_path / "connection.json").read_text())["token"]
        answers = [await api.put(f"{PREFIX}/worker/w", headers=headers, json={}) for _ in range(2)]
        urls = [answer.json()["amqpUrl"] for answer in answers]
        with pytest.raises(BrokerUnavailableError) as refused:
            await Connection.open(urls[:1], "worker:w")
        stub = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker_stub", "--id", "stub", "--handler", "null", "--log-level", "debug"),
            env={**os.environ, "COORDINATOR_HTTP_URL": str(api.base_url), "COORDINATOR_TOKEN": token},
            stderr=PIPE,
        )
        found: list[httpx.Response] = []

        async def look() -> None:
            administrator = {"Authorization": f"Bearer {local}"}
            found.append(await api.get(f"{PREFIX}/worker/stub", headers=administrator))

        await until(look, lambda: found[-1].status_code == 200 and found[-1].json()["connected"], "the worker")
        listed = command_lines()
        assert "worker_stub" in listed
        for name in ("w", "stub"):
            assert (await api.put(f"{PREFIX}/release/worker/{name}", headers=headers)).status_code == 200
        wrong = await api.get(f"{PREFIX}/seed", headers={"Authorization": f"Bearer {token}x"})
        assert wrong.status_code == 401
        stub.terminate()
        _, told = await stub.communicate()
    secrets = {token, local, password_of(settings.amqp_urls()[0]), *map(password_of, urls)}
    assert len(secrets) == 5
    texts = {
        "processes": listed,
        "coordinator": shell.errors,
        "worker": told.decode(),
        "error": f"{refused.value!r} {refused.value.__cause__!r}",
        "answer": wrong.text,
    }
    assert "worker.registered" in shell.errors
    assert "worker.connected" in texts["worker"]
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where

"""Runs the command line as processes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

import coordinator
from coordinator.settings import Settings
from tests.helpers.processes import kill
from tests.helpers.support import client_of, eventually


class Shell:
    """Runs commands with a home folder of their own; `serve` is told of the broker, and the others find it."""

    def __init__(self, home: Path, settings: Settings) -> None:
        self.home = home
        self.errors = ""
        """What `serve` wrote, once it has ended."""
        self._broker = {
            "COORDINATOR_AMQP_URL": settings.amqp_urls()[0],
            "COORDINATOR_MANAGEMENT_URL": settings.management(),
            "COORDINATOR_ACK_TIMEOUT": str(settings.ack_timeout),
        }

    async def start(self, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        """Start a command."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("COORDINATOR_")}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "coordinator",
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=Path(coordinator.__file__).parents[1],
            env={**outside, "COORDINATOR_HOME": str(self.home), **(environment or {})},
        )

    async def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int | None, str, str]:
        """Run a command to its end; returns its code, output and errors."""
        process = await self.start(*arguments)
        async with asyncio.timeout(40):
            output, errors = await process.communicate(stdin)
        return process.returncode, output.decode(), errors.decode()

    @contextlib.asynccontextmanager
    async def serving(self, *options: str) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
        """A coordinator that is ready."""
        process = await self.start("serve", "--http-port", "0", *options, environment=self._broker)
        file = self.home / "connection.json"
        try:
            await eventually(lambda: file.exists() or process.returncode is not None, "the connection file")
            url = json.loads(file.read_text())["http_url"]
            async with client_of(url) as api:
                async with asyncio.timeout(20):
                    while (await api.get("/health/ready")).status_code != 200:
                        pass
                yield process, api
        finally:
            await kill(process)
            _, errors = await process.communicate()
            self.errors += errors.decode()

"""A worker's own HTTP server, which callbacks are sent to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.helpers.support import eventually


class Listener:
    """A worker's own HTTP server: answers as it is told, 200 in the end, and remembers what came."""

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.hosts: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self._statuses = list(statuses)

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0, certificates: Path | None = None) -> AsyncIterator[str]:
        """Listen on loopback, over TLS with what is in a folder; gives the base URL."""
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "PUT", "POST"])])
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            lifespan="off",
            ssl_certfile=certificates and certificates / "server.pem",
            ssl_keyfile=certificates and certificates / "server.key",
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        await eventually(lambda: server.started, "the worker's server")
        try:
            yield f"{'https' if certificates else 'http'}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            self.hold.set()
            server.should_exit = True
            server.force_exit = True
            await task

    async def _answer(self, request: Request) -> Response:
        self.calls.append((request.method, request.url.path, await request.json()))
        self.hosts.append(request.headers["host"])
        status = self._statuses.pop(0) if self._statuses else 200
        await self.hold.wait()
        return Response(status_code=status, headers={"Location": "/elsewhere"} if status < 400 else {})

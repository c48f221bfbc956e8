"""Ends the requests that would keep the server from stopping: fetches that wait, and streams."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.http.responses import RETRY_AFTER, Json


class Requests:
    """Wraps an application, and ends its open requests: with 503, or in the middle if the response has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way: set[asyncio.Task[object]] = set()

    def end(self) -> None:
        """End all open requests."""
        for task in self._under_way:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        self._under_way.add(task)
        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:  # must not go further: the server would log it as a crash of the application
            if has_begun:
                await send({"type": "http.response.body"})
            else:
                stopping = Json({"message": "this coordinator is stopping"}, 503, {"Retry-After": RETRY_AFTER})
                await stopping(scope, receive, send)
        finally:
            self._under_way.discard(task)

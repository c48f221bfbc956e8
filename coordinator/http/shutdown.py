"""The end of requests that would outlast the server: fetches that wait, streams."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.http.responses import RETRY_AFTER, Json


class Requests:
    """Wraps an application, so that its requests under way can be ended: with 503, or where they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way: set[asyncio.Task[object]] = set()

    def end(self) -> None:
        """End all requests under way."""
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
        except asyncio.CancelledError:  # goes no further: the server takes it for a crash of the application
            if has_begun:
                await send({"type": "http.response.body"})
            else:
                stopping = Json({"message": "this coordinator is stopping"}, 503, {"Retry-After": RETRY_AFTER})
                await stopping(scope, receive, send)
        finally:
            self._under_way.discard(task)

"""The dashboard's own routes: the stream of what it watches, a summary of everything, and who it speaks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Scope

from coordinator import topology
from coordinator.errors import InvalidInputError
from coordinator.http.auth import caller_of
from coordinator.http.dashboard.polling import Seen, View, Watches
from coordinator.http.requests import session_of
from coordinator.http.responses import HANDLERS, Json
from coordinator.node.coordinator import Coordinator
from coordinator.tokens import Caller, Tokens

MOST_READS: Final = 12
"""Reads that one page may watch."""
LONGEST_READ: Final = 4000
"""Characters of one of them."""
BEAT: Final = 10.0
"""Seconds after which a stream without news says that it lives, and finds out whether anybody listens."""
GATHER: Final = 0.05
"""Seconds in which changes that come together become one frame."""
READER: Final = Caller("dashboard", frozenset({"operator"}))
"""Who reads for the dashboards: the role alone refuses every GET that acts."""


def make_watches(routes: ASGIApp, app: Starlette, most: int) -> Watches:
    """The reads that an application's dashboards watch, answered by these routes of it."""
    inner = ExceptionMiddleware(routes, handlers=HANDLERS)

    async def read(path: str) -> Seen:
        node: Coordinator = app.state.node
        if not node.is_ready:  # asked once a second, it would fill the log with the answers
            return Seen(503, orjson.dumps({"message": f"not connected to the broker: {node.problem}"}))
        return await _call(inner, app, path)

    return Watches(read, most)


async def _call(routes: ASGIApp, app: Starlette, path: str) -> Seen:
    """What a GET of this path answers, as if an operator had sent it."""
    place, _, query = path.partition("?")
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "root_path": "",
        "path": place,
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "headers": [],
        "client": None,
        "server": None,
        "app": app,
        "state": {"caller": READER},
    }
    status, parts = 500, []

    async def receive() -> Message:
        await asyncio.Event().wait()  # the caller does not go away: it is cancelled
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await routes(scope, receive, send)
    return Seen(status, b"".join(parts))


async def live(request: Request) -> Response:
    """Server-sent events: each says what has changed among the reads that the query names by `get`.

    The first one holds all of them. An event is `{"at": Unix time, "parts": {place: {"status", "body"}}}`.
    """
    paths = request.query_params.getlist("get")
    if not 1 <= len(paths) <= MOST_READS:
        raise InvalidInputError([("get", f"must be given 1 to {MOST_READS} times, not {len(paths)}")])
    for path in paths:
        if not path.startswith("/") or not path.isascii() or len(path) > LONGEST_READ:
            raise InvalidInputError([("get", f"must be a path of at most {LONGEST_READ} ASCII characters")])
    watches: Watches = request.app.state.watches
    watches.check(paths)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(watches, paths), media_type="text/event-stream", headers=headers)


async def _events(watches: Watches, paths: list[str]) -> AsyncIterator[bytes]:
    with watches.watch(paths) as view:
        yield b"retry: 1000\n\n"
        while True:
            yield await _event(view)


async def _event(view: View) -> bytes:
    changes = await view.changes(BEAT)
    if not changes:
        return b": nothing new\n\n"
    await asyncio.sleep(GATHER)
    return frame(time.time(), changes | await view.changes(0))


def frame(at: float, changes: Mapping[int, Seen]) -> bytes:
    """One event of the stream; bodies are JSON on one line already, and are passed on as they are."""
    parts = b",".join(
        b'"%d":{"status":%d,"body":%b}' % (place, seen.status, seen.body) for place, seen in changes.items()
    )
    return b'data: {"at":%.3f,"parts":{%b}}\n\n' % (at, parts)


async def who(request: Request) -> Response:
    """Who calls, so that the page offers only what will be let through."""
    caller = caller_of(request)
    tokens: Tokens = request.app.state.tokens
    return Json({"name": caller.name, "roles": sorted(caller.roles), "asksForTokens": tokens.are_required})


async def summary(request: Request) -> Response:
    """Everything in a few figures, none of which is dear to get."""
    session = session_of(request)
    states = [seed.state for seed in session.registry.state.seeds.values()]
    depth = await session.writer.depth(topology.DEAD)
    present = session.heartbeats.present()
    leased = {lease.worker for lease in session.leases.held()}
    return Json(
        {
            "instance": session.instance,
            "version": version("batch-coordinator"),
            "seeds": {"running": states.count("running"), "released": states.count("released")},
            "workers": {
                "known": len(session.workers.known()),
                "live": len({heard.presence.worker for heard in present} | leased),
            },
            "held": len(await session.held_batches.held()),
            "dead": depth.ready if depth else 0,
            "blocked": await session.writer.is_blocked(),
        }
    )

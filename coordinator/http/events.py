"""Routes of events: past ones as a list, new ones as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from coordinator.domain.event_ring import Key, Wanted
from coordinator.http.limits import limits_of
from coordinator.http.requests import count_of, session_of, settings_of
from coordinator.http.responses import Json
from coordinator.http.serializers import PAGE
from coordinator.node.events import Events

COMMENT_EVERY: Final = 15.0
CAUGHT_UP: Final = 1000
"""Missed events that a client gets at most when it reconnects."""


async def events(request: Request) -> Response:
    """List past events, the newest last."""
    most = settings_of(request).max_list
    limit = count_of(request, "limit", min(PAGE, most), 1, most)
    after = request.query_params.get("after")
    wanted = _wanted(request)
    found, total = await session_of(request).events.read(wanted, Key.parse(after) if after else None, limit)
    return Json({"events": found, "count": {"totalItems": total}})


async def stream(request: Request) -> Response:
    """Stream events as they happen, after those since the last one that the client got."""
    last = request.headers.get("last-event-id")
    after = Key.parse(last) if last else None
    wanted, known = _wanted(request), session_of(request).events
    limits_of(request).polls.check(1)
    return StreamingResponse(
        _stream(request, known, wanted, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(request: Request, events: Events, wanted: Wanted, after: Key | None) -> AsyncIterator[bytes]:
    with limits_of(request).polls.share() as share, events.following(wanted) as follower:
        share.take(1)
        await follower.begun.wait()
        yield b": events as they happen\n\n"
        sent: set[str] = set()
        if after is not None:
            for missed in (await events.read(wanted, after, CAUGHT_UP))[0]:
                sent.add(missed["id"])
                yield _event(missed)
        while True:
            try:
                async with asyncio.timeout(COMMENT_EVERY):
                    new = await follower.news.get()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if new is None:
                return
            if follower.left_out:
                yield b": %d events left out\n\n" % follower.left_out
                follower.left_out = 0
            if new["id"] not in sent:
                yield _event(new)


def _event(event: dict[str, Any]) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (event["id"].encode(), orjson.dumps(event))


def _wanted(request: Request) -> Wanted:
    return Wanted.of(*(request.query_params.get(name) for name in ("seed", "worker", "batch", "kind")))

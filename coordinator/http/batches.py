"""Routes of batches: fetch, ack, give back, results, and the list of held batches."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from coordinator import topology
from coordinator.broker.types import Message
from coordinator.domain.list_query import HELD_SORTS, both_ways, ordered
from coordinator.errors import NotFoundError
from coordinator.http.auth import caller_of, check_worker
from coordinator.http.limits import limits_of
from coordinator.http.requests import (
    acting_session,
    choice_of,
    count_of,
    ids_of,
    model_of,
    number_of,
    session_of,
    settings_of,
    unless,
    watched,
)
from coordinator.http.responses import Json
from coordinator.http.serializers import held_batches, page_of
from coordinator.models import BatchResults
from coordinator.node.wiring import Session
from coordinator.validation import check_tags, check_worker_id

MAX_WAIT = 60.0
MOST_PATIENCE = 1.0
"""Seconds that a draining worker waits for its empty answer, so that it learns soon that it drains."""


async def fetch(request: Request) -> Response:
    """Fetch batches, and wait for the first if the caller wants to."""
    session = session_of(request)
    tags = check_tags(request.query_params.getlist("tags"))
    settings = settings_of(request)
    most = count_of(request, "batches", 1, 1, settings.max_batches)
    wait = number_of(request, "wait", 0.0, 0.0, MAX_WAIT)
    worker = check_worker_id(request.query_params.get("worker") or _default_worker(request), "worker")
    check_worker(caller_of(request), worker)
    if settings.require_registration and not session.workers.is_known(worker):
        raise NotFoundError("worker", worker)
    await session.heartbeats.record(worker, tuple(sorted(tags)), "http")
    async with watched(request) as gone:
        with limits_of(request).polls.share() as share:
            if wait:
                share.take(1)
            leases = await unless(gone, session.leases.fetch(worker, tags, most, wait)) or []
        await asyncio.sleep(0)  # lets a client that went away at this moment be noticed
        if leases and gone.done():  # the client could not ack them
            await session.leases.give_back([lease.handle for lease in leases])
        leases = [lease for lease in leases if session.leases.is_held(lease)]  # a release may have come in between
        batches = [lease.batch.encode(handle=lease.handle, redelivered=lease.redelivered) for lease in leases]
        draining = b""
        if not leases and session.registry.state.is_draining(worker):
            draining = b',"draining":true'
            await unless(gone, asyncio.sleep(min(wait, MOST_PATIENCE)))
    body = b'{"batches":[%b]%b}' % (b",".join(batches), draining)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


async def ack(request: Request) -> Response:
    """Ack batches. This works even while the broker has an alarm."""
    session = session_of(request)
    ids = await ids_of(request)
    return _settled(ids, await session.leases.ack(ids, caller_of(request).worker), "acked")


async def give_back(request: Request) -> Response:
    """Give batches back, without counting a failure."""
    session = await acting_session(request)
    ids = await ids_of(request)
    return _settled(ids, await session.leases.give_back(ids, caller_of(request).worker), "given back")


async def results(request: Request) -> Response:
    """Publish the results of a batch; the response follows the broker's confirm."""
    session = await acting_session(request)
    made, body = await model_of(request, BatchResults)
    check_worker(caller_of(request), made.worker)
    await session.publishing.publish(topology.RESULTS, made.seed, Message(body))
    return Json({"message": "accepted", "accepted": len(made.results)}, 202)


async def held(request: Request) -> Response:
    """List the held batches with their workers."""
    session: Session = session_of(request)
    sort = choice_of(request, "sort", both_ways(HELD_SORTS)) or "since"
    wanted = {name: one for name in ("worker", "seed", "batch") if (one := request.query_params.get(name))}
    found = [one for one in await held_batches(session) if all(one[name] == is_ for name, is_ in wanted.items())]
    return Json(page_of(request, "batches", ordered(found, sort)))


def _default_worker(request: Request) -> str:
    """Return the worker of a fetch that names none: the one that the token is bound to, else the client's address."""
    address = request.client.host if request.client else "unknown"
    return caller_of(request).worker or address


def _settled(ids: list[str], found: list[bool], done: str) -> Response:
    outcomes = [
        {"id": ident, "status": 200, "message": done}
        if ok
        else {"id": ident, "status": 404, "message": "not held: acked, released or taken back, or never given"}
        for ident, ok in zip(ids, found, strict=True)
    ]
    missing = found.count(False)
    message = f"{len(ids) - missing} {done}" + (f", {missing} not held" if missing else "")
    return Json({"message": message, "results": outcomes}, 404 if missing else 200)

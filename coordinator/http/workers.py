"""Routes of workers and of dead letters."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from coordinator.domain.list_query import WORKER_SORTS, both_ways, named, ordered
from coordinator.http.auth import caller_of, check_worker
from coordinator.http.requests import acting_session, choice_of, id_of, model_of, session_of
from coordinator.http.responses import Json
from coordinator.http.serializers import dead_view, dead_views, page_bounds, page_of, worker_view
from coordinator.models import WorkerSpec
from coordinator.validation import check_worker_id

READ_ONLY = frozenset({"id", "registered", "connected", "capacity", "lastSeen", "held", "state", "message", "amqpUrl"})


async def read(request: Request) -> Response:
    """Read a worker."""
    return Json(worker_view(await session_of(request).workers.get(check_worker_id(id_of(request)))))


async def register(request: Request) -> Response:
    """Register a worker. Only this response holds its AMQP URL."""
    ident = check_worker_id(id_of(request))
    check_worker(caller_of(request), ident)
    spec, _ = await model_of(request, WorkerSpec, ignored=READ_ONLY)
    session = await acting_session(request)
    url = await session.workers.register(ident, spec, request.client.host if request.client else None)
    return Json({**worker_view(await session.workers.get(ident)), "amqpUrl": url})


async def remove(request: Request) -> Response:
    """Forget a worker."""
    ident = check_worker_id(id_of(request))
    session = await acting_session(request)
    await session.workers.remove(ident)
    return Json({"message": f"worker {ident} is removed"})


async def all_workers(request: Request) -> Response:
    """List workers."""
    workers = session_of(request).workers
    sort = choice_of(request, "sort", both_ways(WORKER_SORTS)) or "id"
    part = request.query_params.get("q", "")
    views = await workers.views(one for one in workers.known() if named(one.id, part))
    return Json(page_of(request, "workers", ordered([worker_view(view) for view in views], sort)))


async def all_dead(request: Request) -> Response:
    """List dead letters."""
    offset, limit = page_bounds(request)
    return Json(await dead_views(session_of(request), offset, limit))


async def read_dead(request: Request) -> Response:
    """Read a dead letter with its body."""
    return Json(await dead_view(session_of(request), id_of(request)))


async def retry_dead(request: Request) -> Response:
    """Send a dead batch again with attempt 1."""
    session = await acting_session(request)
    await session.dead_letters.retry(id_of(request))
    return Json({"message": "sent again"})


async def drop_dead(request: Request) -> Response:
    """Discard a dead letter."""
    session = await acting_session(request)
    await session.dead_letters.drop(id_of(request))
    return Json({"message": "dropped"})

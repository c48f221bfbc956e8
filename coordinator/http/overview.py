"""Routes of work queues, coordinators and the broker."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from coordinator.http.requests import session_of
from coordinator.http.responses import Json
from coordinator.http.serializers import broker_view, page_of, queue_view


async def queues(request: Request) -> Response:
    """List the work queues."""
    found = await session_of(request).overview.queues()
    return Json(page_of(request, "queues", [queue_view(queue) for queue in found]))


async def coordinators(request: Request) -> Response:
    """List the coordinators."""
    return Json(page_of(request, "coordinators", session_of(request).overview.coordinators()))


async def broker(request: Request) -> Response:
    """Return the broker's version, nodes and alarms."""
    return Json(broker_view(await session_of(request).overview.broker()))

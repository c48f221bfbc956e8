"""Routes of health and metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import BrokerUnavailableError
from coordinator.http.metrics import exposition
from coordinator.http.requests import acting_session
from coordinator.http.responses import RETRY_AFTER, Json
from coordinator.node.coordinator import Coordinator


async def live(_: Request) -> Response:
    """Answer that the process runs."""
    return Json({"message": "alive"})


async def ready(request: Request) -> Response:
    """Answer whether it can work: connected, the registry is read, and the broker accepts messages."""
    try:
        session = await acting_session(request)
    except BrokerUnavailableError as error:
        return Json({"message": str(error)}, 503, {"Retry-After": RETRY_AFTER})
    return Json({"message": "ready", "instance": session.instance, "seeds": len(session.registry.state.seeds)})


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    node: Coordinator = request.app.state.node
    return Response(await exposition(node), headers={"Content-Type": CONTENT_TYPE_LATEST})

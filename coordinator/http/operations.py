"""Routes beside the API: health, metrics, and a page to begin with."""

from __future__ import annotations

from html import escape

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from coordinator.errors import BrokerUnavailableError
from coordinator.http.answers import RETRY_AFTER, Json
from coordinator.http.metrics import exposition
from coordinator.http.requests import acting_session
from coordinator.node.node import Node


async def live(_: Request) -> Response:
    """The process runs."""
    return Json({"message": "alive"})


async def ready(request: Request) -> Response:
    """It can do its work: connected, caught up, and the broker takes messages."""
    try:
        session = await acting_session(request)
    except BrokerUnavailableError as error:
        return Json({"message": str(error)}, 503, {"Retry-After": RETRY_AFTER})
    return Json({"message": "ready", "instance": session.instance, "seeds": len(session.registry.state.seeds)})


async def metrics(request: Request) -> Response:
    """Figures for Prometheus, as of now."""
    node: Node = request.app.state.node
    return Response(await exposition(node), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def home(request: Request) -> Response:
    """A page to begin with."""
    node: Node = request.app.state.node
    if node.is_ready:
        state = node.session.registry.state
        text = f"Ready, with {len(state.seeds)} seeds and {len(node.session.workers.known())} known workers."
    else:
        text = f"Not connected to the broker: {node.problem}"
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Batch coordinator</title>'
        f"<h1>Batch coordinator</h1><p>{escape(text)}</p>"
        '<ul><li><a href="/docs">API</a><li><a href="/health/ready">health</a>'
        '<li><a href="/metrics">metrics</a></ul></html>'
    )

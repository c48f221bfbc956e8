"""Routes beside the API: health, metrics, and a page to begin with."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import BrokerUnavailableError
from coordinator.http.answers import RETRY_AFTER, Json
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
    registry = CollectorRegistry()
    Gauge("coordinator_ready", "1 while connected to the broker", registry=registry).set(node.is_ready)
    if node.is_ready:
        _fill(registry, node)
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _fill(registry: CollectorRegistry, node: Node) -> None:
    session = node.session
    seeds = Gauge("coordinator_seeds", "Known seeds", ["state"], registry=registry)
    states = [seed.state for seed in session.seeds.all()]
    for state in ("running", "released"):
        seeds.labels(state).set(states.count(state))
    counts = session.work.ledger.counts().values()
    items = Gauge("coordinator_items", "Items in batches that this coordinator published", ["place"], registry=registry)
    items.labels("queued").set(sum(queued for queued, _ in counts))
    items.labels("sent").set(sum(sent for _, sent in counts))
    Gauge("coordinator_workers", "Known workers", registry=registry).set(len(session.workers.known()))
    Gauge("coordinator_leases", "Batches held for HTTP workers", registry=registry).set(len(session.leases.held()))

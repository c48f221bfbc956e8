"""The shim's application: the route table, under both prefixes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from coordinator.http import batches, operations, seeds, workers
from coordinator.http.answers import HANDLERS, Json
from coordinator.http.openapi import Endpoint, describe, page
from coordinator.http.requests import RawPaths
from coordinator.node.commands import RELEASE_SEED, RELEASE_WORKER, RESUME_SEED
from coordinator.node.node import Node

PREFIXES = ("/aspire_api/manager", "/aspire/_api/manager")

OK = {200: "done"}
INVALID = {406: "the input does not validate"}
UNKNOWN = {404: "an id is not known"}
AWAY = {503: "the broker is away or blocked: nothing was done"}
LARGE = {413: "over a limit"}
ALL_IDS = OK | UNKNOWN | INVALID | LARGE | AWAY
READ = OK | INVALID | AWAY
BOUNDS = {"offset": "how many to leave out", "limit": "how many at most"}
FETCH = {
    "tags": "the worker's tags; repeats, or separated by commas",
    "batches": "how many at most, 1 to 1000",
    "worker": "the caller's id; its address by default",
    "wait": "seconds to wait for the first, 0 to 60",
}
BY_ID, BY_BODY = ("GET", "PUT", "POST"), ("PUT", "POST")

release_worker, release_seed = seeds.command(RELEASE_WORKER), seeds.command(RELEASE_SEED)
resume_seed = seeds.command(RESUME_SEED)

ENDPOINTS = [
    Endpoint("/batch", ("GET",), batches.fetch, "fetch batches", OK | UNKNOWN | INVALID | AWAY, query=FETCH),
    Endpoint("/batch/held", ("GET",), batches.held, "who holds what", READ, query=BOUNDS),
    Endpoint("/batch/ack/{id:ident}", BY_ID, batches.ack, "ack a batch by its handle", ALL_IDS),
    Endpoint("/batch/ack", BY_BODY, batches.ack, "ack batches by handle", ALL_IDS, body="Ids"),
    Endpoint("/batch/return", ("POST",), batches.give_back, "give batches back without fault", ALL_IDS, body="Ids"),
    Endpoint("/results", ("POST",), batches.results, "what became of a batch", {202: "accepted"} | INVALID | AWAY | LARGE, body="BatchResults"),
    Endpoint("/release/worker/{id:ident}", BY_ID, release_worker, "release a worker", ALL_IDS),
    Endpoint("/release/worker", BY_BODY, release_worker, "release workers", ALL_IDS, body="Ids"),
    Endpoint("/release/seed/{id:ident}", BY_ID, release_seed, "release a seed", ALL_IDS),
    Endpoint("/release/seed", BY_BODY, release_seed, "release seeds", ALL_IDS, body="Ids"),
    Endpoint("/resume/seed/{id:ident}", BY_BODY, resume_seed, "let a released seed run again", ALL_IDS),
    Endpoint("/resume/seed", BY_BODY, resume_seed, "let released seeds run again", ALL_IDS, body="Ids"),
    Endpoint("/seed/{id:ident}/items", ("POST",), seeds.add_items, "add items: a JSON array, or one item a line", {202: "accepted"} | INVALID | LARGE | AWAY, body="Items"),
    Endpoint("/seed/{id:seed}", ("GET",), seeds.read, "read a seed", READ | UNKNOWN),
    Endpoint("/seed/{id:seed}", ("PUT",), seeds.put, "create a seed or replace its policies", READ | LARGE, body="SeedSpec"),
    Endpoint("/seed/{id:seed}", ("DELETE",), seeds.purge, "purge a seed", READ | UNKNOWN),
    Endpoint("/seed", ("GET",), seeds.all_seeds, "list seeds", READ, query=BOUNDS),
    Endpoint("/worker/{id:ident}", ("GET",), workers.read, "read a worker", READ | UNKNOWN),
    Endpoint("/worker/{id:ident}", ("PUT",), workers.register, "register a worker", READ | LARGE, body="WorkerSpec"),
    Endpoint("/worker/{id:ident}", ("DELETE",), workers.remove, "remove a worker", READ | UNKNOWN),
    Endpoint("/worker", ("GET",), workers.all_workers, "list workers", READ, query=BOUNDS),
    Endpoint("/dead/{id:ident}/retry", ("POST",), workers.retry_dead, "send a dead batch again", OK | UNKNOWN | AWAY),
    Endpoint("/dead/{id:dead}", ("DELETE",), workers.drop_dead, "drop a dead letter", OK | UNKNOWN | AWAY),
    Endpoint("/dead", ("GET",), workers.all_dead, "list dead letters", READ, query=BOUNDS),
]  # fmt: skip


def create_app(node: Node) -> Starlette:
    """The application that serves a node; it answers 503 while the node has no session."""
    app = Starlette(
        routes=[
            *(Mount(prefix, app=Router(_routes(), redirect_slashes=False)) for prefix in PREFIXES),
            Route("/health/live", operations.live),
            Route("/health/ready", operations.ready),
            Route("/metrics", operations.metrics),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
            Route("/", operations.home),
        ],
        middleware=[Middleware(RawPaths)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # an unknown route is 404 in JSON, not a way to another
    app.state.node = node
    return app


def _routes() -> list[BaseRoute]:
    """One route for a path, whatever its methods: a second one would answer 404 to the methods of the first."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {}).update(dict.fromkeys(endpoint.methods, endpoint))
    return [_route(path, methods) for path, methods in paths.items()]


def _route(path: str, methods: dict[str, Endpoint]) -> Route:
    async def serve(request: Request) -> Response:
        return await methods[request.method].handler(request)

    route = Route(path, serve, methods=list(methods))
    # The framework lets HEAD in wherever GET is; here a GET may fetch, ack or release.
    route.methods = set(methods)
    return route


async def _openapi(_: Request) -> Response:
    return Json(describe(ENDPOINTS, PREFIXES))


async def _docs(_: Request) -> Response:
    return HTMLResponse(page(ENDPOINTS, PREFIXES))

"""The shim's application: the route table, under both prefixes."""

from __future__ import annotations

from functools import cache

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from coordinator import answers
from coordinator.http import batches, operations, seeds, workers
from coordinator.http.answers import HANDLERS, Json
from coordinator.http.docs import page
from coordinator.http.openapi import CALLER, TAGS, Endpoint, Link, Parameter, Schema, describe
from coordinator.http.requests import RawPaths
from coordinator.http.views import FAR, LARGEST_PAGE, PAGE
from coordinator.node.commands import RELEASE_SEED, RELEASE_WORKER, RESUME_SEED
from coordinator.node.node import Node

PREFIXES = ("/aspire_api/manager", "/aspire/_api/manager")

OK = {200: "done"}
INVALID = {406: "the input does not validate"}
UNKNOWN = {404: "an id is not known"}
AWAY = {503: "the broker is away or blocked: nothing was done"}
LARGE = {413: "over a limit"}
ONE_ID = OK | UNKNOWN | INVALID | AWAY
ALL_IDS = ONE_ID | LARGE
READ = OK | INVALID | AWAY
DONE = {202: "confirmed by the broker"} | INVALID | LARGE | AWAY
BOUNDS = {
    "offset": Parameter("how many to leave out", {"type": "integer", "minimum": 0, "maximum": FAR, "default": 0}),
    "limit": Parameter("how many at most", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE}),
}
FETCH = {
    "tags": Parameter("what the worker can do; repeats, or stands between commas", TAGS),
    "batches": Parameter(
        "how many at most", {"type": "integer", "minimum": 1, "maximum": batches.MAX_BATCHES, "default": 1}
    ),
    "worker": Parameter("the caller's id; its address where there is none", CALLER),
    "wait": Parameter(
        "seconds to wait for the first", {"type": "number", "minimum": 0, "maximum": batches.MAX_WAIT, "default": 0}
    ),
}
BY_ID, BY_BODY = ("GET", "PUT", "POST"), ("PUT", "POST")

FETCHED = {
    "ack": Link("PUT", "/batch/ack/{id}", "$response.body#/batches/0/id"),
    "giveBack": Link("POST", "/batch/return", "$response.body#/batches/0/id"),
}
SEED = {
    "read": Link("GET", "/seed/{id}", "$request.path.id"),
    "addItems": Link("POST", "/seed/{id}/items", "$request.path.id"),
    "release": Link("PUT", "/release/seed/{id}", "$request.path.id"),
    "purge": Link("DELETE", "/seed/{id}", "$request.path.id"),
}
RELEASED = {"resume": Link("PUT", "/resume/seed/{id}", "$request.path.id")}
WORKER = {
    "read": Link("GET", "/worker/{id}", "$request.path.id"),
    "release": Link("PUT", "/release/worker/{id}", "$request.path.id"),
    "remove": Link("DELETE", "/worker/{id}", "$request.path.id"),
}
DEAD = {
    "retry": Link("POST", "/dead/{id}/retry", "$response.body#/dead/0/id"),
    "drop": Link("DELETE", "/dead/{id}", "$response.body#/dead/0/id"),
}

release_worker, release_seed = seeds.command(RELEASE_WORKER), seeds.command(RELEASE_SEED)
resume_seed = seeds.command(RESUME_SEED)

ENDPOINTS = [
    Endpoint("/batch", ("GET",), batches.fetch, "fetch batches", ONE_ID, answers.Fetched, query=FETCH, links=FETCHED),
    Endpoint("/batch/held", ("GET",), batches.held, "who holds what", READ, answers.HoldingList, query=BOUNDS),
    Endpoint("/batch/ack/{id:ident}", BY_ID, batches.ack, "ack a batch by its handle", ONE_ID, answers.Settled),
    Endpoint("/batch/ack", BY_BODY, batches.ack, "ack batches by handle", ALL_IDS, answers.Settled, body="Handles"),
    Endpoint("/batch/return", ("POST",), batches.give_back, "give batches back without fault", ALL_IDS, answers.Settled, body="Handles"),
    Endpoint("/results", ("POST",), batches.results, "tell what became of a batch", DONE, answers.Accepted, body="BatchResults"),
    Endpoint("/release/worker/{id:ident}", BY_ID, release_worker, "release a worker", ONE_ID, answers.WorkersReleased),
    Endpoint("/release/worker", BY_BODY, release_worker, "release workers", ALL_IDS, answers.WorkersReleased, body="WorkerIds"),
    Endpoint("/release/seed/{id:ident}", BY_ID, release_seed, "release a seed", ONE_ID, answers.SeedsReleased, links=RELEASED),
    Endpoint("/release/seed", BY_BODY, release_seed, "release seeds", ALL_IDS, answers.SeedsReleased, body="SeedIds"),
    Endpoint("/resume/seed/{id:ident}", BY_BODY, resume_seed, "let a released seed run again", ONE_ID, answers.Resumed),
    Endpoint("/resume/seed", BY_BODY, resume_seed, "let released seeds run again", ALL_IDS, answers.Resumed, body="SeedIds"),
    Endpoint("/seed/{id:ident}/items", ("POST",), seeds.add_items, "add items: a JSON array, or one item a line", DONE, answers.Accepted, body="Items", links=SEED),
    Endpoint("/seed/{id:seed}", ("GET",), seeds.read, "read a seed", ONE_ID, answers.SeedAnswer),
    Endpoint("/seed/{id:seed}", ("PUT",), seeds.put, "create a seed or replace its policies", READ | LARGE, answers.SeedAnswer, body="SeedSpec", links=SEED),
    Endpoint("/seed/{id:seed}", ("DELETE",), seeds.purge, "purge a seed", ONE_ID, answers.SeedsPurged),
    Endpoint("/seed", ("GET",), seeds.all_seeds, "list seeds", READ, answers.SeedList, query=BOUNDS),
    Endpoint("/worker/{id:ident}", ("GET",), workers.read, "read a worker", ONE_ID, answers.WorkerAnswer),
    Endpoint("/worker/{id:ident}", ("PUT",), workers.register, "register a worker", READ | LARGE, answers.Registered, body="WorkerSpec", links=WORKER),
    Endpoint("/worker/{id:ident}", ("DELETE",), workers.remove, "remove a worker", ONE_ID, answers.Said),
    Endpoint("/worker", ("GET",), workers.all_workers, "list workers", READ, answers.WorkerList, query=BOUNDS),
    Endpoint("/dead/{id:ident}/retry", ("POST",), workers.retry_dead, "send a dead batch again", ONE_ID, answers.Said),
    Endpoint("/dead/{id:dead}", ("DELETE",), workers.drop_dead, "drop a dead letter", ONE_ID, answers.Said),
    Endpoint("/dead", ("GET",), workers.all_dead, "list dead letters", READ, answers.DeadList, query=BOUNDS, links=DEAD),
]  # fmt: skip


async def _openapi(_: Request) -> Response:
    return Json(description())


async def _docs(request: Request) -> Response:
    return HTMLResponse(page(description(), PREFIXES, str(request.base_url)))


OTHERS = [
    Endpoint("/health/live", ("GET",), operations.live, "whether the process runs", OK, answers.Said),
    Endpoint("/health/ready", ("GET",), operations.ready, "whether it can do its work", OK | AWAY, answers.Ready),
    Endpoint("/metrics", ("GET",), operations.metrics, "figures for Prometheus", OK, "text/plain"),
    Endpoint("/docs", ("GET",), _docs, "this description, to read", OK, "text/html"),
    Endpoint("/", ("GET",), operations.home, "a page to begin with", OK, "text/html"),
]


@cache
def description() -> Schema:
    """The OpenAPI document."""
    return describe(ENDPOINTS, PREFIXES, OTHERS)


def create_app(node: Node) -> Starlette:
    """The application that serves a node; it answers 503 while the node has no session."""
    app = Starlette(
        routes=[
            *(Mount(prefix, app=Router(_routes(), redirect_slashes=False)) for prefix in PREFIXES),
            *(Route(other.path, other.handler) for other in OTHERS),
            Route("/openapi.json", _openapi),
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

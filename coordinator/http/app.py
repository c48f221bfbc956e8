"""The shim's application: the route table, under both prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from coordinator.http import batches, operations, seeds, workers
from coordinator.http.answers import HANDLERS, Json
from coordinator.http.gates import Gates
from coordinator.http.guard import Guard, caller_of, check_role
from coordinator.http.openapi import Endpoint, describe, page
from coordinator.http.requests import RawPaths
from coordinator.http.seeds import Handler
from coordinator.node.commands import RELEASE_SEED, RELEASE_WORKER, RESUME_SEED
from coordinator.node.node import Node
from coordinator.tokens import Roles, Tokens

PREFIXES = ("/aspire_api/manager", "/aspire/_api/manager")

OK = {200: "done"}
INVALID = {406: "the input does not validate"}
UNKNOWN = {404: "an id is not known"}
GUARDED = {
    401: "no valid token",
    403: "a token that may not do this, or a browser on another site",
    429: "too many requests, or too many that wait",
}
AWAY = {503: "the broker is away or blocked: nothing was done"}
LARGE = {408: "a body that did not come in time", 413: "over a limit"}
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
ENDPOINTS = [replace(endpoint, statuses=endpoint.statuses | GUARDED) for endpoint in ENDPOINTS]


WORKER: Roles = frozenset({"worker"})
MANAGER: Roles = frozenset({"manager"})
PRODUCER: Roles = frozenset({"producer"})
OPERATOR: Roles = frozenset({"operator"})
ALLOWED: dict[Handler, Roles] = {
    batches.fetch: WORKER,
    batches.held: OPERATOR,
    batches.ack: WORKER,
    batches.give_back: WORKER,
    batches.results: WORKER,
    release_worker: MANAGER,
    release_seed: MANAGER,
    resume_seed: MANAGER,
    seeds.add_items: PRODUCER,
    seeds.read: OPERATOR | WORKER,  # a worker learns from it that the seed of its batches was released
    seeds.put: MANAGER,
    seeds.purge: MANAGER,
    seeds.all_seeds: OPERATOR,
    workers.read: OPERATOR,
    workers.register: WORKER,
    workers.remove: MANAGER,
    workers.all_workers: OPERATOR,
    workers.retry_dead: MANAGER,
    workers.drop_dead: MANAGER,
    workers.all_dead: OPERATOR,
    operations.metrics: OPERATOR,
    operations.home: OPERATOR,
}
"""Which roles may call what, where there are tokens; an administrator may call all."""


def create_app(node: Node, tokens: Tokens | None = None) -> Starlette:
    """The application that serves a node; it answers 503 while the node has no session.

    Args:
        node: the node.
        tokens: who may do what; by default what the node's settings say.

    Raises:
        CoordinatorError: the settings name tokens that cannot be read.
    """
    settings = node.settings
    gates = Gates.of(settings)
    guard = Middleware(
        Guard, prefixes=PREFIXES, tokens=tokens or Tokens.of(settings), rate=settings.rate_limit, bodies=gates.bodies
    )
    app = Starlette(
        routes=[
            *(Mount(prefix, app=Router(_routes(), redirect_slashes=False)) for prefix in PREFIXES),
            Route("/health/live", operations.live),
            Route("/health/ready", operations.ready),
            Route("/metrics", _guarded({"GET": operations.metrics, "HEAD": operations.metrics})),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
            Route("/", _guarded({"GET": operations.home, "HEAD": operations.home})),
        ],
        middleware=[Middleware(RawPaths), guard],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # an unknown route is 404 in JSON, not a way to another
    app.state.node = node
    app.state.gates = gates
    return app


def _routes() -> list[BaseRoute]:
    """One route for a path, whatever its methods: a second one would answer 404 to the methods of the first."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {}).update(dict.fromkeys(endpoint.methods, endpoint))
    return [_route(path, methods) for path, methods in paths.items()]


def _route(path: str, methods: dict[str, Endpoint]) -> Route:
    handlers = {method: endpoint.handler for method, endpoint in methods.items()}
    route = Route(path, _guarded(handlers), methods=list(methods))
    # The framework lets HEAD in wherever GET is; here a GET may fetch, ack or release.
    route.methods = set(methods)
    return route


def _guarded(handlers: Mapping[str, Handler]) -> Handler:
    """The handlers of a route by method, each for the roles that may call it; one that is not listed is no route."""
    allowed = {method: ALLOWED[handler] for method, handler in handlers.items()}

    async def serve(request: Request) -> Response:
        check_role(caller_of(request), allowed[request.method])
        return await handlers[request.method](request)

    return serve


async def _openapi(_: Request) -> Response:
    return Json(describe(ENDPOINTS, PREFIXES))


async def _docs(_: Request) -> Response:
    return HTMLResponse(page(ENDPOINTS, PREFIXES))

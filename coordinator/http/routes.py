"""The route table: each path, its methods, who may call it, what it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from coordinator import api_models, api_results
from coordinator.domain.event_ring import GROUPS, KINDS
from coordinator.domain.list_query import HELD_SORTS, SEED_SORTS, WORKER_SORTS, both_ways
from coordinator.http import batches, dry_run, events, health, overview, seeds, workers
from coordinator.http.dashboard import summary
from coordinator.http.dashboard.polling import DEAD_PERIOD, PERIOD, polled
from coordinator.http.dashboard.static_files import serve_file
from coordinator.http.openapi import JSON, Endpoint, Link, Parameter, describe
from coordinator.http.responses import Json
from coordinator.http.schemas import CALLER, TAGS, Schema
from coordinator.http.serializers import FAR, PAGE
from coordinator.node.releases.commands import DRAIN_WORKER, RELEASE_SEED, RELEASE_WORKER, RESUME_SEED
from coordinator.settings import Settings
from coordinator.tokens import ROLES, Roles

PREFIXES = ("/aspire_api/manager", "/aspire/_api/manager")
BY_ID, BY_BODY = ("GET", "PUT", "POST"), ("PUT", "POST")

WORKER: Roles = frozenset({"worker"})
MANAGER: Roles = frozenset({"manager"})
PRODUCER: Roles = frozenset({"producer"})
OPERATOR: Roles = frozenset({"operator"})
READ_SEED = OPERATOR | WORKER
"""A worker reads here that the seed of its batches was released."""

OK = {200: "done"}
INVALID = {406: "the input does not validate"}
UNKNOWN = {404: "an id is not known"}
BUSY = {429: "too many requests"}
AWAY = {503: "the broker is away or blocked: nothing was done"}
LARGE = {408: "a body that did not arrive in time", 413: "over a limit, which the message names"}
ONE_ID = OK | UNKNOWN | INVALID | AWAY
ALL_IDS = ONE_ID | LARGE
READ = OK | INVALID | AWAY
DONE = {202: "confirmed by the broker"} | INVALID | LARGE | AWAY


def list_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a part of a list."""
    most = settings.max_list
    limit = {"type": "integer", "minimum": 1, "maximum": most, "default": min(PAGE, most)}
    return {
        "offset": Parameter("how many to skip", {"type": "integer", "minimum": 0, "maximum": FAR, "default": 0}),
        "limit": Parameter("how many at most", limit),
    }


def _sorted(sorts: Sequence[str]) -> Parameter:
    return Parameter(
        "the field to sort by; a leading `-` reverses the order", {"type": "string", "enum": both_ways(sorts)}
    )


PART = Parameter(
    "a part of the id, or a pattern with `*`, `?` and `[…]`; upper and lower case are alike", {"type": "string"}
)


def seed_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a list of seeds."""
    state = Parameter("only those in this state", {"type": "string", "enum": list(seeds.STATES)})
    return {"state": state, "q": PART, "sort": _sorted(SEED_SORTS), **list_query(settings)}


def worker_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a list of workers."""
    return {"q": PART, "sort": _sorted(WORKER_SORTS), **list_query(settings)}


def _event_filter(_: Settings) -> dict[str, Parameter]:
    """Return the parameters that filter events."""
    only = {name: Parameter(f"only of this {name}", {"type": "string"}) for name in ("seed", "worker", "batch")}
    words = "|".join(re.escape(word) for word in (*GROUPS, *KINDS))
    kind = Parameter(
        "only these kinds, separated by commas; `batch` stands for all kinds that begin with it",
        {"type": "string", "pattern": f"^(({words})(,({words}))*)?$"},
    )
    return {**only, "kind": kind}


def event_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a list of events."""
    after = Parameter(
        "only events after the one with this id, the first of them",
        {"type": "string", "pattern": "^([0-9a-f]{1,16}-[0-9a-z]{1,16}-[0-9a-f]{1,16})?$"},
    )
    return {**_event_filter(settings), "after": after, "limit": list_query(settings)["limit"]}


def held_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a list of held batches."""
    only = {name: Parameter(f"only of this {name}", {"type": "string"}) for name in ("worker", "seed", "batch")}
    return {**only, "sort": _sorted(HELD_SORTS), **list_query(settings)}


def fetch_query(settings: Settings) -> dict[str, Parameter]:
    """Return the parameters of a fetch."""
    most, longest = settings.max_batches, batches.MAX_WAIT
    return {
        "tags": Parameter("the worker's tags; may be repeated, or separated by commas", TAGS),
        "batches": Parameter("how many at most", {"type": "integer", "minimum": 1, "maximum": most, "default": 1}),
        "worker": Parameter("the caller's id; by default the worker of its token, else its address", CALLER),
        "wait": Parameter(
            "seconds to wait for the first", {"type": "number", "minimum": 0, "maximum": longest, "default": 0}
        ),
    }


OF_FETCH = {
    "ack": Link("PUT", "/batch/ack/{id}", "$response.body#/batches/0/id"),
    "giveBack": Link("POST", "/batch/return", "$response.body#/batches/0/id"),
}
OF_SEED = {
    "read": Link("GET", "/seed/{id}", "$request.path.id"),
    "addItems": Link("POST", "/seed/{id}/items", "$request.path.id"),
    "release": Link("PUT", "/release/seed/{id}", "$request.path.id"),
    "purge": Link("DELETE", "/seed/{id}", "$request.path.id"),
}
OF_RELEASE = {"resume": Link("PUT", "/resume/seed/{id}", "$request.path.id")}
OF_WORKER = {
    "read": Link("GET", "/worker/{id}", "$request.path.id"),
    "release": Link("PUT", "/release/worker/{id}", "$request.path.id"),
    "remove": Link("DELETE", "/worker/{id}", "$request.path.id"),
}
OF_DEAD = {
    "retry": Link("POST", "/dead/{id}/retry", "$response.body#/dead/0/id"),
    "drop": Link("DELETE", "/dead/{id}", "$response.body#/dead/0/id"),
}

release_worker, release_seed = seeds.command(RELEASE_WORKER), seeds.command(RELEASE_SEED)
drain_worker = seeds.command(DRAIN_WORKER)
resume_seed = seeds.command(RESUME_SEED)

ENDPOINTS = [
    Endpoint("/batch", ("GET",), WORKER, batches.fetch, "fetch batches", ONE_ID, api_results.Fetched, query=fetch_query, links=OF_FETCH),
    Endpoint("/batch/held", ("GET",), OPERATOR, batches.held, "list the held batches", READ, api_models.HoldingList, query=held_query),
    Endpoint("/batch/ack/{id:ident}", BY_ID, WORKER, batches.ack, "ack a batch by its handle", ONE_ID, api_results.Settled),
    Endpoint("/batch/ack", BY_BODY, WORKER, batches.ack, "ack batches by handle", ALL_IDS, api_results.Settled, body="Handles"),
    Endpoint("/batch/return", ("POST",), WORKER, batches.give_back, "give batches back without fault", ALL_IDS, api_results.Settled, body="Handles"),
    Endpoint("/results", ("POST",), WORKER, batches.results, "send the results of a batch", DONE, api_results.Accepted, body="BatchResults"),
    Endpoint("/release/worker/{id:ident}", BY_ID, MANAGER, release_worker, "release a worker", ONE_ID, api_results.WorkersReleased),
    Endpoint("/release/worker", BY_BODY, MANAGER, release_worker, "release workers", ALL_IDS, api_results.WorkersReleased, body="WorkerIds"),
    Endpoint("/release/seed/{id:ident}", BY_ID, MANAGER, release_seed, "release a seed", ONE_ID, api_results.SeedsReleased, links=OF_RELEASE),
    Endpoint("/release/seed", BY_BODY, MANAGER, release_seed, "release seeds", ALL_IDS, api_results.SeedsReleased, body="SeedIds"),
    Endpoint("/dry-run/release/seed/{id:ident}", ("GET",), OPERATOR, dry_run.release_seed, "say what the release of a seed would do", ONE_ID, api_results.DryRun),
    Endpoint("/dry-run/release/worker/{id:ident}", ("GET",), OPERATOR, dry_run.release_worker, "say what the release of a worker would do", ONE_ID, api_results.DryRun),
    Endpoint("/dry-run/drain/worker/{id:ident}", ("GET",), OPERATOR, dry_run.drain_worker, "say what the drain of a worker would do", ONE_ID, api_results.DryRun),
    Endpoint("/resume/seed/{id:ident}", BY_BODY, MANAGER, resume_seed, "let a released seed run again", ONE_ID, api_results.Resumed),
    Endpoint("/resume/seed", BY_BODY, MANAGER, resume_seed, "let released seeds run again", ALL_IDS, api_results.Resumed, body="SeedIds"),
    Endpoint("/seed/{id:ident}/items", ("POST",), PRODUCER, seeds.add_items, "add items: a JSON array, or one item a line", DONE, api_results.Accepted, body="Items", links=OF_SEED),
    Endpoint("/seed/{id:seed}", ("GET",), READ_SEED, seeds.read, "read a seed", ONE_ID, api_models.SeedAnswer),
    Endpoint("/seed/{id:seed}", ("PUT",), MANAGER, seeds.put, "create a seed or replace its policies", READ | LARGE, api_models.SeedAnswer, body="SeedSpec", links=OF_SEED),
    Endpoint("/seed/{id:seed}", ("DELETE",), MANAGER, seeds.purge, "purge a seed", ONE_ID, api_results.SeedsPurged),
    Endpoint("/seed", ("GET",), OPERATOR, seeds.all_seeds, "list seeds", READ, api_models.SeedList, query=seed_query),
    Endpoint("/worker/{id:ident}", ("GET",), OPERATOR, workers.read, "read a worker", ONE_ID, api_models.WorkerAnswer),
    Endpoint("/worker/{id:ident}", ("PUT",), WORKER, workers.register, "register a worker", READ | LARGE, api_models.Registered, body="WorkerSpec", links=OF_WORKER),
    Endpoint("/worker/{id:ident}", ("DELETE",), MANAGER, workers.remove, "remove a worker", ONE_ID, api_results.Said),
    Endpoint("/worker", ("GET",), OPERATOR, workers.all_workers, "list workers", READ, api_models.WorkerList, query=worker_query),
    Endpoint("/dead/{id:ident}/retry", ("POST",), MANAGER, workers.retry_dead, "send a dead batch again", ONE_ID, api_results.Said),
    Endpoint("/drain/worker/{id:ident}", ("POST",), MANAGER, drain_worker, "let a worker finish what it holds and take no more", ONE_ID, api_results.WorkersDraining, links=OF_WORKER),
    Endpoint("/event", ("GET",), OPERATOR, events.events, "list events, the newest last", READ, api_models.EventList, query=event_query),
    Endpoint("/event/stream", ("GET",), OPERATOR, events.stream, "stream events, as server-sent events", READ, "text/event-stream", query=_event_filter),
    Endpoint("/queue", ("GET",), OPERATOR, overview.queues, "list work queues", READ, api_models.QueueList, query=list_query),
    Endpoint("/coordinator", ("GET",), OPERATOR, overview.coordinators, "list coordinators", READ, api_models.CoordinatorList, query=list_query),
    Endpoint("/broker", ("GET",), OPERATOR, overview.broker, "read the broker's state", OK | AWAY, api_models.BrokerAnswer),
    Endpoint("/dead/{id:dead}", ("GET",), OPERATOR, workers.read_dead, "read a dead letter with its body", ONE_ID, api_models.DeadWhole),
    Endpoint("/dead/{id:dead}", ("DELETE",), MANAGER, workers.drop_dead, "drop a dead letter", ONE_ID, api_results.Said),
    Endpoint("/dead", ("GET",), OPERATOR, workers.all_dead, "list dead letters", READ, api_models.DeadList, query=list_query, links=OF_DEAD),
]  # fmt: skip
"""The routes below each prefix."""


async def openapi(request: Request) -> Response:
    """The OpenAPI document itself, which is not described in it."""
    state = request.app.state
    return Json(state.description(state.tokens.are_required))


OTHERS = [
    Endpoint("/health/live", ("GET",), None, health.live, "whether the process runs", OK, api_results.Said),
    Endpoint("/health/ready", ("GET",), None, health.ready, "whether it can do its work", OK | AWAY, api_results.Ready),
    Endpoint("/metrics", ("GET",), OPERATOR, health.metrics, "metrics for Prometheus", OK, "text/plain"),
    Endpoint("/docs", ("GET",), None, serve_file, "the page that shows this description", OK | BUSY, "text/html"),
    Endpoint("/", ("GET",), None, serve_file, "the dashboard, without its data", OK | BUSY, "text/html"),
]
"""The routes below no prefix."""


def _polled(endpoint: Endpoint) -> Endpoint:
    """A read of the API as dashboards poll it: for operators, and through the cache."""
    period = DEAD_PERIOD if endpoint.path.startswith("/dead") else PERIOD
    path, handler = f"/dashboard/api{endpoint.path}", polled(endpoint.handler, period)
    return replace(endpoint, path=path, roles=OPERATOR, handler=handler)


READS = [
    one
    for one in ENDPOINTS
    if "GET" in one.methods and one.roles is not None and one.roles >= OPERATOR and not isinstance(one.answer, str)
]
"""The routes that read and end: no route that acts, and no stream."""

DASHBOARD = [
    *map(_polled, READS),
    Endpoint("/dashboard/summary", ("GET",), OPERATOR, polled(summary.summary), "the main figures", OK, JSON),
    Endpoint("/dashboard/who", ("GET",), frozenset(ROLES), summary.who, "the caller's name and roles", OK, JSON),
    Endpoint("/dashboard/{file}", ("GET",), None, serve_file, "a file of the dashboard", OK, "text/javascript"),
    Endpoint("/docs/{file}", ("GET",), None, serve_file, "a file of the page of the API", OK, "text/javascript"),
]
"""The dashboard's own routes. The description of the API leaves them out."""


def description(settings: Settings, *, asks_for_tokens: bool) -> Schema:
    """The OpenAPI document of a coordinator with these settings."""
    return describe(ENDPOINTS, PREFIXES, OTHERS, settings, asks_for_tokens=asks_for_tokens)

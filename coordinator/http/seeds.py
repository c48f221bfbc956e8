"""Routes of seeds: read, set, purge, add items, release and resume."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from coordinator.domain.list_query import SEED_SORTS, both_ways, named, ordered
from coordinator.errors import BrokerUnavailableError, CoordinatorError
from coordinator.http.ingest import Ingest, Limits
from coordinator.http.limits import limits_of
from coordinator.http.requests import (
    acting_session,
    bounds_of,
    check_content,
    choice_of,
    id_of,
    ids_of,
    media_type,
    model_of,
    session_of,
    settings_of,
)
from coordinator.http.responses import Json, answer_to
from coordinator.http.serializers import page_bounds, seed_views
from coordinator.models import SeedSpec
from coordinator.node.observe import seed_stats as figures
from coordinator.node.releases.commands import PURGE_SEED
from coordinator.validation import check_seed_id

STATES = ("running", "released")
READ_ONLY = frozenset({"id", "state", "epoch", "owner", "counts", "since", "rate", "progress", "why", "message"})
"""Fields that a client may send back as it read them. They are ignored."""

Handler = Callable[[Request], Awaitable[Response]]


def command(name: str) -> Handler:
    """Make the handler of a command on the ids in the path or the body."""

    async def carry_out(request: Request) -> Response:
        ids = await ids_of(request)
        session = await acting_session(request)
        status, answer = await session.commands.carry_out(name, ids)
        return Json(answer, status)

    return carry_out


async def read(request: Request) -> Response:
    """Read a seed."""
    session = session_of(request)
    seed = session.catalog.get(check_seed_id(id_of(request)))
    [view] = await seed_views(session, [seed])
    return Json(view)


async def put(request: Request) -> Response:
    """Create a seed or replace its policies."""
    ident = check_seed_id(id_of(request))
    spec, _ = await model_of(request, SeedSpec, ignored=READ_ONLY)
    session = await acting_session(request)
    seed = await session.catalog.set(ident, spec)
    await session.owned_seeds.update(ident)
    [view] = await seed_views(session, [seed])
    return Json(view)


async def purge(request: Request) -> Response:
    """Delete a seed with its available and unsent items."""
    session = await acting_session(request)
    status, answer = await session.commands.carry_out(PURGE_SEED, [id_of(request)])
    return Json(answer, status)


async def add_items(request: Request) -> Response:
    """Add items as they arrive."""
    ident = check_seed_id(id_of(request))
    session = await acting_session(request)
    check_content(request)
    settings = settings_of(request)
    limits = Limits(
        page=settings.page_items,
        line=settings.max_line,
        array=settings.max_array,
        pause=settings.stream_timeout,
        bounds=bounds_of(request),
    )
    ingest = Ingest(session, ident, limits, request.state.body, limits_of(request).array)
    try:
        await ingest.run(request.stream(), is_one_value=media_type(request) == "application/json")
    except CoordinatorError as error:
        return answer_to(error, accepted=ingest.confirmed, unconfirmed=ingest.unconfirmed)
    except asyncio.CancelledError:  # this coordinator stops: the client must learn how many items were added
        stopping = BrokerUnavailableError("this coordinator is stopping")
        return answer_to(stopping, accepted=ingest.confirmed, unconfirmed=ingest.unconfirmed)
    return Json({"message": f"{ingest.confirmed} items accepted", "accepted": ingest.confirmed}, 202)


async def all_seeds(request: Request) -> Response:
    """List seeds."""
    session = session_of(request)
    offset, limit = page_bounds(request)
    sort = choice_of(request, "sort", both_ways(SEED_SORTS)) or "id"
    state, part = choice_of(request, "state", STATES), request.query_params.get("q", "")
    seeds = [seed for seed in session.catalog.all() if state in {None, seed.state} and named(seed.id, part)]
    key, is_reverse = sort.removeprefix("-"), sort.startswith("-")
    if key == "id":  # then only the seeds of this page need counts
        seeds = seeds[::-1] if is_reverse else seeds
        views = await seed_views(session, seeds[offset : offset + limit])
    elif len(seeds) <= figures.COUNTED:
        views = ordered(await seed_views(session, seeds), sort)[offset : offset + limit]
    else:
        ranks = await session.seed_stats.ranks([seed.id for seed in seeds], key)
        seeds.sort(key=lambda seed: ranks[seed.id], reverse=is_reverse)
        views = ordered(await seed_views(session, seeds[offset : offset + limit]), sort)
    return Json({"seeds": views, "count": {"totalItems": len(seeds)}})

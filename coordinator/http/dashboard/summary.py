"""The dashboard's own reads: a summary of everything, and who the caller is."""

from __future__ import annotations

import time
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from coordinator import topology
from coordinator.http.auth import caller_of
from coordinator.http.requests import session_of
from coordinator.http.responses import Json
from coordinator.tokens import Tokens


async def who(request: Request) -> Response:
    """Return the caller's name and roles, so that the page offers only what it may do, and the server's time."""
    caller = caller_of(request)
    tokens: Tokens = request.app.state.tokens
    roles = sorted(caller.roles)
    return Json({"name": caller.name, "roles": roles, "asksForTokens": tokens.are_required, "at": time.time()})


async def summary(request: Request) -> Response:
    """Return the main figures. Each is cheap to get."""
    session = session_of(request)
    states = [seed.state for seed in session.registry.state.seeds.values()]
    depth = await session.writer.depth(topology.DEAD)
    present = session.heartbeats.present()
    leased = {lease.worker for lease in session.leases.held()}
    return Json(
        {
            "instance": session.instance,
            "version": version("batch-coordinator"),
            "seeds": {"running": states.count("running"), "released": states.count("released")},
            "workers": {
                "known": len(session.workers.known()),
                "live": len({heard.presence.worker for heard in present} | leased),
            },
            "held": len(await session.held_batches.held()),
            "dead": depth.ready if depth else 0,
            "blocked": await session.writer.is_blocked(),
        }
    )

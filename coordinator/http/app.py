"""The HTTP application: the route table, served under both prefixes behind the guard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from coordinator.http.auth import Guard, caller_of, check_role
from coordinator.http.dashboard.polling import Polls
from coordinator.http.dashboard.static_files import FILES
from coordinator.http.limits import Limits
from coordinator.http.openapi import Endpoint
from coordinator.http.paths import RawPaths
from coordinator.http.responses import HANDLERS
from coordinator.http.routes import DASHBOARD, ENDPOINTS, OTHERS, PREFIXES, description, openapi
from coordinator.node.coordinator import Coordinator
from coordinator.tokens import Tokens


def create_app(node: Coordinator, tokens: Tokens | None = None) -> Starlette:
    """Make the application of a coordinator. It answers 503 while the coordinator has no session.

    Args:
        node: the coordinator.
        tokens: the tokens and their roles; by default those that the settings name.

    Raises:
        CoordinatorError: the tokens cannot be read.
    """
    settings = node.settings
    limits = Limits.of(settings)
    tokens = tokens or Tokens.of(settings)
    guard = Middleware(
        Guard,
        prefixes=(*PREFIXES, "/dashboard"),
        files=frozenset(FILES),
        tokens=tokens,
        rate=settings.rate_limit,
        bodies=limits.bodies,
    )
    app = Starlette(
        routes=[
            *(Mount(prefix, app=Router(_routes(), redirect_slashes=False)) for prefix in PREFIXES),
            *map(_get_route, (*OTHERS, *DASHBOARD)),
            Route("/openapi.json", openapi),
        ],
        middleware=[Middleware(RawPaths), guard],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # an unknown route is 404 in JSON, and never a redirect
    app.state.node = node
    app.state.limits = limits
    app.state.tokens = tokens
    app.state.polls = Polls(settings.max_watches)
    app.state.description = cache(lambda asks_for_tokens: description(settings, asks_for_tokens=asks_for_tokens))
    return app


def _routes() -> list[BaseRoute]:
    """Make one route for each path, for all of its methods.

    Of two routes with one path, the framework asks only the first, which would refuse the methods of the second.
    """
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {}).update(dict.fromkeys(endpoint.methods, endpoint))
    return [_route(path, methods) for path, methods in paths.items()]


def _get_route(endpoint: Endpoint) -> Route:
    return _route(endpoint.path, dict.fromkeys(("GET", "HEAD"), endpoint))


def _route(path: str, methods: Mapping[str, Endpoint]) -> Route:
    async def serve(request: Request) -> Response:
        endpoint = methods[request.method]
        if endpoint.roles is not None:
            check_role(caller_of(request), endpoint.roles)
        return await endpoint.handler(request)

    route = Route(path, serve, methods=list(methods))
    # The framework adds HEAD to every GET. Here a GET may fetch, ack or release, and a HEAD must not do that.
    route.methods = set(methods)
    return route

"""The checks before a request is served: where it comes from, its token, its rate."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.domain.rate_limit import Rates
from coordinator.errors import BusyError, ForbiddenError
from coordinator.http.limits import Limit
from coordinator.http.responses import Json
from coordinator.tokens import ANYBODY, Caller, Roles, Tokens

OPEN: Final = frozenset({"/health/live", "/health/ready"})
"""Paths without a token and without a rate limit: a supervisor that gets no answer here restarts the process."""
SCHEME: Final = "bearer"
CHALLENGE: Final = 'Bearer realm="coordinator"'
OWN_SITES: Final = frozenset({"same-origin", "none"})
NOBODY: Final = Caller("", frozenset())
LOCALHOST: Final = "localhost"
KNOWN: Final = 1024
"""Parsed addresses to keep, since each request needs three."""
IPV6, IPV6_NETWORK = 6, 64


class Guard:
    """Refuses requests from other sites (403), without a valid token (401), and too many of them (429).

    Args:
        app: serves all other requests; it finds the `Caller` in the request's state.
        prefixes: below these, a request of a browser must come from a page of this server.
        files: paths of static files. They hold no data, so they need no token, but they count for the rate.
        tokens: the tokens and their roles.
        rate: requests a second for each token, and for each address without one; 0 for any number.
        bodies: counts the bytes of bodies in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        prefixes: tuple[str, ...],
        files: frozenset[str],
        tokens: Tokens,
        rate: float,
        bodies: Limit,
    ) -> None:
        self._app = app
        self._prefixes = tuple(f"{prefix}/" for prefix in prefixes)
        self._files = files
        self._tokens = tokens
        self._rate = rate
        self._rates = Rates(rate)
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        refusal = self._admit(scope)
        with self._bodies.share() as share:
            scope["state"]["body"] = share
            await (refusal or self._app)(scope, receive, send)

    def _admit(self, scope: Scope) -> Json | None:
        """Store the caller in the request's state, or return the refusal."""
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        if scope["path"].startswith(self._prefixes) and is_from_another_site(headers):
            return Json({"message": "refused: a browser sent this from another site"}, 403)
        caller: Caller | None = ANYBODY
        if scope["path"] in self._files:
            caller = NOBODY
        elif self._tokens.are_required:
            scheme, _, secret = headers.get("authorization", "").partition(" ")
            caller = self._tokens.caller(secret.strip()) if scheme.lower() == SCHEME else None
        elif not _is_named_well(scope, headers):
            name = headers.get("host", "")
            return Json({"message": f"without tokens, call this coordinator as localhost, not as {name!r}"}, 403)
        wait = self._rates.take(f"token {caller.name}" if caller and caller.name else _address(scope), time.monotonic())
        if wait:
            busy = BusyError("requests a second from one caller", self._rate, "RATE_LIMIT")
            return Json({"message": str(busy)}, 429, {"Retry-After": str(math.ceil(wait))})
        if caller is None:
            return _unauthorized(is_given="authorization" in headers)
        state["caller"] = caller
        return None


def caller_of(request: Request) -> Caller:
    """Return the caller."""
    caller: Caller = request.state.caller
    return caller


def check_role(caller: Caller, allowed: Roles) -> None:
    """Check that one of the caller's roles is allowed.

    Raises:
        ForbiddenError: no role of the caller is allowed.
    """
    if not caller.may(allowed):
        has, needed = ", ".join(sorted(caller.roles)), " or ".join(sorted(allowed | {"administrator"}))
        raise ForbiddenError(f"this needs the role {needed}; the token {caller.name} has {has}")


def check_worker(caller: Caller, worker: str) -> None:
    """Check that the caller may act as this worker.

    Raises:
        ForbiddenError: the token is bound to another worker.
    """
    if caller.worker not in {None, worker}:
        raise ForbiddenError(f"the token {caller.name} is bound to the worker {caller.worker}")


def is_from_another_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent this for a page of another origin.

    Browsers send `Sec-Fetch-Site`; older ones send `Origin` with a request that may act. Other clients send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in OWN_SITES
    origin = headers.get("origin")
    return origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _is_named_well(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return whether the request names this server as a server on loopback may be named.

    Otherwise the owner of a page could let its own name resolve to loopback, and the page would count as this server's.
    """
    server, host = scope.get("server"), headers.get("host", "")
    if server is None or not _is_loopback(server[0]) or not host:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == LOCALHOST or name.endswith(f".{LOCALHOST}") or _is_loopback(name)


@lru_cache(maxsize=KNOWN)
def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _address(scope: Scope) -> str:
    """Return what to count a request without a token for."""
    client = scope.get("client")
    return "unknown" if client is None else _household(str(client[0]))


@lru_cache(maxsize=KNOWN)
def _household(text: str) -> str:
    """Return the client's address; for IPv6 its network, since a client there has as many addresses as it wants."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == IPV6:
        return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
    return str(address)


def _unauthorized(*, is_given: bool) -> Json:
    if is_given:
        return Json(
            {"message": "the token is not valid"}, 401, {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
        )
    return Json({"message": "this needs a token: Authorization: Bearer …"}, 401, {"WWW-Authenticate": CHALLENGE})

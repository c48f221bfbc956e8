"""Responses: always JSON, with one table that maps errors to statuses."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    BusyError,
    CoordinatorError,
    ForbiddenError,
    InvalidInputError,
    ManagementError,
    NotFoundError,
    OverLimitError,
    TooSlowError,
)

log = structlog.get_logger(__name__)

RETRY_AFTER = "1"
LATER = {"Retry-After": RETRY_AFTER}
UNAVAILABLE = 503
STATUSES: dict[type[CoordinatorError], tuple[int, dict[str, str]]] = {
    InvalidInputError: (406, {}),
    NotFoundError: (404, {}),
    ForbiddenError: (403, {}),
    TooSlowError: (408, {"Connection": "close"}),
    OverLimitError: (413, {}),
    BusyError: (429, LATER),
    BrokerUnavailableError: (UNAVAILABLE, LATER),
    BrokerRefusedError: (UNAVAILABLE, LATER),
    ManagementError: (UNAVAILABLE, LATER),
}
"""Status and headers for each kind of error."""


class Json(Response):
    """A JSON response. It forbids caches to keep it, since even a GET may act."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(orjson.dumps(content), status_code, {"Cache-Control": "no-store", **(headers or {})})


async def on_http_error(_: Request, error: Exception) -> Response:
    """Answer an error of the framework: an unknown route, or a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    return Json({"message": error.detail}, error.status_code, error.headers)


async def on_our_error(_: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    if not isinstance(error, CoordinatorError):
        raise error
    return answer_to(error)


async def on_gone(_: Request, __: Exception) -> Response:
    """Answer a client that went away while its body was read. It does not get this."""
    return Json({"message": "the client went away"}, 400)


def answer_to(error: CoordinatorError, **more: object) -> Json:
    """Return the response to an error of ours; `more` are fields beside its message.

    Raises:
        CoordinatorError: no request may cause this error.
    """
    found = next((STATUSES[kind] for kind in STATUSES if isinstance(error, kind)), None)
    if found is None:
        raise error
    status, headers = found
    if status == UNAVAILABLE:
        log.warning("http.unavailable", problem=str(error))
    body: dict[str, object] = {"message": str(error), **more}
    if isinstance(error, InvalidInputError):
        body["errors"] = [{"field": field, "message": what} for field, what in error.problems]
    return Json(body, status, headers)


async def on_fault(request: Request, error: Exception) -> Response:
    """Answer any other error. It is a fault of this program: the log has all of it, the client learns no details."""
    log.error("http.fault", path=request.url.path, exc_info=error)
    return Json({"message": "internal error; the log has the details"}, 500)


HANDLERS = {
    HTTPException: on_http_error,
    CoordinatorError: on_our_error,
    ClientDisconnect: on_gone,
    Exception: on_fault,
}

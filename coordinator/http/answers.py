"""What the shim answers with: JSON always, and one table from errors to statuses."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    CoordinatorError,
    ForbiddenError,
    InvalidInputError,
    ManagementError,
    NotFoundError,
)

log = structlog.get_logger(__name__)

RETRY_AFTER = "1"


class Json(Response):
    """A JSON answer; nothing of this API may be kept by a cache, since even a GET may act."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(orjson.dumps(content), status_code, {"Cache-Control": "no-store", **(headers or {})})


async def on_http_error(_: Request, error: Exception) -> Response:
    """The framework's own errors: an unknown route, a wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    return Json({"message": error.detail}, error.status_code, error.headers)


async def on_our_error(request: Request, error: Exception) -> Response:
    """An error of ours."""
    match error:
        case InvalidInputError():
            errors = [{"field": field, "message": what} for field, what in error.problems]
            return Json({"message": str(error), "errors": errors}, 406)
        case NotFoundError():
            return Json({"message": str(error)}, 404)
        case ForbiddenError():
            return Json({"message": str(error)}, 403)
        case BrokerUnavailableError() | BrokerRefusedError() | ManagementError():
            log.warning("http.unavailable", path=request.url.path, problem=str(error))
            return Json({"message": str(error)}, 503, {"Retry-After": RETRY_AFTER})
        case _:
            raise error


async def on_fault(request: Request, error: Exception) -> Response:
    """Anything else is a fault of this program: logged whole, told in general."""
    log.error("http.fault", path=request.url.path, exc_info=error)
    return Json({"message": "internal error; the log has the details"}, 500)


HANDLERS = {HTTPException: on_http_error, CoordinatorError: on_our_error, Exception: on_fault}

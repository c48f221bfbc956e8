"""What handlers read from a request: ids, bodies within limits, numbers, and the session."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TypeVar

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from coordinator.errors import BrokerUnavailableError, InvalidInputError, OverLimitError, TooSlowError
from coordinator.http.limits import Share
from coordinator.node.coordinator import Coordinator
from coordinator.node.wiring import Session
from coordinator.settings import Settings
from coordinator.validation import Bounds, check_bounds, invalid, listed_ids, parse_ids

JSON_TYPES = re.compile(
    r"application/(.+\+)?json|application/(x-)?(ndjson|jsonl|jsonlines|json-lines)|text/plain"
    r"|application/octet-stream|application/x-www-form-urlencoded"  # the last is what `curl -d` says of any body
)
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A number as in JSON, but with leading zeros. Python's own would accept `1_0`, `nan`, and digits of other scripts."""

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def session_of(request: Request) -> Session:
    """Return the coordinator's session.

    Raises:
        BrokerUnavailableError: the coordinator has no session now.
    """
    node: Coordinator = request.app.state.node
    return node.session


async def acting_session(request: Request) -> Session:
    """Return the coordinator's session, for a call that publishes.

    Raises:
        BrokerUnavailableError: the coordinator has no session now, or the broker blocks publishers.
    """
    session = session_of(request)
    if await session.writer.is_blocked():
        raise BrokerUnavailableError("the broker has an alarm and takes nothing now")
    return session


def settings_of(request: Request) -> Settings:
    """Return the coordinator's settings."""
    node: Coordinator = request.app.state.node
    return node.settings


def hold(request: Request, amount: int) -> None:
    """Count bytes of a body that stay in memory until the request ends.

    Raises:
        BusyError: the bodies of all requests are too large.
    """
    share: Share = request.state.body
    share.take(amount)


def media_type(request: Request) -> str:
    """Return the media type of the body without its parameters; empty if the request has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_content(request: Request) -> None:
    """Check that the headers describe a body that may be JSON.

    Raises:
        InvalidInputError: the body has another type, or is compressed.
    """
    kind = media_type(request)
    if kind and not JSON_TYPES.fullmatch(kind):
        raise InvalidInputError([("Content-Type", f"must be application/json, not {kind}")])
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise InvalidInputError([("Content-Encoding", f"must be identity, not {encoding}")])


async def body_of(request: Request) -> bytes:
    """Read the body.

    Raises:
        InvalidInputError: its headers say that it is not JSON.
        OverLimitError: it is too large.
        TooSlowError: it does not arrive in time.
        BusyError: the bodies of all requests are too large.
    """
    settings = settings_of(request)
    too_large = OverLimitError("the body", settings.max_body, "bytes", "MAX_BODY")
    if int(request.headers.get("content-length", 0)) > settings.max_body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.stream():
                hold(request, len(chunk))
                body += chunk
                if len(body) > settings.max_body:
                    raise too_large
    except TimeoutError:
        raise TooSlowError(settings.body_timeout, "BODY_TIMEOUT") from None
    if body:
        check_content(request)
    return bytes(body)


async def json_of(request: Request) -> tuple[object, bytes]:
    """Read the body as JSON; return it decoded and as it was sent. An empty body is None.

    Raises:
        InvalidInputError: it is not JSON; and the errors of `body_of`.
    """
    body = await body_of(request)
    if not body.strip():
        return None, body
    try:
        return orjson.loads(body), body
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error


def bounds_of(request: Request) -> Bounds:
    """Return how long strings and how deep levels may be."""
    settings = settings_of(request)
    return Bounds(settings.max_text, settings.max_depth)


async def model_of(request: Request, model: type[M], *, ignored: frozenset[str] = frozenset()) -> tuple[M, bytes]:
    """Read the body as a model; return that, and the body as it was sent. An empty body gives all defaults.

    Args:
        request: the request.
        model: what the body must be.
        ignored: fields that a client may send back as it read them.

    Raises:
        InvalidInputError: it does not validate, or is over a limit of strings or nesting; and the errors of `json_of`.
    """
    value, body = await json_of(request)
    check_bounds([("body", value)], body, bounds_of(request))
    if not body.strip():
        value = {}
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if name not in ignored}
    try:
        return TypeAdapter(model).validate_python(value), body
    except ValidationError as error:
        raise invalid(error) from error


def id_of(request: Request) -> str:
    """Return the id in the path.

    Raises:
        InvalidInputError: its bytes are not UTF-8.
    """
    ident = str(request.path_params["id"])
    if any("\udc80" <= character <= "\udcff" for character in ident):
        raise InvalidInputError([("id", "must be UTF-8")])
    return ident


async def ids_of(request: Request) -> list[str]:
    """Return the id in the path, or the ids in the body.

    Raises:
        InvalidInputError: the body does not have one of the three forms, or an id is too long.
        OverLimitError: there are too many; and the errors of `json_of`.
    """
    if "id" in request.path_params:
        return [id_of(request)]
    value, body = await json_of(request)
    most = settings_of(request).max_ids
    if len(listed_ids(value)) > most:
        raise OverLimitError("the list", most, "ids", "MAX_IDS")
    ids = parse_ids(value)
    check_bounds([("id", ids)], body, bounds_of(request))
    return ids


def number_of(request: Request, name: str, default: float, least: float, most: float) -> float:
    """Return a number of the query.

    Raises:
        InvalidInputError: it is not a number, or out of its bounds.
    """
    text = request.query_params.get(name)
    if text is not None and not NUMBER.fullmatch(text):
        raise InvalidInputError([(name, f"must be a number, not {text!r}")])
    value = default if text is None else float(text)
    if not least <= value <= most:
        raise InvalidInputError([(name, f"must be {least:g} to {most:g}, not {value:g}")])
    return value


def count_of(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the query.

    Raises:
        InvalidInputError: it is not a whole number, or out of its bounds.
    """
    value = number_of(request, name, default, least, most)
    if value != int(value):
        raise InvalidInputError([(name, f"must be a whole number, not {value:g}")])
    return int(value)


def choice_of(request: Request, name: str, among: Sequence[str]) -> str | None:
    """Return a word of the query, or None if the query does not have it.

    Raises:
        InvalidInputError: the word is not one of those that are allowed.
    """
    value = request.query_params.get(name)
    if value is not None and value not in among:
        raise InvalidInputError([(name, f"must be one of {', '.join(among)}, not {value!r}")])
    return value


@contextlib.asynccontextmanager
async def watched(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """Give a task that ends when the client goes away. Read the body first."""
    gone = asyncio.create_task(_gone(request), name="gone")
    try:
        yield gone
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless(gone: asyncio.Task[None], work: Coroutine[object, object, T]) -> T | None:
    """Do the work; stop and return None when the client goes away."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None if task.cancelled() else task.result()
    finally:
        task.cancel()

"""Reading requests: ids in paths and bodies, bounded bodies, the session."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TypeVar
from urllib.parse import quote, unquote

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.errors import BrokerUnavailableError, InvalidInputError, OverLimitError, TooSlowError
from coordinator.http.limits import Share
from coordinator.node.coordinator import Coordinator
from coordinator.node.wiring import Session
from coordinator.parsing import Bounds, check_bounds, invalid, listed_ids, parse_ids
from coordinator.settings import Settings

JSON_TYPES = re.compile(
    r"application/(.+\+)?json|application/(x-)?(ndjson|jsonl|jsonlines|json-lines)|text/plain"
    r"|application/octet-stream|application/x-www-form-urlencoded"  # the last is what `curl -d` says of any body
)
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""As JSON writes it, but for leading zeros; Python would also take `1_0`, `nan`, and digits of other scripts."""

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class IdConvertor(Convertor[str]):
    """An id in a path: it may hold slashes, encoded or not."""

    regex = ".+"

    def convert(self, value: str) -> str:
        """Decode it; bytes that are no UTF-8 become what no id may hold."""
        return unquote(value, errors="surrogateescape")

    def to_string(self, value: str) -> str:
        """Encode all of it, so that it is read as it was whatever it holds."""
        return quote(value, safe="", errors="surrogateescape").replace(".", "%2E")


class SeedIdConvertor(IdConvertor):
    """A seed's id where a last segment `/items` is a route of its own; an id that ends so is sent encoded."""

    regex = "items|.+(?<!/items)"


class DeadIdConvertor(IdConvertor):
    """A dead letter's id, with the same rule for a last segment `/retry`."""

    regex = "retry|.+(?<!/retry)"


register_url_convertor("ident", IdConvertor())
register_url_convertor("seed", SeedIdConvertor())
register_url_convertor("dead", DeadIdConvertor())


class RawPaths:
    """Routes by the path as it was sent: `/` and `%2F` in an id are told apart before they are decoded."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode(errors="surrogateescape")
        await self.app(scope, receive, send)


def session_of(request: Request) -> Session:
    """The node's session.

    Raises:
        BrokerUnavailableError: there is none now.
    """
    node: Coordinator = request.app.state.node
    return node.session


async def acting_session(request: Request) -> Session:
    """The node's session, for a call that publishes.

    Raises:
        BrokerUnavailableError: there is none now, or the broker has blocked publishers; nothing was done.
    """
    session = session_of(request)
    if await session.writer.is_blocked():
        raise BrokerUnavailableError("the broker has an alarm and takes nothing now")
    return session


def settings_of(request: Request) -> Settings:
    """The coordinator's settings."""
    node: Coordinator = request.app.state.node
    return node.settings


def hold(request: Request, amount: int) -> None:
    """Count bytes of a body that are in memory until the request ends.

    Raises:
        BusyError: the bodies of all requests are too much.
    """
    share: Share = request.state.body
    share.take(amount)


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters; empty when nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_content(request: Request) -> None:
    """Refuse what a body says of itself, unless it may be JSON as it is.

    Raises:
        InvalidInputError: it is something else, or compressed.
    """
    kind = media_type(request)
    if kind and not JSON_TYPES.fullmatch(kind):
        raise InvalidInputError([("Content-Type", f"must be application/json, not {kind}")])
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise InvalidInputError([("Content-Encoding", f"must be identity, not {encoding}")])


async def body_of(request: Request) -> bytes:
    """The body, within its bounds.

    Raises:
        InvalidInputError: it is no JSON, as it says itself.
        OverLimitError: it is larger than it may be.
        TooSlowError: it does not come in time.
        BusyError: the bodies of all requests are too much.
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
    """The body's JSON, decoded and as it came; an empty body is None.

    Raises:
        InvalidInputError: it is none; and the errors of `body_of`.
    """
    body = await body_of(request)
    if not body.strip():
        return None, body
    try:
        return orjson.loads(body), body
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error


def bounds_of(request: Request) -> Bounds:
    """How large strings and levels may be."""
    settings = settings_of(request)
    return Bounds(settings.max_text, settings.max_depth)


async def model_of(request: Request, model: type[M], *, ignored: frozenset[str] = frozenset()) -> tuple[M, bytes]:
    """The body as a model, and as it came; an empty body is all defaults.

    Args:
        request: the request.
        model: what the body must be.
        ignored: fields that a client may send back as it read them.

    Raises:
        InvalidInputError: it is none, or holds strings or levels beyond their limits; and the errors of `json_of`.
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
    """The id in the path.

    Raises:
        InvalidInputError: its bytes are no UTF-8.
    """
    ident = str(request.path_params["id"])
    if any("\udc80" <= character <= "\udcff" for character in ident):
        raise InvalidInputError([("id", "must be UTF-8")])
    return ident


async def ids_of(request: Request) -> list[str]:
    """The ids that a call names: the one in its path, or those in its body.

    Raises:
        InvalidInputError: the body has none of the three forms, or an id is longer than a string may be.
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
    """A number in the query.

    Raises:
        InvalidInputError: it is none, or out of its bounds.
    """
    text = request.query_params.get(name)
    if text is not None and not NUMBER.fullmatch(text):
        raise InvalidInputError([(name, f"must be a number, not {text!r}")])
    value = default if text is None else float(text)
    if not least <= value <= most:
        raise InvalidInputError([(name, f"must be {least:g} to {most:g}, not {value:g}")])
    return value


def count_of(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number in the query.

    Raises:
        InvalidInputError: it is none, or out of its bounds.
    """
    value = number_of(request, name, default, least, most)
    if value != int(value):
        raise InvalidInputError([(name, f"must be a whole number, not {value:g}")])
    return int(value)


def choice_of(request: Request, name: str, among: Sequence[str]) -> str | None:
    """One of several words in the query; None where it is left out.

    Raises:
        InvalidInputError: it is none of them.
    """
    value = request.query_params.get(name)
    if value is not None and value not in among:
        raise InvalidInputError([(name, f"must be one of {', '.join(among)}, not {value!r}")])
    return value


@contextlib.asynccontextmanager
async def watched(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """Gives a task that ends when the client goes away. The body must have been read before."""
    gone = asyncio.create_task(_gone(request), name="gone")
    try:
        yield gone
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless(gone: asyncio.Task[None], work: Coroutine[object, object, T]) -> T | None:
    """Do the work, but stop when the client goes away; then None."""
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

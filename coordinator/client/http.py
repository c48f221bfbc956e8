"""Calls to a coordinator's HTTP side: one connection pool, typed answers, and errors that say what was done."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from coordinator.api_results import Invalid, Results, Said
from coordinator.errors import (
    BrokerUnavailableError,
    CoordinatorError,
    HttpError,
    InvalidInputError,
    NoAnswerError,
    NotFoundError,
    RejectedItemError,
)
from coordinator.tls import close_unfinished, verification

PREFIX: Final = "/aspire_api/manager"
TIMEOUT: Final = 30.0
KEEP_ALIVE: Final = 2.0
"""Seconds to keep an idle connection: fewer than a server, because a call on a connection that it closes fails."""
TOKEN_VARIABLE: Final = "COORDINATOR_TOKEN"  # noqa: S105 - the name of a variable
NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
NOT_FOUND, INVALID, TOO_MANY, UNAVAILABLE = 404, 406, 429, 503

A = TypeVar("A", bound=BaseModel)


class HttpClient:
    """The base of all clients over HTTP. Use it in an `async with` block.

    Every method can raise, besides its own errors:

        InvalidInputError: the input does not validate. Nothing was done.
        NotFoundError: the coordinator does not know the id.
        HttpError: the coordinator refused the call: no valid token, a role without the right, or a limit.
        NoAnswerError: no usable answer came. The call may have been carried out; calling again is harmless.
        BrokerUnavailableError: no coordinator was reached, or it cannot work now. Nothing was done.

    Args:
        url: where the coordinator answers, such as `http://127.0.0.1:8787`.
        token: a bearer token. The default is the variable `COORDINATOR_TOKEN`, if it is set.
        timeout: seconds to wait for an answer, in addition to the wait that a call asks for.
        ca_file: certificate authorities to trust instead of the system's, for an `https:` URL.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        ca_file: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        token = token if token is not None else os.environ.get(TOKEN_VARIABLE)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=timeout,
            verify=verification(self.url, ca_file),
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE),
            trust_env=False,
            event_hooks={"request": [close_unfinished]},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        model: type[A],
        *,
        about: tuple[str, str] | None = None,
        content: object = None,
        params: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> A:
        """Call a route and read its answer.

        Args:
            method: the HTTP method.
            path: the route below the prefix.
            model: the model of the answer. A list of results by id is an answer even if an id was not found.
            about: the kind and the id that a 404 is about.
            content: the body: a JSON value, a model, or an asynchronous iterable of bytes, which is streamed.
            params: the query.
            wait: seconds that the coordinator may wait before it answers.
        """
        answer = await self._send(method, f"{PREFIX}{path}", content, params, wait)
        if answer.status_code == NOT_FOUND and not issubclass(model, Results):
            raise NotFoundError(*(about or ("route", path)))
        if not answer.is_success and answer.status_code != NOT_FOUND:
            raise _refusal(answer)
        return self._read(answer, model)

    async def text(self, path: str) -> str:
        """The text of a route outside the API, such as `/metrics`."""
        answer = await self._send("GET", path, None, None, 0.0)
        if answer.status_code == NOT_FOUND:
            raise NotFoundError("route", path)
        if not answer.is_success:
            raise _refusal(answer)
        return answer.text

    async def stream(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], silence: float
    ) -> AsyncIterator[str]:
        """The lines of an answer that does not end.

        Args:
            path: the route below the prefix.
            params: the query.
            headers: further headers.
            silence: seconds without a byte after which the coordinator counts as gone.
        """
        timeout = httpx.Timeout(self._timeout, read=silence)
        url = f"{self.url}{PREFIX}{path}"
        try:
            async with self._http.stream("GET", url, params=params, headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _refusal(answer)
                async for line in answer.aiter_lines():
                    yield line
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise self._error(error, BrokerUnavailableError) from error

    async def _send(
        self, method: str, path: str, content: object, params: Mapping[str, str] | None, wait: float
    ) -> httpx.Response:
        timeout = httpx.Timeout(self._timeout, read=self._timeout + wait)
        url = f"{self.url}{path}"
        try:
            return await self._http.request(method, url, content=_body(content), params=params, timeout=timeout)
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise self._error(error, NoAnswerError) from error

    def _error(self, error: Exception, unsure: type[BrokerUnavailableError | NoAnswerError]) -> CoordinatorError:
        """Our error for one of httpx; `unsure` if the request may have been carried out."""
        if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
            return InvalidInputError([("url", f"{self.url!r} is not valid: {error}")])
        kind = BrokerUnavailableError if isinstance(error, NOT_SENT) else unsure
        return kind(f"no coordinator answers at {self.url}: {str(error) or type(error).__name__}")

    def _read(self, answer: httpx.Response, model: type[A]) -> A:
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise NoAnswerError(f"{self.url} does not answer like a coordinator") from error


def path_of(route: str, ident: str, action: str = "") -> str:
    """The path of a route with an id in it."""
    return f"{route}/{quote(ident, safe='')}{action}"


def _body(content: object) -> bytes | AsyncIterable[bytes] | None:
    match content:
        case None | bytes():
            return content
        case BaseModel():
            return content.model_dump_json(by_alias=True, exclude_none=True).encode()
        case AsyncIterable():
            return content
        case Iterable():
            return orjson.dumps(content)
        case _:
            raise TypeError(f"{type(content).__name__} cannot be a body")


def _refusal(answer: httpx.Response) -> CoordinatorError:
    """The error for an answer that is neither a success nor a 404."""
    if answer.status_code == INVALID:
        try:
            invalid = Invalid.model_validate_json(answer.content)
        except ValidationError:
            return InvalidInputError([("request", answer.text[:200])])
        problems = [(fault.field, fault.message) for fault in invalid.errors]
        return RejectedItemError(problems, invalid.accepted) if invalid.accepted else InvalidInputError(problems)
    try:
        message = Said.model_validate_json(answer.content).message
    except ValidationError:
        message = answer.reason_phrase
    text = f"{message} ({answer.status_code})"
    if answer.status_code in {TOO_MANY, UNAVAILABLE}:
        return BrokerUnavailableError(text)
    return NoAnswerError(text) if answer.is_server_error else HttpError(text, answer.status_code)

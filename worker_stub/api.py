"""The coordinator's routes that a worker calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from coordinator.errors import BrokerUnavailableError, InvalidInputError, NotFoundError
from coordinator.models import WorkerSpec

PREFIX = "/aspire_api/manager"
TIMEOUT = 10.0
NOT_FOUND, INVALID, UNAVAILABLE = 404, 406, 503
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Answer = dict[str, Any]


class NoAnswerError(BrokerUnavailableError):
    """A request got no answer that tells: it may have been carried out or not."""


class Api:
    """A client of the shim. Its methods raise `BrokerUnavailableError` when there is no answer, or 503."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url.rstrip("/") + PREFIX, timeout=TIMEOUT, trust_env=False)

    async def close(self) -> None:
        """Give the sockets back."""
        await self._http.aclose()

    async def register(self, worker: str, spec: WorkerSpec) -> str | None:
        """Register; returns the worker's own AMQP URLs, separated by commas, None for one that speaks HTTP."""
        body = spec.model_dump_json(exclude_none=True).encode()
        answer = await self.call("PUT", f"/worker/{quote(worker, safe='')}", content=body)
        url: str | None = answer.get("amqpUrl")
        return url

    async def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> Answer:
        """Call a route and return its JSON.

        Raises:
            InvalidInputError: 406.
            NotFoundError: 404.
            NoAnswerError: the request was sent and got no answer, or one that tells nothing.
            BrokerUnavailableError: the coordinator was not reached, or answered 503: nothing was done.
        """
        try:
            answer = await self._http.request(method, path, content=content, params=params, timeout=TIMEOUT + wait)
        except httpx.HTTPError as error:
            kind = BrokerUnavailableError if isinstance(error, NOT_SENT) else NoAnswerError
            raise kind(f"the coordinator does not answer: {str(error) or type(error).__name__}") from error
        if answer.status_code == NOT_FOUND:
            raise NotFoundError("id", path)
        if answer.status_code == INVALID:
            raise InvalidInputError([(path, answer.text)])
        told = f"{method} {path}: {answer.status_code} {answer.text[:200]}"
        if answer.status_code == UNAVAILABLE:
            raise BrokerUnavailableError(told)
        if not answer.is_success:
            raise NoAnswerError(told)
        try:
            value: Answer = orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise NoAnswerError(f"{told} is not the answer of a coordinator") from error
        return value

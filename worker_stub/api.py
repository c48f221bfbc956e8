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
NOT_FOUND, INVALID = 404, 406

Answer = dict[str, Any]


class Api:
    """A client of the shim. Its methods raise `BrokerUnavailableError` when there is no answer, or 503."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url.rstrip("/") + PREFIX, timeout=TIMEOUT, trust_env=False)

    async def close(self) -> None:
        """Give the sockets back."""
        await self._http.aclose()

    async def register(self, worker: str, spec: WorkerSpec) -> str | None:
        """Register; returns the worker's own AMQP URL, None for one that speaks HTTP."""
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
            BrokerUnavailableError: 503, no answer, or any other status.
        """
        try:
            answer = await self._http.request(method, path, content=content, params=params, timeout=TIMEOUT + wait)
        except httpx.HTTPError as error:
            problem = str(error) or type(error).__name__
            raise BrokerUnavailableError(f"the coordinator does not answer: {problem}") from error
        if answer.status_code == NOT_FOUND:
            raise NotFoundError("id", path)
        if answer.status_code == INVALID:
            raise InvalidInputError([(path, answer.text)])
        if answer.is_error:
            raise BrokerUnavailableError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        value: Answer = orjson.loads(answer.content)
        return value

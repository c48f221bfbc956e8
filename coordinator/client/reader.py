"""What there is, read over HTTP: lists of seeds, workers, held batches and dead letters."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import orjson

from coordinator.errors import HttpError, NotFoundError
from coordinator.tls import verification

PREFIX: Final = "/aspire_api/manager"
PAGE: Final = 500
TIMEOUT: Final = 30.0
NOT_FOUND: Final = 404

Row = dict[str, Any]


class Reader:
    """Reads from a coordinator's HTTP side; for an `async with` block.

    Args:
        http_url: where it answers, such as `http://127.0.0.1:8787`.
        token: what it is shown, where it asks for one.
        ca_file: authorities to trust in place of the system's, where the URL is `https:`.

    Raises:
        CoordinatorError: the file of authorities is none.
        HttpError: by every method, when the coordinator refuses or does not answer.
    """

    def __init__(self, http_url: str, token: str | None = None, ca_file: Path | None = None) -> None:
        self._url = http_url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            headers=headers, timeout=TIMEOUT, trust_env=False, verify=verification(http_url, ca_file)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def seeds(self) -> list[Row]:
        """All seeds."""
        return await self._all("/seed", "seeds")

    async def workers(self) -> list[Row]:
        """All known workers."""
        return await self._all("/worker", "workers")

    async def batches(self) -> list[Row]:
        """The batches that workers hold unacked."""
        return await self._all("/batch/held", "batches")

    async def dead(self) -> list[Row]:
        """The dead letters, oldest first."""
        return await self._all("/dead", "dead")

    async def retry_dead(self, ident: str) -> None:
        """Send a dead letter again.

        Raises:
            NotFoundError: there is no such dead letter.
        """
        await self._on_dead("POST", ident, "/retry")

    async def drop_dead(self, ident: str) -> None:
        """Discard a dead letter.

        Raises:
            NotFoundError: there is no such dead letter.
        """
        await self._on_dead("DELETE", ident, "")

    async def _on_dead(self, method: str, ident: str, action: str) -> None:
        try:
            await self._call(method, f"/dead/{quote(ident, safe='')}{action}")
        except HttpError as error:
            if error.status == NOT_FOUND:
                raise NotFoundError("dead", ident) from error
            raise

    async def _all(self, path: str, key: str) -> list[Row]:
        """A whole list, page by page; it ends early where entries go away meanwhile."""
        rows: list[Row] = []
        while True:
            answer = await self._call("GET", f"{path}?offset={len(rows)}&limit={PAGE}")
            try:
                page, total = answer[key], int(answer["count"]["totalItems"])
            except (KeyError, TypeError) as error:
                raise HttpError(f"{self._url} does not answer as a coordinator does") from error
            rows += page
            if not page or len(rows) >= total:
                return rows

    async def _call(self, method: str, path: str) -> Row:
        try:
            answer = await self._http.request(method, f"{self._url}{PREFIX}{path}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise HttpError(f"no coordinator answers at {self._url}: {why}") from error
        try:
            content: object = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise HttpError(f"{self._url} does not answer as a coordinator does", answer.status_code)
        if answer.is_error:
            raise HttpError(str(content.get("message") or answer.reason_phrase), answer.status_code)
        return content

"""Producers and workers over HTTP, for places that AMQP does not reach."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

import orjson

from coordinator.api_models import Registered
from coordinator.api_results import Accepted, Fetched, FetchedBatch, Settled
from coordinator.client.http import NOT_FOUND, TIMEOUT, HttpClient, path_of
from coordinator.client.producer import each
from coordinator.models import BatchResults, Item, ItemResult, Transport, WorkerSpec
from coordinator.validation import check_worker_id

LONG_POLL: Final = 30.0
CHUNK: Final = 64 * 1024
"""Bytes of lines to send in one chunk."""


class HttpProducer(HttpClient):
    """Adds items to seeds. Arguments and errors are those of `HttpClient`."""

    async def submit(self, seed: str, items: Iterable[Item] | AsyncIterable[Item]) -> int:
        """Add items to a seed, as fast as the broker confirms them. The first item creates the seed.

        Returns:
            The number of items, all confirmed.

        Raises:
            RejectedItemError: an item does not validate; the error says how many before it were accepted.
            InvalidInputError: the first item does not validate.
        """
        path = path_of("/seed", seed, "/items")
        return (await self.call("POST", path, Accepted, content=_lines(items))).accepted


class HttpWorker(HttpProducer):
    """Fetches and settles batches, and submits discovered items. Errors are those of `HttpClient`.

    Args:
        url: where the coordinator answers.
        worker: this worker's id.
        tags: what this worker can do.
        token: see `HttpClient`.
        timeout: see `HttpClient`.
        ca_file: see `HttpClient`.
    """

    def __init__(
        self,
        url: str,
        worker: str,
        tags: Sequence[str] = (),
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        ca_file: Path | None = None,
    ) -> None:
        super().__init__(url, token=token, timeout=timeout, ca_file=ca_file)
        self.worker = check_worker_id(worker, "worker")
        self.tags = tuple(tags)
        self.is_draining = False
        """Whether the last fetch asked it to take no more. It gets no batch until it registers again."""

    async def register(self, transport: Transport = "http", callback: str | None = None) -> Registered:
        """Register. For `amqp`, only this answer holds the URL of the worker's own broker user."""
        spec = WorkerSpec(tags=self.tags, transport=transport, callback=callback)
        return await self.call("PUT", path_of("/worker", self.worker), Registered, content=spec)

    async def fetch(self, most: int = 1, wait: float = 0.0) -> list[FetchedBatch]:
        """Fetch up to `most` batches, and wait up to `wait` seconds (60 at most) for the first.

        Raises:
            NotFoundError: registration is required, and this worker is not registered.
        """
        params = {"batches": str(most), "worker": self.worker, "wait": str(wait), "tags": ",".join(self.tags)}
        about = ("worker", self.worker)
        fetched = await self.call("GET", "/batch", Fetched, params=params, wait=wait, about=about)
        self.is_draining = fetched.draining
        return fetched.batches

    async def batches(self, most: int = 1) -> AsyncIterator[FetchedBatch]:
        """Batches, one after another, without end; each fetch asks for up to `most`."""
        while True:
            for batch in await self.fetch(most, LONG_POLL):
                yield batch

    async def ack(self, *batches: FetchedBatch | str) -> list[str]:
        """Take responsibility for batches, given whole or by handle.

        Returns:
            Handles that this worker no longer holds: another worker has, or gets, those batches.
        """
        return await self._settle("/batch/ack", batches)

    async def give_back(self, *batches: FetchedBatch | str) -> list[str]:
        """Give batches back without fault. Arguments and result are those of `ack`."""
        return await self._settle("/batch/return", batches)

    async def results(self, results: BatchResults) -> None:
        """Publish the results of a batch. Call it before the ack."""
        await self.call("POST", "/results", Accepted, content=results)

    async def tell(self, batch: FetchedBatch, results: Iterable[ItemResult]) -> None:
        """Publish results of items of this batch. Call it before the ack."""
        await self.results(
            BatchResults(
                batch=batch.batch, seed=batch.seed, worker=self.worker, attempt=batch.attempt, results=tuple(results)
            )
        )

    async def _settle(self, route: str, batches: Iterable[FetchedBatch | str]) -> list[str]:
        handles = [one if isinstance(one, str) else one.id for one in batches]
        if not handles:
            return []
        settled = await self.call("POST", route, Settled, content={"id": handles})
        return [result.id for result in settled.results if result.status == NOT_FOUND]


async def _lines(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[bytes]:
    """The items as lines of JSON, in chunks."""
    chunk = bytearray()
    async for item in each(items):
        chunk += orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)

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
"""Bytes of lines that are sent at once."""


class HttpProducer(HttpClient):
    """Adds items to seeds. Arguments and errors are those of `HttpClient`."""

    async def submit(self, seed: str, items: Iterable[Item] | AsyncIterable[Item]) -> int:
        """Add items to a seed, which comes into being with its first ones; they stream at the broker's pace.

        Returns:
            How many they were, all confirmed.

        Raises:
            RejectedItemError: an item does not validate, and so many before it were taken; none: InvalidInputError.
        """
        path = path_of("/seed", seed, "/items")
        return (await self.call("POST", path, Accepted, content=_lines(items))).accepted


class HttpWorker(HttpProducer):
    """Fetches batches and settles them; what it discovers it submits. Further arguments and errors are `HttpClient`'s.

    Args:
        url: where the coordinator answers.
        worker: this worker's id.
        tags: what it can do.
        token: as of `HttpClient`.
        timeout: as of `HttpClient`.
        ca_file: as of `HttpClient`.
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
        """Whether it was asked to take no more, as the last fetch told: it gets nothing until it registers again."""

    async def register(self, transport: Transport = "http", callback: str | None = None) -> Registered:
        """Register; over `amqp` the answer holds the URL of the worker's own broker user, told this once."""
        spec = WorkerSpec(tags=self.tags, transport=transport, callback=callback)
        return await self.call("PUT", path_of("/worker", self.worker), Registered, content=spec)

    async def fetch(self, most: int = 1, wait: float = 0.0) -> list[FetchedBatch]:
        """Take up to `most` batches, waiting up to `wait` seconds (60 at most) for the first.

        Raises:
            NotFoundError: registration is required, and this worker is not registered.
        """
        params = {"batches": str(most), "worker": self.worker, "wait": str(wait), "tags": ",".join(self.tags)}
        about = ("worker", self.worker)
        fetched = await self.call("GET", "/batch", Fetched, params=params, wait=wait, about=about)
        self.is_draining = fetched.draining
        return fetched.batches

    async def batches(self, most: int = 1) -> AsyncIterator[FetchedBatch]:
        """Batches one after another, without end; `most` is how many are fetched at once."""
        while True:
            for batch in await self.fetch(most, LONG_POLL):
                yield batch

    async def ack(self, *batches: FetchedBatch | str) -> list[str]:
        """Take responsibility for batches, given whole or by handle.

        Returns:
            Handles that are no longer held: those batches are, or will be, another's.
        """
        return await self._settle("/batch/ack", batches)

    async def give_back(self, *batches: FetchedBatch | str) -> list[str]:
        """Give batches back without fault. Arguments and result are those of `ack`."""
        return await self._settle("/batch/return", batches)

    async def results(self, results: BatchResults) -> None:
        """Tell what became of a batch's items; to be done before the ack."""
        await self.call("POST", "/results", Accepted, content=results)

    async def tell(self, batch: FetchedBatch, results: Iterable[ItemResult]) -> None:
        """Tell what became of items of this batch; to be done before the ack."""
        told = tuple(results)
        await self.results(
            BatchResults(batch=batch.batch, seed=batch.seed, worker=self.worker, attempt=batch.attempt, results=told)
        )

    async def _settle(self, route: str, batches: Iterable[FetchedBatch | str]) -> list[str]:
        handles = [one if isinstance(one, str) else one.id for one in batches]
        if not handles:
            return []
        settled = await self.call("POST", route, Settled, content={"id": handles})
        return [result.id for result in settled.results if result.status == NOT_FOUND]


async def _lines(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[bytes]:
    """The items as lines of JSON, several in a chunk."""
    chunk = bytearray()
    async for item in each(items):
        chunk += orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)

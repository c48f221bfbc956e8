"""The HTTP transport: for workers that AMQP does not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
import structlog

from coordinator.api_models import SeedAnswer
from coordinator.api_results import FetchedBatch
from coordinator.backoff import pause
from coordinator.client.http import path_of
from coordinator.client.http_worker import HttpWorker
from coordinator.errors import BrokerUnavailableError, NoAnswerError, NotFoundError
from coordinator.models import Batch, BatchResults, Item, Presence
from worker_stub.job import Inbox, Job, Results
from worker_stub.worker import Identity

log = structlog.get_logger(__name__)

LONG_POLL = 10.0
FULL_PAUSE = 0.05
ASK_EVERY = 2.0


class HttpTransport:
    """Speaks HTTP. It gets no notices, so it regularly asks for the seeds that it has batches of."""

    def __init__(self, identity: Identity, api: HttpWorker) -> None:
        self._identity = identity
        self._api = api
        self._connected = asyncio.Event()
        self._taking = True

    async def run(self, inbox: Inbox) -> None:
        """Register and fetch, and start again after a failure, until cancelled."""
        failures = 0
        while True:
            problem = ""
            try:
                await self._live(inbox)
            except* (
                BrokerUnavailableError,
                NotFoundError,
            ) as errors:  # the coordinator forgot this worker: it registers again
                problem = str(errors.exceptions[0])
            failures = 0 if self._connected.is_set() else failures + 1
            self._connected.clear()
            wait = pause(failures)
            log.warning("worker.disconnected", worker=self._identity.id, problem=problem, retry_in=round(wait, 1))
            await asyncio.sleep(wait)

    async def _live(self, inbox: Inbox) -> None:
        await self._api.register()
        self._connected.set()
        log.info("worker.connected", worker=self._identity.id, tags=list(self._identity.tags))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fetch(inbox), name="fetch")
            group.create_task(self._ask(inbox), name="ask")

    async def wait_connected(self) -> None:
        """Wait until it is connected."""
        await self._connected.wait()

    async def stop_receiving(self) -> None:
        """Fetch no more; a fetch that waits gives back the batches that it gets."""
        self._taking = False

    async def ack(self, job: Job) -> None:
        """Ack a batch: the worker has taken responsibility.

        An ack without an answer may have counted, and then no other worker gets the batch. So it is sent until an
        answer comes, and a handle that is gone by then counts as acked: done twice is better than lost.
        """
        is_unsure, failures = False, 0
        while True:
            try:
                await self._settle(job, self._api.ack)
            except NoAnswerError:
                is_unsure = True
            except BrokerUnavailableError:
                if not is_unsure:
                    raise
                if job.void:
                    job.void = False
                    return
            else:
                return
            await asyncio.sleep(pause(failures))
            failures += 1

    async def reject(self, job: Job) -> None:
        """Do nothing about a batch that failed: there is no route for it, so its lease times out."""
        if job.taken:
            await self._api.submit(job.batch.seed, job.batch.load_items())

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Give back the rest. The coordinator has already taken back all unacked batches of a released seed."""
        if job.taken:
            await self._api.submit(job.batch.seed, rest.load_items())
        elif rest is job.batch:
            await self._settle(job, self._api.give_back)
        elif reason == "drain":
            await self._api.submit(job.batch.seed, rest.load_items())
            await self._settle(job, self._api.ack)

    async def results(self, results: Results) -> None:
        """Publish the results of a batch."""
        await self._api.results(BatchResults.model_validate_json(results.encode()))

    async def submit(self, seed: str, items: Sequence[Item], key: str, *, again: bool) -> None:  # noqa: ARG002 - the port's
        """Add items to a seed. Over HTTP, pages get ids from the coordinator and cannot be marked."""
        await self._api.submit(seed, items)

    async def heartbeat(self, presence: Presence) -> None:
        """Do nothing: each fetch counts as a heartbeat."""

    async def _fetch(self, inbox: Inbox) -> None:
        while True:
            room = inbox.room
            if not room or not self._taking:
                await asyncio.sleep(FULL_PAUSE)
                continue
            for one in await self._api.fetch(room, LONG_POLL):
                inbox.arrived(_job(one))
            if self._api.is_draining:
                inbox.drain()

    async def _ask(self, inbox: Inbox) -> None:
        """Ask for the seeds of the batches here, and report releases to the inbox."""
        while True:
            await asyncio.sleep(ASK_EVERY)
            for ident in inbox.seeds:
                try:
                    seed = await self._api.call("GET", path_of("/seed", ident), SeedAnswer)
                except NotFoundError:
                    continue
                inbox.released(ident, seed.epoch)

    @staticmethod
    async def _settle(job: Job, settle: Callable[[str], Awaitable[list[str]]]) -> None:
        """Settle by handle; if the handle is no longer held, another worker has the batch."""
        if await settle(str(job.receipt)):
            job.void = True
            raise BrokerUnavailableError("the batch is no longer held")


def _job(fetched: FetchedBatch) -> Job:
    batch = Batch(
        id=fetched.batch,
        seed=fetched.seed,
        epoch=fetched.epoch,
        attempt=fetched.attempt,
        tags=tuple(fetched.tags),
        created=fetched.created,
        count=len(fetched.items),
        items=orjson.dumps(fetched.items),
    )
    return Job(batch, fetched.id, redelivered=batch.attempt > 1 or fetched.redelivered)

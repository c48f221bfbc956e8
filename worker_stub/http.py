"""The HTTP transport: the same worker for places that AMQP does not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

import orjson
import structlog

from coordinator.errors import BrokerUnavailableError, NotFoundError
from coordinator.models import Batch, BatchResults, Item, Presence, WorkerSpec, decode_batch
from coordinator.retry import pause
from worker_stub.api import Answer, Api, NoAnswerError
from worker_stub.jobs import Inbox, Job
from worker_stub.worker import Identity

log = structlog.get_logger(__name__)

LONG_POLL = 10.0
FULL_PAUSE = 0.05
ASK_EVERY = 2.0


class HttpTransport:
    """Speaks HTTP. Nobody can call it, so it asks now and again what became of the seeds it has batches of."""

    def __init__(self, identity: Identity, api: Api) -> None:
        self._identity = identity
        self._api = api
        self._connected = asyncio.Event()
        self._taking = True

    async def run(self, inbox: Inbox) -> None:
        """Register and fetch, and begin anew after a failure, until cancelled."""
        failures = 0
        while True:
            problem = ""
            try:
                await self._live(inbox)
            except* (BrokerUnavailableError, NotFoundError) as errors:  # not found: this worker, and it registers anew
                problem = str(errors.exceptions[0])
            failures = 0 if self._connected.is_set() else failures + 1
            self._connected.clear()
            wait = pause(failures)
            log.warning("worker.disconnected", worker=self._identity.id, problem=problem, retry_in=round(wait, 1))
            await asyncio.sleep(wait)

    async def _live(self, inbox: Inbox) -> None:
        await self._api.register(self._identity.id, WorkerSpec(tags=self._identity.tags, transport="http"))
        self._connected.set()
        log.info("worker.connected", worker=self._identity.id, tags=list(self._identity.tags))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fetch(inbox), name="fetch")
            group.create_task(self._ask(inbox), name="ask")

    async def wait_connected(self) -> None:
        """Wait until it can speak."""
        await self._connected.wait()

    async def stop_taking(self) -> None:
        """Fetch no more; a call that waits gives its batches back when they come."""
        self._taking = False

    async def ack(self, job: Job) -> None:
        """The worker has taken responsibility.

        An ack without an answer may have counted, and then nobody else has the batch. So it is sent until an answer
        comes, and a handle that is gone by then counts as acked: done twice is better than lost.
        """
        is_unsure, failures = False, 0
        while True:
            try:
                await self._settle(job, "/batch/ack")
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
        """The batch failed here. There is no route to say so: a batch held is left to its time-out."""
        if job.taken:
            await self.submit(job.batch.seed, job.batch.load_items(), job.batch.id)

    async def give_back(self, job: Job, rest: Batch, reason: str) -> None:
        """Give back what is left. Of a released seed the coordinator has taken back all that is unacked by itself."""
        if job.taken:
            await self.submit(job.batch.seed, rest.load_items(), rest.id)
        elif rest is job.batch:
            await self._settle(job, "/batch/return")
        elif reason == "drain":
            await self.submit(job.batch.seed, rest.load_items(), rest.id)
            await self._settle(job, "/batch/ack")

    async def results(self, results: BatchResults) -> None:
        """Tell what became of a batch."""
        await self._api.call("POST", "/results", content=results.model_dump_json(exclude_none=True).encode())

    async def submit(self, seed: str, items: Sequence[Item], key: str) -> None:  # noqa: ARG002 - the shim names pages
        """Add items to a seed."""
        body = b"\n".join(orjson.dumps(item) for item in items)
        await self._api.call("POST", f"/seed/{quote(seed, safe='')}/items", content=body)

    async def say(self, presence: Presence) -> None:
        """Nothing: each fetch is a sign of life."""

    async def _fetch(self, inbox: Inbox) -> None:
        while True:
            room = inbox.room
            if not room or not self._taking:
                await asyncio.sleep(FULL_PAUSE)
                continue
            answer = await self._api.call(
                "GET",
                "/batch",
                params={
                    "tags": ",".join(self._identity.tags),
                    "batches": str(room),
                    "worker": self._identity.id,
                    "wait": str(LONG_POLL),
                },
                wait=LONG_POLL,
            )
            for one in answer["batches"]:
                inbox.arrived(_job(one))

    async def _ask(self, inbox: Inbox) -> None:
        """Learn of releases."""
        while True:
            await asyncio.sleep(ASK_EVERY)
            for ident in inbox.seeds:
                try:
                    seed = await self._api.call("GET", f"/seed/{quote(ident, safe='')}")
                except NotFoundError:
                    continue
                inbox.released(ident, int(seed["epoch"]))

    async def _settle(self, job: Job, route: str) -> None:
        """Settle by handle; one that is no longer held means that another has the batch."""
        try:
            await self._api.call("POST", route, content=orjson.dumps({"id": job.receipt}))
        except NotFoundError as error:
            job.void = True
            raise BrokerUnavailableError("the batch is no longer held") from error


def _job(answer: Answer) -> Job:
    handle, ident = answer["id"], answer["batch"]
    batch = decode_batch(orjson.dumps({**answer, "id": ident}))
    return Job(batch, handle, redelivered=batch.attempt > 1 or answer.get("redelivered") is True)

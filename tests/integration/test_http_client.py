"""The clients over HTTP: what they send, what they answer, and what their errors tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from coordinator.api_models import SeedAnswer
from coordinator.client import HttpManager, HttpProducer, HttpWorker, Reader
from coordinator.errors import (
    BrokerUnavailableError,
    HttpError,
    InvalidInputError,
    NoAnswerError,
    NotFoundError,
    RejectedItemError,
)
from coordinator.models import Item, ItemResult, SeedSpec, WorkerSpec
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.steps import until
from tests.helpers.support import DEADLINE, eventually, serving
from tests.helpers.workers import told

HOSTILE = "a/b+c= ü"


def made(count: int) -> list[Item]:
    """So many items."""
    return [{"id": f"i{number}"} for number in range(count)]


@pytest.fixture
async def url(node: Coordinator) -> AsyncIterator[str]:
    """A coordinator's HTTP side."""
    async with serving(node) as base:
        yield base


async def test_a_worker_in_a_few_lines(url: str, settings: Settings) -> None:
    """What is submitted is fetched, told of and acked; what a batch discovers is the next one."""
    seen: list[str] = []
    async with told(settings) as results, HttpProducer(url) as producer, HttpWorker(url, "w1") as worker:
        assert await producer.submit(HOSTILE, made(30)) == 30
        async with asyncio.timeout(DEADLINE):
            async for batch in worker.batches():
                if "i0" in {item["id"] for item in batch.items}:
                    await worker.submit(batch.seed, [{"id": "found"}])
                await worker.tell(batch, [ItemResult(id=item["id"], status="ok") for item in batch.items])
                assert await worker.ack(batch) == []
                seen += [item["id"] for item in batch.items]
                if len(seen) == 31:
                    break
        await eventually(lambda: results.items.total() == 31, "the results")
    assert sorted(seen) == sorted(["found", *(f"i{number}" for number in range(30))])


async def test_handles_that_are_gone_are_told(url: str) -> None:
    """A batch given back comes again without fault; its first handle is no longer held, nor one that never was."""
    async with HttpWorker(url, "w1") as worker:
        await worker.submit("s", made(3))
        first = (await worker.fetch(wait=DEADLINE))[0]
        assert await worker.give_back(first) == []
        again = (await worker.fetch(wait=DEADLINE))[0]
        assert (again.batch, again.attempt, again.items) == (first.batch, 1, first.items)
        assert await worker.ack(first, "never", again) == [first.id, "never"]
        assert await worker.ack() == []


async def test_a_managers_day(url: str) -> None:
    """Policies, release, resume, purge, registration: each answer is typed, and unknown ids are told one by one."""
    spec = SeedSpec.model_validate({"priority": "high", "policies": [{"type": "route", "routeTo": "x"}]})
    async with HttpManager(url) as manager:
        assert (await manager.set_seed(HOSTILE, spec)).policies == list(spec.policies)
        released = await manager.release_seeds([HOSTILE, "never"])
        assert [(one.id, one.status) for one in released.results] == [(HOSTILE, 200), ("never", 404)]
        assert released.results[0].epoch == 2
        assert (await manager.seed(HOSTILE)).state == "released"
        assert [one.status for one in (await manager.resume_seeds([HOSTILE])).results] == [200]
        assert [one.status for one in (await manager.purge_seed(HOSTILE)).results] == [200]
        registered = await manager.register_worker("w1", WorkerSpec(tags=("x",), transport="http"))
        assert (registered.tags, registered.amqp_url) == (["x"], None)
        assert [one.status for one in (await manager.release_workers(["w1", "w2"])).results] == [200, 404]
        assert [worker.id for worker in await manager.workers()] == ["w1"]
        await manager.remove_worker("w1")
        for gone in (manager.worker("w1"), manager.seed(HOSTILE), manager.remove_worker("w1"), manager.drop_dead("d")):
            with pytest.raises(NotFoundError, match="is not known"):
                await gone


async def test_input_that_does_not_validate(url: str) -> None:
    """What is wrong is named by its field; of items that stream, those before the wrong one are counted."""
    wrong = [*made(250), Item(id="")]
    async with HttpProducer(url) as producer, Reader(url) as reader:
        with pytest.raises(InvalidInputError) as caught:
            await producer.submit("x" * 201, made(1))
        assert [field for field, _ in caught.value.problems] == ["id"]
        with pytest.raises(RejectedItemError) as rejected:
            await producer.submit("s", wrong)
        assert rejected.value.accepted == 250
        assert "line 251" in str(rejected.value)
        seeds: list[SeedAnswer] = []

        async def look() -> None:
            seeds.append(await reader.seed("s"))

        # Items are counted a moment after they are confirmed.
        await until(look, lambda: seeds[-1].counts.available + seeds[-1].counts.queued == 250, "all 250")


async def test_items_may_stream(url: str) -> None:
    """Items of an asynchronous iterator are sent as they come."""

    async def stream() -> AsyncIterator[Item]:
        for item in made(5000):
            yield item

    async with HttpProducer(url) as producer:
        assert await producer.submit("s", stream()) == 5000


@contextlib.asynccontextmanager
async def answering(status: int, body: str, seen: list[str]) -> AsyncIterator[str]:
    """A server that answers everything so; it notes the credentials that come."""

    async def answer(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return PlainTextResponse(body, status)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, "the server")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "not JSON", NoAnswerError),
        (200, '{"seeds": []}', NoAnswerError),
        (401, '{"message": "no valid token"}', HttpError),
        (413, "too large", HttpError),
        (406, "not JSON", InvalidInputError),
        (404, "not JSON", NotFoundError),
        (429, '{"message": "later"}', BrokerUnavailableError),
        (500, '{"message": "a fault"}', NoAnswerError),
        (503, '{"message": "away"}', BrokerUnavailableError),
    ],
)
async def test_what_an_answer_means(status: int, body: str, kind: type[Exception]) -> None:
    """Each status is an error of its own kind; only where something may have been done it is `NoAnswerError`."""
    async with answering(status, body, []) as base, Reader(base) as reader:
        with pytest.raises(kind) as caught:
            await reader.seeds()
    assert type(caught.value) is kind
    if isinstance(caught.value, HttpError):
        assert caught.value.status == status


async def test_nobody_answers(unused_tcp_port: int) -> None:
    """A coordinator that is not there has done nothing; an URL that is none is the caller's fault."""
    async with Reader(f"http://127.0.0.1:{unused_tcp_port}") as reader:
        with pytest.raises(BrokerUnavailableError, match="no coordinator answers at") as caught:
            await reader.seeds()
        assert not isinstance(caught.value, NoAnswerError)
    for wrong in ("http://host:port", "localhost:8787", "ftp://host"):
        async with Reader(wrong) as reader:
            with pytest.raises(InvalidInputError, match="url"):
                await reader.seeds()


async def test_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is sent with each call: the one that is given, or that of the environment."""
    seen: list[str] = []
    async with answering(200, '{"seeds": [], "count": {"totalItems": 0}}', seen) as base:
        monkeypatch.delenv("COORDINATOR_TOKEN", raising=False)
        async with Reader(base) as reader:
            await reader.seeds()
        monkeypatch.setenv("COORDINATOR_TOKEN", "of-the-environment")
        async with Reader(base) as reader:
            await reader.seeds()
        async with Reader(base, token="given") as reader:  # noqa: S106 - a test's
            await reader.seeds()
    assert seen == ["", "Bearer of-the-environment", "Bearer given"]


async def test_a_held_batch_is_listed(url: str) -> None:
    """Who holds what, as types."""
    async with HttpWorker(url, "w1") as worker, Reader(url) as reader:
        await worker.submit("s", made(3))
        batch = (await worker.fetch(wait=DEADLINE))[0]
        held = await reader.batches()
        assert [(one.worker, one.batch, one.count) for one in held] == [("w1", batch.batch, 3)]


async def test_a_client_without_a_block_may_be_closed(url: str) -> None:
    """`close` gives the sockets back, and no further call is made."""
    reader = Reader(url)
    assert await reader.seeds() == []
    await reader.close()
    with pytest.raises(RuntimeError):
        await reader.seeds()

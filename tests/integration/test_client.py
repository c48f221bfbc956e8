"""Producer, manager and reader against a real broker and a running coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, cast

import httpx
import pytest

from coordinator.broker.connection import Connection
from coordinator.broker.types import Message
from coordinator.client import HttpManager, Manager, Producer, Reader
from coordinator.client.producer import PAGE_BYTES
from coordinator.errors import InvalidInputError, NoReplyError, QueueMissingError, RejectedItemError
from coordinator.models import Item
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.support import Drain, StockWorker, eventually, items, running_coordinator, serving


def made(count: int) -> Iterator[Item]:
    """So many items."""
    return cast("Iterator[Item]", iter(items(count)))


async def later(count: int) -> AsyncIterator[Item]:
    """So many items, from a source that lets others run in between."""
    for item in made(count):
        await asyncio.sleep(0)
        yield item


async def known(node: Coordinator, seed: str) -> None:
    """Wait until a coordinator has heard of a seed: its first items are confirmed a moment before."""
    await eventually(lambda: seed in node.session.registry.state.seeds, f"seed {seed!r}")


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("source", [made, later])
async def test_what_is_submitted_arrives(settings: Settings, source: Any) -> None:  # noqa: ANN401 - either function
    """All items of an iterable, asynchronous or not, reach the workers, once; each page is told when confirmed."""
    drain = await Drain.begin(settings)
    told: list[int] = []
    async with Producer(settings.amqp_urls()) as producer:
        assert await producer.submit("AAABcID5GBc=", source(12_345), told.append) == 12_345
    assert sum(told) == 12_345
    assert max(told) == 100
    await eventually(lambda: len(drain.items("AAABcID5GBc=")) >= 12_345, "12,345 items")
    assert sorted(drain.items()) == sorted(item["id"] for item in made(12_345))
    await drain.close()


@pytest.mark.usefixtures("node")
async def test_large_items_make_small_pages(settings: Settings) -> None:
    """Pages stay below a megabyte, whatever the items' size; the largest item alone is a page."""
    drain = await Drain.begin(settings)
    told: list[int] = []
    large = [{"id": str(n), "metadata": {"text": ["x" * 60_000] * 5}} for n in range(10)]
    async with Producer(settings.amqp_urls()) as producer:
        assert await producer.submit("large", cast("list[Item]", large), told.append) == 10
    assert told == [3, 3, 3, 1]
    await eventually(lambda: len(drain.items()) == 10, "10 items")
    await drain.close()


@pytest.mark.usefixtures("node")
async def test_a_line_is_passed_on_as_it_is_written(settings: Settings) -> None:
    """Numbers that JSON libraries would round survive, and blank lines do not count."""
    worker = await StockWorker.consume(settings)
    async with Producer(settings.amqp_urls()) as producer:
        line = b'{"id": "a", "n": 123456789012345678901234567890, "x": 1.50}'
        assert await producer.submit_lines("s", [line + b"\r\n", b"\n", b""]) == 1
    await eventually(lambda: worker.deliveries, "a batch")
    assert line in worker.deliveries[0].body
    await worker.close()


def shown(value: object) -> str:
    """A name for a case."""
    return repr(value)[:20]


BAD = [
    (b'{"id": ""}', "line 151, id"),
    (b'{"id": "a\\u0000"}', "line 151, id"),
    (b'{"id": "a", "x": "\\u0000"}', "line 151"),
    (b'{"id": "a"}, {"id": "b"}', "line 151"),
    (b'[{"id": "a"}]', "line 151"),
    (b'{"id": "a", "x": [1', "line 151"),
    (b'{"id": "' + b"x" * PAGE_BYTES + b'"}', "line 151"),
]


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(("line", "place"), BAD)
async def test_a_bad_line_is_named(settings: Settings, line: bytes, place: str) -> None:
    """A line that is no item is told with its place; all before it arrive, and nothing after it."""
    drain = await Drain.begin(settings)
    good = [b'{"id": "%d"}' % number for number in range(150)]
    async with Producer(settings.amqp_urls()) as producer:
        with pytest.raises(RejectedItemError) as caught:
            await producer.submit_lines("s", [*good, line, b'{"id": "after"}'])
        assert caught.value.accepted == 150
        assert caught.value.problems[0][0] == place
        assert await producer.submit("s", cast("list[Item]", [{"id": "next"}])) == 1
    await eventually(lambda: "next" in drain.items(), "the item that was submitted next")
    await eventually(lambda: len(drain.items()) >= 151, "the items before the bad one")
    assert sorted(drain.items()) == sorted([*map(str, range(150)), "next"])
    await drain.close()


async def one_by_one(entries: list[Item]) -> AsyncIterator[Item]:
    """The same as a source that is awaited."""
    for entry in entries:
        yield entry


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("source", [list, one_by_one])
@pytest.mark.parametrize("bad", [{"id": ""}, {"id": {1, 2}}, "text", None, [], {"id": "x" * PAGE_BYTES}], ids=shown)
async def test_a_bad_item_is_named(
    settings: Settings, source: Callable[[list[Item]], Iterable[Item] | AsyncIterable[Item]], bad: object
) -> None:
    """What is no item is told with its place, however many came before; those arrive, and nothing after it."""
    drain = await Drain.begin(settings)
    entries = [*({"id": str(number)} for number in range(150)), bad, {"id": "after"}]
    async with Producer(settings.amqp_urls()) as producer:
        with pytest.raises(RejectedItemError) as caught:
            await producer.submit("s", source(cast("list[Item]", entries)))
        assert caught.value.accepted == 150
        assert caught.value.problems[0][0].startswith("item 151")
    await eventually(lambda: len(drain.items()) >= 150, "the items before the bad one")
    assert sorted(drain.items()) == sorted(map(str, range(150)))
    await drain.close()


@pytest.mark.usefixtures("node")
async def test_what_is_no_json_is_refused(settings: Settings) -> None:
    """An object that JSON cannot hold, and a seed id that is none, are refused in the project's own words."""
    async with Producer(settings.amqp_urls()) as producer:
        with pytest.raises(RejectedItemError, match="item 1"):
            await producer.submit("s", cast("list[Item]", [{"id": {1, 2}}]))
        with pytest.raises(InvalidInputError, match="seed"):
            await producer.submit("", made(1))


async def test_without_any_coordinator_nothing_is_taken(settings: Settings) -> None:
    """On a broker that no coordinator has prepared, the error says so."""
    async with Producer(settings.amqp_urls()) as producer:
        with pytest.raises(QueueMissingError, match="no coordinator"):
            await producer.submit("s", made(1))
    async with Manager(settings.amqp_urls()) as manager:
        with pytest.raises(QueueMissingError, match="no coordinator"):
            await manager.release_seeds(["s"])


@pytest.mark.usefixtures("node")
async def test_commands_are_carried_out_and_answered(settings: Settings, node: Coordinator) -> None:
    """Each id is answered for in the order given, the unknown ones with 404, and what is known is carried out."""
    async with Producer(settings.amqp_urls()) as producer, Manager(settings.amqp_urls()) as manager:
        await producer.submit("a/b+c=", made(10))
        await known(node, "a/b+c=")
        released = await manager.release_seeds(["nobody", "a/b+c="])
        assert released.status == 404
        assert [(result["id"], result["status"]) for result in released.results] == [("nobody", 404), ("a/b+c=", 200)]
        worker = await StockWorker.consume(settings, name="worker:w1")
        resumed = await manager.resume_seeds(["a/b+c="])
        assert (resumed.status, len(resumed.results)) == (200, 1)
        await eventually(lambda: worker.deliveries, "the released items")
        await eventually(lambda: node.session.workers.is_known("w1"), "the worker")
        assert (await manager.release_workers(["w1"])).status == 200
        await asyncio.wait_for(worker.connection.closed.wait(), 20)
        purged = await manager.purge_seeds(["a/b+c="])
        assert purged.status == 200
        assert (await manager.release_seeds(["a/b+c="])).status == 404


@pytest.mark.usefixtures("node")
async def test_commands_do_not_wait_for_each_other(settings: Settings) -> None:
    """Replies find their commands when many are under way."""
    async with Manager(settings.amqp_urls()) as manager:
        replies = await asyncio.gather(*(manager.release_seeds([f"s{number}"]) for number in range(50)))
    assert [reply.results[0]["id"] for reply in replies] == [f"s{number}" for number in range(50)]


async def test_a_bad_id_is_refused_before_it_is_sent(settings: Settings) -> None:
    """What is no id is refused with its field's name."""
    async with Manager(settings.amqp_urls()) as manager:
        with pytest.raises(InvalidInputError, match="id: must"):
            await manager.release_workers(["w1", "a b"])
        with pytest.raises(InvalidInputError, match="id: must"):
            await manager.purge_seeds(["a\nb"])


async def test_a_command_without_reply_is_carried_out_later(settings: Settings) -> None:
    """With every coordinator down the deadline passes with a clear error, and the command is done once one is back."""
    async with running_coordinator(settings) as node, Producer(settings.amqp_urls()) as producer:
        await producer.submit("s", made(1))
        await known(node, "s")
    async with Manager(settings.amqp_urls(), timeout=0.2) as manager:
        with pytest.raises(NoReplyError, match="stays queued"):
            await manager.release_seeds(["s"])
    async with running_coordinator(settings) as node:
        await eventually(lambda: node.session.registry.state.seeds["s"].state == "released", "the release")


@pytest.mark.usefixtures("node")
async def test_lists_are_read_whole(settings: Settings, node: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of more than a page is read to its end, each entry once."""
    monkeypatch.setattr("coordinator.client.reader.PAGE", 2)
    seeds = [f"s{number}" for number in range(5)]
    async with Producer(settings.amqp_urls()) as producer:
        for seed in seeds:
            await producer.submit(seed, made(1))
    await eventually(lambda: len(node.session.registry.state.seeds) == 5, "5 seeds")
    async with serving(node) as url, Reader(url) as reader:
        assert [row.id for row in await reader.seeds()] == seeds
        assert [await reader.workers(), await reader.batches(), await reader.dead()] == [[], [], []]


@pytest.mark.usefixtures("node")
async def test_dead_letters_are_settled_by_id(settings: Settings, api: httpx.AsyncClient) -> None:
    """A dead letter is listed, and gone once it is dropped."""
    async with HttpManager(str(api.base_url).partition("/aspire")[0]) as reader:
        async with Producer(settings.amqp_urls()) as producer:
            await producer.submit("s", made(1))
        await bury_page(settings)
        async with asyncio.timeout(20):
            while not (letters := await reader.dead()):
                pass
        await reader.drop_dead(letters[0].id)
        assert await reader.dead() == []


async def bury_page(settings: Settings) -> None:
    """Send a page that is malformed."""
    connection = await Connection.open(settings.amqp_urls(), "stranger")
    await (await connection.channel()).publish("items", "s", Message(b"no JSON"), mandatory=True)
    await connection.close()

"""Questions between replicas: answers, errors, other versions, and replicas that are gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from coordinator.node.replicas import rpc as rpc_module
from coordinator.node.replicas.messages import VERSION, Empty, OneSeed, OneWorker, ReleasedLeases, SeedItems, Settled
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import BATCH_SETTLED, SEED_FOUND, WORK_RESUME, WORKER_RELEASE
from tests.unit.node.replicas.bus import Bus

SOON = 5.0


@contextlib.asynccontextmanager
async def pair(bus: Bus) -> AsyncIterator[tuple[Rpc, Rpc]]:
    """Run two replicas that know each other."""
    one, two = await bus.rpc("one"), await bus.rpc("two")
    one.peers, two.peers = lambda: ["two"], lambda: ["one"]
    tasks = [asyncio.create_task(one.run()), asyncio.create_task(two.run())]
    try:
        async with asyncio.timeout(SOON):
            yield one, two
        assert not any(task.done() for task in tasks), "nothing that was asked may end a replica"
    finally:
        for task in tasks:
            task.cancel()


async def found(question: OneSeed) -> SeedItems:
    """Answer with some items."""
    return SeedItems(items=3, batches=(question.seed,))


async def test_a_question_is_answered() -> None:
    """The answer is the model that the topic names, by instance."""
    async with pair(Bus()) as (one, two):
        two.answer(SEED_FOUND, found)
        answers = await one.ask(SEED_FOUND, OneSeed(seed="s"))
        assert (answers.given, answers.missing) == ({"two": SeedItems(items=3, batches=("s",))}, ())


async def test_an_exception_is_answered_as_an_error_and_ends_nothing() -> None:
    """The asker counts the replica as missing at once, the log has the traceback, and the next question is answered."""

    async def fail(_: OneWorker) -> ReleasedLeases:
        raise RuntimeError("broken inside")

    async with pair(Bus()) as (one, two):
        two.answer(WORKER_RELEASE, fail)
        two.answer(SEED_FOUND, found)
        with capture_logs() as logs:
            answers = await one.ask(WORKER_RELEASE, OneWorker(worker="w"))
        assert (answers.given, answers.missing) == ({}, ("two",))
        [failed] = [entry for entry in logs if entry["event"] == "replica.answer_failed"]
        assert (failed["about"], failed["exc_info"]) == ("worker.release", True)
        [answered] = [entry for entry in logs if entry["event"] == "replica.failed"]
        assert answered["problem"] == "RuntimeError: broken inside"
        assert (await one.ask(SEED_FOUND, OneSeed(seed="s"))).given


async def test_a_question_that_cannot_be_read_is_answered_as_an_error() -> None:
    """A question without its subject has no answer."""
    bus = Bus()
    async with pair(bus) as (_, two):
        two.answer(SEED_FOUND, found)
        bus.send("two", type="question", sender="one", id="q", about="recall.met", body={})
        await until_sent(bus, "error", "q")


async def test_a_question_that_nothing_answers_is_an_error() -> None:
    """A later version may ask what this one does not know: an empty answer would read as an answer."""
    async with pair(Bus()) as (one, _):
        assert (await one.ask(WORK_RESUME, Empty())).missing == ("two",)


async def test_a_question_of_an_unknown_version_with_unknown_fields_is_answered() -> None:
    """What is known of it is read, the rest is ignored."""
    bus = Bus()
    async with pair(bus) as (_, two):
        two.answer(SEED_FOUND, found)
        body = {"seed": "s", "depth": {"of": "a later version"}}
        bus.send("two", type="question", version=99, sender="one", id="q", about="recall.met", body=body, hops=2)
        answer = await until_sent(bus, "answer", "q")
        assert answer["body"]["batches"] == ["s"]
        assert answer["version"] == VERSION


async def test_a_message_of_an_unknown_type_is_left_alone() -> None:
    """It is logged, acked and ends nothing; so is what is no message at all."""
    bus = Bus()
    async with pair(bus) as (one, two):
        two.answer(SEED_FOUND, found)
        with capture_logs() as logs:
            bus.send("two", type="wave", version=99, sender="one")
            bus.deliver("", "coordinator.two", b"[]")
        assert [entry["event"] for entry in logs] == ["replica.unreadable", "replica.unreadable"]
        assert (await one.ask(SEED_FOUND, OneSeed(seed="s"))).given


async def test_an_answer_of_the_version_before_is_read() -> None:
    """It has no version, and leaves out what it does not know."""
    bus = Bus()
    async with pair(bus) as (one, _):
        asking = asyncio.create_task(one.ask(SEED_FOUND, OneSeed(seed="s"), ["old"]))
        bus.consumers["coordinator.old"] = lambda _: None
        question = await until_sent(bus, "question")
        bus.send("one", type="answer", sender="old", id=question["id"], about="", body={"items": 2, "batches": []})
        assert (await asking).given == {"old": SeedItems(items=2)}


async def test_an_answer_that_cannot_be_read_is_missing() -> None:
    """So the asker does what it does for a replica that does not answer."""
    bus = Bus()
    async with pair(bus) as (one, _):
        bus.consumers["coordinator.old"] = lambda _: None
        asking = asyncio.create_task(one.ask(SEED_FOUND, OneSeed(seed="s"), ["old"]))
        question = await until_sent(bus, "question")
        bus.send("one", type="answer", sender="old", id=question["id"], body={"items": "many"})
        assert (await asking).missing == ("old",)


async def test_a_replica_that_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than an answer may take."""
    monkeypatch.setattr(rpc_module, "ANSWER", 0.05)
    bus = Bus()
    async with pair(bus) as (one, _):
        bus.consumers["coordinator.hung"] = lambda _: None
        assert (await one.ask(SEED_FOUND, OneSeed(seed="s"), ["hung"])).missing == ("hung",)


async def test_a_replica_that_is_gone_is_not_missing() -> None:
    """Its queue ended with its connection, so it holds nothing; the membership hears of it."""
    gone: list[str] = []
    async with pair(Bus()) as (one, _):
        one.on_gone = gone.append
        answers = await one.ask(SEED_FOUND, OneSeed(seed="s"), ["ended"])
        assert (answers.given, answers.missing, gone) == ({}, (), ["ended"])


async def test_a_notice_that_fails_ends_nothing() -> None:
    """It is logged with its traceback, and the next one is passed on."""
    passed: list[str] = []

    def listener(settled: Settled) -> None:
        if not settled.taken:
            raise RuntimeError("broken inside")
        passed.append(settled.publication)

    async with pair(Bus()) as (one, two):
        two.answer(SEED_FOUND, found)
        two.listen(BATCH_SETTLED, listener)
        with capture_logs() as logs:
            await one.notify(BATCH_SETTLED, Settled(publication="p"))
            await one.notify(BATCH_SETTLED, Settled(publication="q", taken=True))
            await one.ask(SEED_FOUND, OneSeed(seed="s"))
        assert passed == ["q"]
        assert [entry["event"] for entry in logs] == ["replica.notice_failed"]


async def until_sent(bus: Bus, kind: str, ident: str | None = None) -> dict[str, Any]:
    """Return the first message of this type, once it is sent."""
    while True:
        bus.news.clear()
        for message in bus.sent:
            if message["type"] == kind and ident in {None, message["id"]}:
                return message
        await bus.news.wait()

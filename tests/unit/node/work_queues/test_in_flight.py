"""What is in flight is counted once: by queue, by seed, by consumer, by publication and in all."""

from __future__ import annotations

import asyncio

import pytest

from coordinator.node.work_queues import in_flight
from coordinator.node.work_queues.in_flight import InFlight
from tests.helpers.support import eventually


def test_a_planned_batch_counts_against_its_queue_until_it_ends() -> None:
    """What `begin` raises, `end` lowers, in every count."""
    flights, consumer = InFlight(), object()
    one, two = flights.begin("s", "q", consumer), flights.begin("s", "q", consumer)
    assert (len(flights), flights.planned, flights.in_queue("q"), flights.begun("q")) == (2, 2, 2, 2)
    assert one.publication != two.publication
    assert flights.consumers() == {consumer}
    flights.end(one)
    assert (len(flights), flights.planned, flights.in_queue("q"), flights.begun("q")) == (1, 1, 1, 2)
    flights.end(two)
    assert (len(flights), flights.planned, flights.in_queue("q"), flights.begun("q")) == (0, 0, 0, 2)
    assert not flights.consumers()


def test_a_batch_that_dispatch_did_not_plan_counts_in_all_and_for_its_seed_alone() -> None:
    """A batch published again uses no room and is not part of dispatch's limit."""
    flights = InFlight()
    flights.begin("s", "q")
    assert (len(flights), flights.planned, flights.in_queue("q"), flights.begun("q")) == (1, 0, 0, 0)
    assert not flights.consumers()


async def test_a_release_waits_until_no_batch_of_its_seed_is_in_flight() -> None:
    """A seed is idle once all its batches ended, those that began meanwhile too."""
    flights = InFlight()
    one, two, other = flights.begin("s", "q"), flights.begin("s", "q", object()), flights.begin("t", "q")
    waiting = asyncio.create_task(flights.seed_is_idle("s"))
    await eventually(lambda: one.over is not None and two.over is not None, "it waits for both")
    assert other.over is None
    flights.end(one)
    late = flights.begin("s", "q")
    flights.end(two)
    await eventually(lambda: late.over is not None, "it waits for the one that began meanwhile")
    assert not waiting.done()
    flights.end(late)
    await waiting
    await flights.seed_is_idle("s")  # nothing to wait for


async def test_a_consumer_is_idle_once_its_own_batches_have_ended() -> None:
    """The batches of another consumer of the same seed do not count."""
    flights, mine = InFlight(), object()
    one, _ = flights.begin("s", "q", mine), flights.begin("s", "q", object())
    waiting = asyncio.create_task(flights.consumer_is_idle(mine))
    await eventually(lambda: one.over is not None, "it waits")
    flights.end(one)
    await waiting


async def test_a_waiter_that_is_cancelled_takes_nothing_from_the_others() -> None:
    """Several may wait for one batch, and one of them may give up."""
    flights = InFlight()
    one = flights.begin("s", "q")
    first, second = asyncio.create_task(flights.seed_is_idle("s")), asyncio.create_task(flights.seed_is_idle("s"))
    await eventually(lambda: one.over is not None, "both wait")
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    flights.end(one)
    await second


async def test_a_publication_is_waited_for_until_it_is_confirmed_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wait for a confirm ends with it, or after a while."""
    flights = InFlight()
    await flights.confirmed("unknown")
    one = flights.begin("s", "q")
    waiting = asyncio.create_task(flights.confirmed(one.publication))
    await eventually(lambda: one.over is not None, "it waits")
    flights.end(one)
    await waiting
    monkeypatch.setattr(in_flight, "CONFIRM_LAG", 0.01)
    await flights.confirmed(flights.begin("s", "q").publication)

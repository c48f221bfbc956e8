"""The account of what is published and not confirmed, delivered and not settled."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.broker.confirms import Confirms, Unsettled
from coordinator.errors import BrokerUnavailableError, QueueFullError, UnroutableError


async def test_answers_for_one_and_for_many() -> None:
    """A confirm may stand for all before it; a refusal fails what it stands for."""
    confirms = Confirms()
    futures = [confirms.add(None, 0.0) for _ in range(4)]
    confirms.answered(2, multiple=True, good=True)
    confirms.answered(4, multiple=False, good=False)
    assert [future.done() for future in futures] == [True, True, False, True]
    with pytest.raises(QueueFullError):
        await futures[3]
    confirms.fail(BrokerUnavailableError("gone"))
    with pytest.raises(BrokerUnavailableError):
        await futures[2]
    assert not confirms.is_waited_for


async def test_what_comes_back_fails_though_it_is_confirmed() -> None:
    """Of two alike, each return fails one; the confirms that follow change nothing."""
    confirms = Confirms()
    address = ("", "q", "m")
    first, second, other = (confirms.add(one, 0.0) for one in (address, address, ("", "q", "n")))
    confirms.returned(address)
    confirms.returned(address)
    confirms.answered(3, multiple=True, good=True)
    assert isinstance(first.exception(), UnroutableError)
    assert isinstance(second.exception(), UnroutableError)
    assert other.exception() is None


async def test_what_is_late_is_given_up_unless_the_broker_blocks() -> None:
    """Only what has waited since before a moment is late, and patience lets all wait from then on."""
    confirms = Confirms()
    old, new = confirms.add(None, 1.0), confirms.add(None, 5.0)
    assert confirms.overdue(2.0)
    confirms.be_patient(3.0)
    assert not confirms.overdue(2.0)
    confirms.give_up(4.0)
    assert isinstance(old.exception(), BrokerUnavailableError)
    assert isinstance(new.exception(), BrokerUnavailableError)


async def test_a_waiter_that_is_gone() -> None:
    """An answer for a publishing that nobody waits for any more is no fault."""
    confirms = Confirms()
    future = confirms.add(("", "q", "m"), 0.0)
    future.cancel()
    confirms.returned(("", "q", "m"))
    confirms.answered(1, multiple=False, good=True)
    await asyncio.sleep(0)
    assert future.cancelled()


@given(st.lists(st.sampled_from(["ack", "reject", "write"]), max_size=30), st.randoms(use_true_random=False))
def test_each_delivery_is_acked_once(steps: list[str], chance: st.DataObject) -> None:
    """Whatever the order: what is acked is so in the end, what is rejected or open never is."""
    unsettled = Unsettled()
    left = list(range(1, 21))
    for tag in left:
        unsettled.delivered(tag)
    open_at_broker, wanted, acked = set(left), set[int](), set[int]()

    def write() -> None:
        for tag, multiple in unsettled.acks():
            meant = {one for one in open_at_broker if one <= tag} if multiple else {tag}
            open_at_broker.difference_update(meant)
            acked.update(meant)

    for step in steps:
        if step == "write" or not left:
            write()
            continue
        tag = chance.choice(left)  # type: ignore[attr-defined]
        left.remove(tag)
        assert unsettled.settled(tag, ack=step == "ack")
        if step == "ack":
            wanted.add(tag)
        else:
            open_at_broker.discard(tag)
    write()
    assert acked == wanted
    assert not any(unsettled.settled(tag, ack=True) for tag in wanted)

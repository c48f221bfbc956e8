"""A standstill for a last offer: it ends by itself, and dispatch is owed a multiple of it afterwards."""

from __future__ import annotations

import asyncio

import pytest

from coordinator.node.work_queues.standstill import WORK_SHARE, Standstill


async def test_it_ends_by_itself_and_is_paid_for() -> None:
    """Whoever asked for it may have died; what is owed grows with its length."""
    standstill = Standstill()
    standstill.pause(0.02)
    assert not standstill.is_over.is_set()
    assert standstill.owed == 0
    async with asyncio.timeout(5):
        await standstill.is_over.wait()
    assert standstill.owed > 0


async def test_one_that_is_asked_for_again_goes_on() -> None:
    """Only the last term counts, and its beginning is the first one's."""
    standstill = Standstill()
    standstill.pause(0)
    standstill.pause(60)
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, later.set)
    await later.wait()
    assert not standstill.is_over.is_set()
    standstill.resume()
    assert standstill.is_over.is_set()


async def test_what_is_owed_is_never_lowered() -> None:
    """What others say is owed is kept where it is more, and a resume without a pause owes nothing."""
    standstill = Standstill()
    standstill.resume()
    assert standstill.owed == 0
    standstill.owe(WORK_SHARE * 10.0)
    standstill.owe(1.0)
    assert standstill.owed == pytest.approx(WORK_SHARE * 10.0, abs=1.0)

"""The chaos run in short: a minute of load and faults, every promise checked; and planted violations, all caught."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from coordinator.broker.private import find_server
from tests.chaos import faults as kinds
from tests.chaos.broker import Broker
from tests.chaos.report import Verdict, judge, lines
from tests.chaos.run import run
from tests.chaos.story import Limits
from tests.chaos.world import Plan
from tests.support import in_ci

SEED = int(os.environ.get("CHAOS_SEED", "7"))
SURE = ("worker-kill", "coordinator-kill", "broker-kill")
"""Faults that so short a run is sure to cause while work is in flight."""
FAULTS = (
    *SURE,
    "worker-cut",
    "coordinator-cut",
    "kill-confirm-ack",
    "kill-mid-return",
    "commands-repeated",
    "commands-reordered",
    "clock-step",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    """A broker of one node that may be killed."""
    if find_server() is None:
        (pytest.fail if in_ci() else pytest.skip)("no RabbitMQ is installed: run `make setup`")
    async with Broker() as one:
        yield one


def told(verdict: Verdict) -> str:
    """The report, for whoever reads why the test failed."""
    return "\n".join(lines(verdict, SEED, f"make chaos DURATION=25 SEED={SEED} NODES=1"))


@pytest.mark.timeout(240)
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_lost_stale_or_unmarked(broker: Broker, tmp_path: Path) -> None:
    """Workers, coordinators and the broker are killed, connections cut, commands repeated: every promise is kept."""
    limits = Limits(strikes=1)
    plan = Plan(
        folder=tmp_path / "chaos",
        duration=25.0,
        seed=SEED,
        coordinators=2,
        workers=6,
        rate=250.0,
        pause=1.0,
        commands=2.0,
        busy=1.0,
        poison=1,
        limits=limits,
    )
    await run(plan, kinds.chosen(",".join(FAULTS), len(broker)), broker, "short")
    verdict = judge(plan.folder / "history", limits, list(SURE))
    assert verdict.is_good, told(verdict)
    assert verdict.figures.items > 1000


@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_scope="module")
async def test_planted_violations_are_caught(broker: Broker, tmp_path: Path) -> None:
    """A coordinator that loses, repeats, raises attempts and buries early is found out in each of these."""
    limits = Limits(strikes=0)
    plan = Plan(
        folder=tmp_path / "chaos",
        duration=8.0,
        seed=SEED,
        coordinators=1,
        workers=3,
        rate=250.0,
        commands=0.3,
        rejects=0.05,
        drain=10.0,
        plant="lose,twice,attempts,bury",
        limits=limits,
    )
    await run(plan, [], broker, "planted")
    found = judge(plan.folder / "history", limits, []).rules
    assert {"lost", "unmarked", "attempt", "dead"} <= set(found), found

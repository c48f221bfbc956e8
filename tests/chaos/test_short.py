"""The chaos run in short: half a minute of load and faults, every promise checked; planted violations, all caught."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from coordinator.local_rabbitmq.find_server import find_server
from tests.helpers.children import CHECKOUT, child_environment
from tests.helpers.support import in_ci

SEED = os.environ.get("CHAOS_SEED", "7")
FAULTS = (
    "worker-kill",
    "worker-cut",
    "coordinator-kill",
    "coordinator-cut",
    "kill-confirm-ack",
    "kill-mid-return",
    "commands-repeated",
    "commands-reordered",
    "clock-step",
    "broker-kill",
)
MOST_STRIKE = 3
"""Kinds of fault of which so short a run has one strike at least, whichever they are."""

needs_broker = pytest.mark.skipif(find_server() is None and not in_ci(), reason="no RabbitMQ: run `make setup`")


async def told(*arguments: str) -> tuple[int | None, list[str]]:
    """Run a module of the chaos run; its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", *arguments),
        cwd=CHECKOUT,
        env=child_environment(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().splitlines()


@needs_broker
@pytest.mark.timeout(240)
async def test_nothing_is_lost_stale_or_unmarked(tmp_path: Path) -> None:
    """Workers, coordinators and the broker are killed, connections cut, commands repeated: every promise is kept."""
    code, lines = await told(
        "tests.chaos",
        *("--duration", "15", "--seed", SEED, "--faults", ",".join(FAULTS), "--strikes", "0"),
        *("--coordinators", "2", "--workers", "6", "--rate", "150", "--pause", "2", "--busy", "1.1", "--poison", "1"),
        *("--folder", str(tmp_path)),
    )
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith(f"PASSED: seed {SEED}, ")
    struck = [line.split()[2] for line in lines if line.split()[:1] and line.split()[0] in FAULTS]
    assert sum(int(times) > 0 for times in struck) >= MOST_STRIKE, "the faults struck work in flight"


@needs_broker
@pytest.mark.timeout(120)
async def test_planted_violations_are_caught(tmp_path: Path) -> None:
    """A coordinator that loses, repeats, raises attempts and buries early is found out in each of these."""
    code, lines = await told("tests.chaos.prove", "--plants", "several", "--folder", str(tmp_path))
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("PROVEN")

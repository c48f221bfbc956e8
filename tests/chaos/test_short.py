"""The chaos run in short: half a minute of load and faults, every promise checked; planted violations, all caught."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from coordinator.broker.private import find_server
from tests.chaos.processes import CHECKOUT, child_environment
from tests.support import in_ci

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
SURE = "worker-kill,coordinator-kill,broker-kill"
"""Faults that so short a run is sure to cause while work is in flight."""

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
        *("--duration", "15", "--seed", SEED, "--faults", ",".join(FAULTS), "--sure", SURE, "--strikes", "1"),
        *("--coordinators", "2", "--workers", "6", "--rate", "150", "--pause", "2", "--busy", "1.1", "--poison", "1"),
        *("--folder", str(tmp_path)),
    )
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith(f"PASSED: seed {SEED}, ")


@needs_broker
@pytest.mark.timeout(120)
async def test_planted_violations_are_caught(tmp_path: Path) -> None:
    """A coordinator that loses, repeats, raises attempts and buries early is found out in each of these."""
    code, lines = await told("tests.chaos.prove", "--plants", "several", "--folder", str(tmp_path))
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("PROVEN")

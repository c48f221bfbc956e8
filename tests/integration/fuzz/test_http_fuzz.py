"""The API against its own description: schemathesis calls every operation with what its schemas allow and forbid."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from coordinator.http.routes import PREFIXES
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.support import items, publish_items, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
IS_LONG = os.environ.get("FUZZ") == "long"
CASES = 20_000 if IS_LONG else 1_500
SKIPPED = "/event/stream$" if IS_LONG else f"^{PREFIXES[1]}|/event/stream$"
BOUNDS = ["--max-examples=300"] if IS_LONG else ["--max-examples=2", "--seed=1"]


@pytest.mark.timeout(3600 if IS_LONG else 300)
async def test_every_answer_is_as_described(settings: Settings, node: Coordinator) -> None:
    """No call is answered by a status or body that the description lacks, nor by 5xx.

    What does not validate is refused, what validates is not, and links lead from each answer to the next call.
    """
    await publish_items(settings, "photos", [items(100), items(100)])
    await publish_items(settings, "s", [[{"id": number}] for number in range(20)])
    async with serving(node) as url:  # the stream of events never ends by itself, and a call of it neither
        program = "from schemathesis.cli import schemathesis; schemathesis()"
        # No line of ours is run there, and to look for some slows it down.
        unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        options = [
            "--no-color",
            f"--exclude-path-regex={SKIPPED}",
            "--continue-on-failure",
            "--suppress-health-check=all",
            *BOUNDS,
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, f"--config-file={CONFIG}", "run", f"{url}/openapi.json", *options),
            env={**unmeasured, "SCHEMATHESIS_HOOKS": "tests.integration.fuzz.hooks"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in report, report
    generated = re.search(r"(\d+) generated, \1 passed", report)
    assert generated, report
    assert int(generated[1]) >= CASES, report
    assert node.is_ready

"""Samples of what a process uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from coordinator.node.coordinator import Coordinator
from tests.chaos.history import Recorder, Sample
from tests.chaos.patching import wrap

EVERY = 2.0


def begin(recorder: Recorder, name: str) -> None:
    """Have each node sample its process, for as long as it runs."""

    def make(run: Callable[[Coordinator], Awaitable[None]]) -> Callable[[Coordinator], Awaitable[None]]:
        async def sampled(self: Coordinator) -> None:
            sampler = asyncio.create_task(_sample(recorder, name), name="samples")
            try:
                await run(self)
            finally:
                sampler.cancel()

        return sampled

    wrap(Coordinator, "run", make)


async def _sample(recorder: Recorder, name: str) -> None:
    while True:
        numbers = {**of_process(os.getpid()), "tasks": float(len(asyncio.all_tasks()))}
        recorder.write(Sample(process=name, numbers=numbers))
        await asyncio.sleep(EVERY)


def of_process(pid: int) -> dict[str, float]:
    """What the kernel says of a process: memory in MB, open files, threads."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {
        "rss_mb": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "files": float(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())),
        "threads": float(status["Threads"]),
    }

"""Where the time of our programs goes: py-spy samples them while a benchmark runs, and the samples become a table."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

RATE = 200
"""Samples a second."""
LINES = 25
MARGIN = 10.0
LOOP = "Runner.run (asyncio/runners.py)"
"""What stands below all that the event loop runs; by itself it is the loop, which is compiled, and its system calls."""


@contextlib.asynccontextmanager
async def sampled(spy: Path, pid: int, out: Path) -> AsyncIterator[None]:
    """Sample a process while the block runs, as far as it lives; only while it works, not while it waits.

    Args:
        spy: the program py-spy.
        pid: the process.
        out: where the samples go, one stack a line.
    """
    arguments = ("record", "--pid", str(pid), "--format", "raw", "--rate", str(RATE), "--duration", "600")
    process = await asyncio.create_subprocess_exec(
        spy,
        *(*arguments, "--nonblocking", "--output", str(out)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(MARGIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def table(stacks: Iterable[str], title: str) -> str:
    """The functions that most of the loop's time is spent in, by themselves and with all that they call.

    Args:
        stacks: one a line, outermost function first, and how many samples were like it.
        title: stands above the table.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        if LOOP not in frames:
            continue  # imports, which tell nothing of the work
        frames = frames[frames.index(LOOP) :]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in dict.fromkeys(frames):
            whole[frame] += int(count)
    lines = [f"{title}: {total} samples, {RATE} a second while it worked", ""]
    for name, counts in (("itself", own), ("with what it calls", whole)):
        lines += [f"{name:>20}  function"]
        lines += [f"{count / max(total, 1):20.1%}  {frame}" for frame, count in counts.most_common(LINES)]
        lines += [""]
    return "\n".join(lines)


def _short(frame: str) -> str:
    """A frame without its line: `function (package/module.py)`."""
    function, _, place = frame.partition(" (")
    path = place.rpartition(":")[0] or place.rstrip(")")
    return f"{function} ({'/'.join(Path(path).parts[-2:])})"

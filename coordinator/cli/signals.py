"""Work that ends when the process is told to: the first signal ends it cleanly, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def run_until_told(work: Coroutine[Any, Any, None], stop_timeout: float | None = None) -> None:
    """Run until the work ends by itself, or until SIGINT or SIGTERM cancels it, which is no error.

    Args:
        work: what to run; it cleans up when it is cancelled.
        stop_timeout: seconds that the cleaning up may take. What is then left of this process is gone at once:
            nothing that must survive is in it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    told = False

    def stop(signal_number: int) -> None:
        nonlocal told
        if told:
            os._exit(128 + signal_number)
        told = True
        log.info("process.stopping", signal=signal.Signals(signal_number).name)
        task.cancel()
        if stop_timeout is not None:
            loop.call_later(stop_timeout, _give_up, stop_timeout)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise


def _give_up(seconds: float) -> None:
    log.warning("process.stop_cut_short", after=seconds)
    os._exit(0)

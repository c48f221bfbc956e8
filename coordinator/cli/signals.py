"""Stops work on signals: the first signal stops it cleanly, the second ends the process immediately."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def run_until_signalled(work: Coroutine[Any, Any, None], stop_timeout: float | None = None) -> None:
    """Run until the work ends by itself, or until SIGINT or SIGTERM cancels it, which is not an error.

    Args:
        work: what to run; it cleans up when it is cancelled.
        stop_timeout: seconds that the cleaning up may take. Then the process ends immediately: it holds nothing
            that must survive.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    is_stopping = False

    def stop(signal_number: int) -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(128 + signal_number)
        is_stopping = True
        log.info("process.stopping", signal=signal.Signals(signal_number).name)
        task.cancel()
        if stop_timeout is not None:
            loop.call_later(stop_timeout, _give_up, stop_timeout)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not is_stopping:
            raise


def _give_up(seconds: float) -> None:
    log.warning("process.stop_cut_short", after=seconds)
    os._exit(0)

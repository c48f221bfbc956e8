"""The near end of a watchdog: starts it, hears what becomes of its node, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from coordinator.broker.watchdog import STOP_SECONDS, Order

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_MARGIN_SECONDS = 5.0


class WatchedNode:
    """A node that a watchdog runs. Made by `launch()`, to be ended by `close()`.

    Attributes:
        pid: the process id of the node; None until it is known.
        ended: set when the node is gone.
    """

    def __init__(self, watchdog: Process) -> None:
        self.pid: int | None = None
        self.ended = asyncio.Event()
        self._watchdog = watchdog
        self._stdin = cast("asyncio.StreamWriter", watchdog.stdin)
        self._reports = asyncio.create_task(self._read_reports(), name="private-broker-reports")

    @classmethod
    async def launch(cls, order: Order, log: Path, lock: int) -> Self:
        """Start a watchdog in a session of its own, out of reach of the terminal's Ctrl-C.

        Args:
            order: what the watchdog is to run.
            log: takes what it, the name server and the node print.
            lock: a file descriptor that it shall hold as long as it lives.
        """
        with log.open("wb") as output:
            watchdog = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "coordinator.broker.watchdog",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                cwd=_PACKAGE_PARENT,  # where -m finds the package, also of a checkout that is not installed
                pass_fds=(lock,),
                start_new_session=True,
            )
        node = cls(watchdog)
        node._stdin.write(order.to_line())
        return node

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the node, if it is still there."""
        if self.pid is not None and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def close(self, last_word: bytes = b"") -> None:
        """End the watchdog, and by it the node and the name server.

        Args:
            last_word: `watchdog.KEEP` for a temporary folder that shall stay.
        """
        with contextlib.suppress(ConnectionError):
            self._stdin.write(last_word)
            self._stdin.close()
            await self._stdin.wait_closed()
        try:
            await asyncio.wait_for(self._watchdog.wait(), STOP_SECONDS + _MARGIN_SECONDS)
        except TimeoutError:
            self._watchdog.kill()  # its children get the same from the kernel, on Linux
            await self._watchdog.wait()
        await self._reports

    async def _read_reports(self) -> None:
        async for line in cast("asyncio.StreamReader", self._watchdog.stdout):
            word, _, number = line.decode().strip().partition(" ")
            if word == "node":
                self.pid = int(number)
            else:
                self.ended.set()
        self.ended.set()

"""Start a watchdog process, read its reports, and end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Self, cast

from coordinator.local_rabbitmq.watchdog import STOP_SECONDS, Order

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_MARGIN_SECONDS = 5.0


class WatchedProcess:
    """A node, or a name server, that a watchdog runs. `launch()` starts it and `close()` ends it.

    Attributes:
        pid: its process id; None until the watchdog reports it.
        ended: set when the process has ended.
    """

    def __init__(self, watchdog: Process) -> None:
        self.pid: int | None = None
        self.ended = asyncio.Event()
        self._watchdog = watchdog
        self._stdin = cast("asyncio.StreamWriter", watchdog.stdin)
        self._reports = asyncio.create_task(self._read_reports(), name="private-broker-reports")

    @classmethod
    async def launch(cls, order: Order, log: Path, lock: int) -> Self:
        """Start a watchdog in its own session, so that the terminal's Ctrl-C does not reach it.

        Args:
            order: what the watchdog runs.
            log: the file for the output of the watchdog, the name server and the node.
            lock: a file descriptor that the watchdog holds until it ends.
        """
        with log.open("wb") as output:
            watchdog = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "coordinator.local_rabbitmq.watchdog",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                cwd=_PACKAGE_PARENT,  # so that -m finds the package even when the checkout is not installed
                pass_fds=(lock,),
                start_new_session=True,
            )
        node = cls(watchdog)
        node._stdin.write(order.to_line())
        return node

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self.pid is not None and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def close(self, last_word: bytes = b"") -> None:
        """End the watchdog; it stops the node and the name server.

        Args:
            last_word: `watchdog.KEEP` to keep a temporary folder.
        """
        with contextlib.suppress(ConnectionError):
            self._stdin.write(last_word)
            self._stdin.close()
            await self._stdin.wait_closed()
        try:
            await asyncio.wait_for(self._watchdog.wait(), STOP_SECONDS + _MARGIN_SECONDS)
        except TimeoutError:
            self._watchdog.kill()  # on Linux the kernel then kills its children
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

"""The children of a run: coordinators and workers, kept alive, and killed, stopped and continued on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.history import Crashed, Recorder
from tests.helpers.processes import kill, resume, suspend

CHECKOUT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 25.0
PR_SET_PDEATHSIG = 1
TAIL = 300


def die_with_parent() -> None:
    """Have the kernel kill this process when the run that started it ends, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """A process that is started again whenever it ends, until it is stopped.

    Attributes:
        name: its name in the history.
        arguments: of the Python interpreter.
        environment: what it sees beside what it must.
        log: takes what it prints.
        recorder: is told when it ended without being killed.
        given: what it reads from standard input.
        pause: seconds before it is started again.
    """

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    recorder: Recorder
    given: bytes = b""
    pause: float = 0.5
    is_wanted: bool = True
    _process: asyncio.subprocess.Process | None = None
    _is_told: bool = False
    """To end in order."""
    _keeper: asyncio.Task[None] | None = None
    _up: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Start it, and keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self.name}")
        await self._up.wait()

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process is not None and self.is_up else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs.

        Not by the process's own method: of one that has just died that would fetch the exit code before whoever waits.
        """
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """Kill it, and wait until it is gone, if it runs; it is started again."""
        if self.pid is not None:
            await kill(self.pid)

    async def suspend(self) -> None:
        """Suspend it, and wait until that has taken effect, if it runs; another fault may kill it meanwhile."""
        if self.pid is not None:
            await suspend(self.pid, may_end=True)

    async def resume(self) -> None:
        """Let it go on, and wait until it does, if it runs."""
        if self.pid is not None:
            await resume(self.pid, may_end=True)

    async def restart(self) -> None:
        """Stop it in order, and wait until it has been started again."""
        self._up.clear()
        self._is_told = True
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._up.wait()

    async def stop(self) -> None:
        """Stop it for good: in order, or after a while by force."""
        self.is_wanted, self._is_told = False, True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.recorder.write(Crashed(process=self.name, code=0, detail="did not stop in time"))
                await kill(self._process)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def _keep(self) -> None:
        while True:
            await self._run()
            if not self.is_wanted:
                return
            await asyncio.sleep(self.pause)

    async def _run(self) -> None:
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env=child_environment(os.environ) | dict(self.environment),
                preexec_fn=_prepare,
            )
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(self.given)
                self._process.stdin.close()
        self._up.set()
        code = await self._process.wait()
        rightly = {0, -signal.SIGKILL, -signal.SIGTERM} if self._is_told else {-signal.SIGKILL}
        if code not in rightly:
            self.recorder.write(Crashed(process=self.name, code=code, detail=self._tail()))
        self._is_told = False

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if "Error" in line), "")[:TAIL]


def child_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would configure a coordinator, or measure the coverage of a child."""
    foreign = ("COORDINATOR_", "COVERAGE_", "CHAOS_")
    return {name: value for name, value in inherited.items() if not name.startswith(foreign)}


def _prepare() -> None:
    """In the child before its program: the signal that blocks a worker must not end one that cannot hear it yet."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    die_with_parent()

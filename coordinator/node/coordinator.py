"""The running coordinator: one session after another."""

from __future__ import annotations

import asyncio
from secrets import token_hex

import structlog

from coordinator.backoff import pause
from coordinator.domain.counters import Counters
from coordinator.domain.event_ring import EventRing
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, CoordinatorError, ManagementError
from coordinator.node.process_state import ProcessState
from coordinator.node.session import open_session
from coordinator.node.wiring import Session
from coordinator.settings import Settings

log = structlog.get_logger(__name__)

EXPECTED = (BrokerUnavailableError, BrokerRefusedError, ManagementError)


class Coordinator:
    """A coordinator. Its session is None while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = token_hex(4)
        self.problem = "has not connected yet"
        self._process = ProcessState(EventRing(token_hex(4), settings.history))
        self._session: Session | None = None
        self._was_ready = False
        self._ready = asyncio.Event()

    @property
    def counters(self) -> Counters:
        """What this process has done since it began, in figures."""
        return self._process.counters

    @property
    def session(self) -> Session:
        """The running session.

        Raises:
            BrokerUnavailableError: no session runs now.
        """
        if self._session is None:
            raise BrokerUnavailableError(f"not connected to the broker: {self.problem}")
        return self._session

    @property
    def is_ready(self) -> bool:
        """Whether a session runs."""
        return self._session is not None

    async def wait_ready(self) -> None:
        """Wait until a session runs."""
        await self._ready.wait()

    async def run(self) -> None:
        """Keep a session running until cancelled; each failed try waits longer than the one before."""
        failures = 0
        while True:
            # Each session has a task of its own: before Python 3.13 a task group that fails leaves a cancellation
            # behind on its task, which looks like a cancellation of the coordinator.
            session = asyncio.create_task(self._run_session(), name="session")
            try:
                await session
            except* EXPECTED as group:
                self.problem = _sentence(group)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # the failure came while the session was ending
            failures = 0 if self._was_ready else failures + 1
            wait = pause(failures)
            log.warning("coordinator.disconnected", problem=self.problem, retry_in=round(wait, 1))
            await asyncio.sleep(wait)

    async def _run_session(self) -> None:
        """Run one session. Each has an id of its own, since its leases and its queue end with it."""
        self._was_ready = False
        self.instance = token_hex(4)
        try:
            async with open_session(self.settings, self.instance, self._process) as session:
                self.counters.sessions += 1
                self._session = session
                self._was_ready = True
                self._ready.set()
                log.info("coordinator.ready", instance=self.instance, seeds=len(session.registry.state.seeds))
                await asyncio.Event().wait()
        finally:
            self._session = None
            self._ready.clear()


def _sentence(group: BaseExceptionGroup[BaseException]) -> str:
    """The first error of a group, in one sentence."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _sentence(error)
        if isinstance(error, CoordinatorError):
            return str(error)
    return str(group)

"""The running coordinator: one session after another, for as long as it is wanted."""

from __future__ import annotations

import asyncio
from secrets import token_hex

import structlog

from coordinator.backoff import pause
from coordinator.domain.counters import Counters
from coordinator.domain.event_ring import EventRing
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, CoordinatorError, ManagementError
from coordinator.node.session import open_session
from coordinator.node.wiring import ProcessState, Session
from coordinator.settings import Settings

log = structlog.get_logger(__name__)

EXPECTED = (BrokerUnavailableError, BrokerRefusedError, ManagementError)


class Coordinator:
    """A coordinator. Its session is None while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = token_hex(4)
        self.problem = "has not connected yet"
        self._lasting = ProcessState(EventRing(token_hex(4), settings.history))
        self._session: Session | None = None
        self._was_ready = False
        self._ready = asyncio.Event()

    @property
    def counters(self) -> Counters:
        """What it has done since it began, in figures."""
        return self._lasting.counters

    @property
    def session(self) -> Session:
        """The running session.

        Raises:
            BrokerUnavailableError: there is none now.
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
            # Each in a task of its own: a task group leaves a failure's cancellation behind on the task that it ran in
            # (before Python 3.13), which could then not be told from one of this task.
            life = asyncio.create_task(self._live(), name="session")
            try:
                await life
            except* EXPECTED as group:
                self.problem = _sentence(group)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # the failure came while the session was told to end
            failures = 0 if self._was_ready else failures + 1
            wait = pause(failures)
            log.warning("node.disconnected", problem=self.problem, retry_in=round(wait, 1))
            await asyncio.sleep(wait)

    async def _live(self) -> None:
        """One session, from its beginning to its end.

        What hangs on it, such as leases, ends with it, so each has an id of its own.
        """
        self._was_ready = False
        self.instance = token_hex(4)
        try:
            async with open_session(self.settings, self.instance, self._lasting) as session:
                self.counters.sessions += 1
                self._session = session
                self._was_ready = True
                self._ready.set()
                log.info("node.ready", instance=self.instance, seeds=len(session.registry.state.seeds))
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

"""How much at once: bytes of bodies in memory, calls that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from coordinator.errors import BusyError
from coordinator.settings import Settings


class Gate:
    """Lets through so much at once, over all requests.

    Args:
        what: what is counted, for the error's sentence.
        limit: how much.
        setting: the setting that says so.
    """

    def __init__(self, what: str, limit: int, setting: str) -> None:
        self.used = 0
        self._what = what
        self._limit = limit
        self._setting = setting

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """A share of one request's, which ends with the block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give(share.taken)

    def has_room(self, amount: int) -> bool:
        """Whether this much may come in now."""
        return self.used + amount <= self._limit

    def check(self, amount: int) -> None:
        """See that this much may come in now.

        Raises:
            BusyError: it would be too much.
        """
        self.take(amount)
        self.give(amount)

    def take(self, amount: int) -> None:
        """Let this much in.

        Raises:
            BusyError: it would be too much.
        """
        if not self.has_room(amount):
            raise BusyError(self._what, self._limit, self._setting)
        self.used += amount

    def give(self, amount: int) -> None:
        """Let this much out."""
        self.used -= amount


class Share:
    """What one request has of a gate."""

    def __init__(self, gate: Gate) -> None:
        self.taken = 0
        self._gate = gate

    def has_room(self, amount: int) -> bool:
        """Whether there is this much more."""
        return self._gate.has_room(amount)

    def take(self, amount: int) -> None:
        """Take more.

        Raises:
            BusyError: there is no more.
        """
        self._gate.take(amount)
        self.taken += amount

    def give(self, amount: int) -> None:
        """Give some back."""
        self._gate.give(amount)
        self.taken -= amount


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates of one application."""

    bodies: Gate
    polls: Gate
    array: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One array of items is validated at a time: decoded it takes many times its text."""

    @classmethod
    def of(cls, settings: Settings) -> Gates:
        """As wide as the settings say."""
        return cls(
            bodies=Gate("bytes of bodies", settings.max_buffered, "MAX_BUFFERED"),
            polls=Gate("calls that wait", settings.max_polls, "MAX_POLLS"),
        )


def gates_of(request: Request) -> Gates:
    """The application's gates."""
    gates: Gates = request.app.state.gates
    return gates

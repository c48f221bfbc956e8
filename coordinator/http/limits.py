"""How much at once: bytes of bodies in memory, calls that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from coordinator.errors import BusyError
from coordinator.settings import Settings


class Limit:
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
    """What one request has of a limit."""

    def __init__(self, limit: Limit) -> None:
        self.taken = 0
        self._limit = limit

    def has_room(self, amount: int) -> bool:
        """Whether there is this much more."""
        return self._limit.has_room(amount)

    def take(self, amount: int) -> None:
        """Take more.

        Raises:
            BusyError: there is no more.
        """
        self._limit.take(amount)
        self.taken += amount

    def give(self, amount: int) -> None:
        """Give some back."""
        self._limit.give(amount)
        self.taken -= amount


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one application."""

    bodies: Limit
    polls: Limit
    array: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One array of items is validated at a time: decoded it takes many times its text."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As wide as the settings say."""
        return cls(
            bodies=Limit("bytes of bodies", settings.max_buffered, "MAX_BUFFERED"),
            polls=Limit("calls that wait", settings.max_polls, "MAX_POLLS"),
        )


def limits_of(request: Request) -> Limits:
    """The application's limits."""
    limits: Limits = request.app.state.limits
    return limits

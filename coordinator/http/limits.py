"""Limits over all requests: bytes of bodies in memory, calls that wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import Request

from coordinator.errors import BusyError
from coordinator.settings import Settings


class Limit:
    """Counts an amount over all requests, up to a limit.

    Args:
        what: what is counted, for the error message.
        limit: the largest amount.
        setting: the setting that sets it.
    """

    def __init__(self, what: str, limit: int, setting: str) -> None:
        self.used = 0
        self._what = what
        self._limit = limit
        self._setting = setting

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Give one request its share, and give all of it back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give(share.taken)

    def has_room(self, amount: int) -> bool:
        """Return whether this much more fits."""
        return self.used + amount <= self._limit

    def check(self, amount: int) -> None:
        """Check that this much more fits.

        Raises:
            BusyError: it does not fit.
        """
        if not self.has_room(amount):
            raise BusyError(self._what, self._limit, self._setting)


class Share:
    """What one request counts for."""

    def __init__(self, limit: Limit) -> None:
        self.taken = 0
        self._limit = limit
        self.has_room = limit.has_room

    def take(self, amount: int) -> None:
        """Count more.

        Raises:
            BusyError: it does not fit.
        """
        self._limit.check(amount)
        self.give(-amount)

    def give(self, amount: int) -> None:
        """Count less."""
        self._limit.used -= amount
        self.taken -= amount


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one application."""

    bodies: Limit
    polls: Limit
    array: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an array of items is validated: decoded, it takes many times the memory of its text."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits of the settings."""
        return cls(
            bodies=Limit("bytes of bodies", settings.max_buffered, "MAX_BUFFERED"),
            polls=Limit("calls that wait", settings.max_polls, "MAX_POLLS"),
        )


def limits_of(request: Request) -> Limits:
    """Return the application's limits."""
    limits: Limits = request.app.state.limits
    return limits

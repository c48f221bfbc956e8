"""Who of several coordinators does what, and who of those that should be heard has fallen silent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b


def owner(key: str, members: Collection[str]) -> str:
    """The member that a key belongs to: the same for all who know the same members, and about as many keys for each.

    A member that comes takes its share from all others alike, and the keys of one that goes are spread over the rest;
    nothing else moves. After D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998).

    Raises:
        ValueError: there are no members.
    """
    return max(members, key=lambda member: (blake2b(f"{member}\0{key}".encode(), digest_size=8).digest(), member))


def share(mine: float, others: Iterable[float]) -> float:
    """The part that is due to one of several who want something: 0 to 1, all of it where nobody wants anything."""
    total = mine + sum(others)
    return mine / total if total else 1.0


class Silence:
    """For how long each of those that should be heard has not been, counting only the time in which it could have been.

    Whoever listens may itself be deaf for a while: its process stopped, its connection lost, the broker blocked by an
    alarm. That time is nobody else's silence.
    """

    def __init__(self) -> None:
        self._silent: dict[str, float] = {}

    def heard(self, who: str) -> None:
        """A sign of life."""
        self._silent[who] = 0.0

    def forget(self, who: str) -> None:
        """Expect nothing more."""
        self._silent.pop(who, None)

    def passed(self, seconds: float) -> None:
        """So much time has passed in which all could have been heard."""
        for who in self._silent:
            self._silent[who] += seconds

    def longer_than(self, seconds: float) -> list[str]:
        """Who has been silent for longer."""
        return [who for who, silent in self._silent.items() if silent > seconds]

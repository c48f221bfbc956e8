"""Which of several replicas owns a key, and which of those that should be heard is silent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b


def owner(key: str, members: Collection[str]) -> str:
    """Return the member that owns a key: the same for all that know the same members, and about as many keys for each.

    A new member gets an equal share from all others, and the keys of a member that goes are spread over the rest;
    nothing else moves. After D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998).

    Raises:
        ValueError: there are no members.
    """
    return max(members, key=lambda member: (blake2b(f"{member}\0{key}".encode(), digest_size=8).digest(), member))


def share(mine: float, others: Iterable[float]) -> float:
    """Return the share of one of several demands: 0 to 1; all of it where there is no demand."""
    total = mine + sum(others)
    return mine / total if total else 1.0


class Silence:
    """For how long each expected sender has been silent, counting only the time in which it could have been heard.

    The receiver may itself be deaf for a while: its process stopped, its connection lost, the broker blocked by an
    alarm. That time does not count as the silence of others.
    """

    def __init__(self) -> None:
        self._silent: dict[str, float] = {}

    def heard(self, who: str) -> None:
        """Count a sign of life."""
        self._silent[who] = 0.0

    def forget(self, who: str) -> None:
        """Expect nothing more."""
        self._silent.pop(who, None)

    def passed(self, seconds: float) -> None:
        """Count time in which all could have been heard."""
        for who in self._silent:
            self._silent[who] += seconds

    def longer_than(self, seconds: float) -> list[str]:
        """Return which senders have been silent for longer."""
        return [who for who, silent in self._silent.items() if silent > seconds]

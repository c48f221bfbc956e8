"""Comparisons: contenders run in turns (A B A B …) on equal terms, and what they reached as ratios."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class UnequalTermsError(Exception):
    """Contenders did not work under the same conditions, so their figures must not be compared."""


class WrongResultError(Exception):
    """What arrived is not what was sent: a figure of such a run would mean nothing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions of a run, as the broker itself saw them."""

    queue_type: str
    durable: bool
    confirmed: bool
    """Whether publications were confirmed: the broker's counters may miss the last of a channel that is closed."""
    unacked: int
    """Deliveries without ack: by consumers that want none, or not settled at the end."""
    items: int
    """Items of a message."""
    payload: int
    """Bytes of the items of a message."""

    def differences(self, other: Terms) -> list[str]:
        """What is not equal; the envelope that a library puts around the payload may differ."""
        names = ("queue_type", "durable", "confirmed", "unacked", "items", "payload")
        return [
            f"{name}: {getattr(self, name)} and {getattr(other, name)}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender: what it reached, and under which terms."""

    rate: float
    terms: Terms | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


Contender = Callable[[], Awaitable[Run]]


@dataclass(slots=True)
class Runs:
    """All runs of a comparison, by contender."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Peers of which a run was wrong, and what was wrong."""

    def rates(self, name: str) -> list[float]:
        """What a contender reached, run by run."""
        return [run.rate for run in self.runs[name]]

    def median(self, name: str) -> float:
        """The middle of them."""
        return statistics.median(self.rates(name))

    def best(self, names: Sequence[str]) -> str:
        """Who of them is quickest."""
        return max((name for name in names if name in self.runs), key=self.median)

    def ratio(self, name: str, to: str) -> tuple[float, list[float]]:
        """One contender's median as a part of another's, and the same turn by turn."""
        turns = [one / other for one, other in zip(self.rates(name), self.rates(to), strict=False)]
        return self.median(name) / self.median(to), turns

    def figures(self) -> dict[str, dict[str, Any]]:
        """Median and range of each contender."""
        return {
            name: {
                "median": round(self.median(name), 2),
                "lowest": round(min(self.rates(name)), 2),
                "highest": round(max(self.rates(name)), 2),
                "runs": len(runs),
                **{key: round(statistics.median(run.extra[key] for run in runs), 4) for key in runs[0].extra},
            }
            for name, runs in self.runs.items()
        }


def check_equal(runs: Mapping[str, list[Run]]) -> None:
    """Refuse to compare what did not run on equal terms.

    Raises:
        UnequalTermsError: naming who differs from whom, and in what.
    """
    known = [(name, run.terms) for name, each in runs.items() for run in each if run.terms is not None]
    for name, terms in known[1:]:
        first, expected = known[0]
        if differences := expected.differences(terms):
            raise UnequalTermsError(f"{first} and {name}: {'; '.join(differences)}")


async def in_turns(
    contenders: Mapping[str, Contender], rounds: int, say: Callable[[str], None], peers: Collection[str] = ()
) -> Runs:
    """Run each in each round, in the same order.

    Args:
        contenders: how to run each, by name.
        rounds: how often.
        say: told of each run.
        peers: those that are left out, with the reason, when a run of theirs is wrong.

    Raises:
        UnequalTermsError: they cannot be compared.
        WrongResultError: the output of a run of another is wrong.
    """
    result = Runs({name: [] for name in contenders})
    for turn in range(rounds):
        for name, contender in contenders.items():
            if name in result.left_out:
                continue
            try:
                run = await contender()
            except WrongResultError as error:
                if name not in peers:
                    raise
                result.left_out[name] = str(error).partition("\n")[0]
                del result.runs[name]
                say(f"  {name} is left out: {error}")
                continue
            result.runs[name].append(run)
            say(f"  round {turn + 1}  {name:<44} {run.rate:12,.1f}")
            check_equal(result.runs)
    return result

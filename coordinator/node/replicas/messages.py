"""What coordinators say to each other: signs of life, questions and their answers, notices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Body = dict[str, Any]


class Word(BaseModel):
    """What coordinators say to each other."""

    model_config = ConfigDict(frozen=True)

    type: Literal["beat", "barrier", "question", "answer", "notice"]
    sender: str
    id: str = ""
    about: str = ""
    body: Body = {}


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a question: the answers by instance, and who did not answer in time."""

    given: Mapping[str, Body] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def total(self, name: str) -> int:
        """The sum of a figure over all answers."""
        return sum(int(body.get(name, 0)) for body in self.given.values())


@dataclass(slots=True)
class Question:
    """A question on its way: who has still to answer it, and the answers so far."""

    awaited: set[str]
    given: dict[str, Body] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, instance: str, body: Body | None) -> None:
        """Somebody has answered, or is gone and has nothing to answer (None)."""
        if body is not None:
            self.given[instance] = body
        self.awaited.discard(instance)
        if not self.awaited:
            self.complete.set()

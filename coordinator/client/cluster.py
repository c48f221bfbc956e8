"""What is read of the whole cluster, besides seeds, workers and batches: work queues, coordinators, the broker."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from coordinator.answers import Total


class _Read(BaseModel):
    """An answer of which the fields are passed on as they come: a later coordinator tells more."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def row(self) -> dict[str, Any]:
        """Its fields, as in JSON."""
        return self.model_dump(mode="json")


class Listed(_Read):
    """A part of a list, under whatever name, and how many there are in all."""

    count: Total

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The entries, as in JSON."""
        found: list[dict[str, Any]] = (self.model_extra or {}).get(name, [])
        return found


class Broker(_Read):
    """The broker."""

    known: bool = True
    blocked: bool = False


class DeadLetter(_Read):
    """A dead letter, whole."""

    id: str

"""What is read of the whole cluster, besides seeds, workers and batches: work queues, coordinators, the broker."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Read(BaseModel):
    """An answer of which the fields are passed on as they come: a later coordinator tells more."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def row(self) -> dict[str, Any]:
        """Its fields, as in JSON."""
        return self.model_dump(mode="json")


class QueueList(_Read):
    """Work queues."""

    queues: list[dict[str, Any]]


class CoordinatorList(_Read):
    """Coordinators."""

    coordinators: list[dict[str, Any]]


class Broker(_Read):
    """The broker."""

    known: bool = True
    blocked: bool = False


class DeadLetter(_Read):
    """A dead letter, whole."""

    id: str

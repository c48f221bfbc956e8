"""The parts of messages between replicas that are arrays on the wire."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_serializer, model_validator

from coordinator.domain.seed_traffic import Traffic


class Array(BaseModel):
    """Content that is an array on the wire: what comes after the known fields is ignored, what is missing is default.

    Version 0 reads exactly as many values as there are fields, so none can be added.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return dict(zip(cls.model_fields, value, strict=False))
        return value

    @model_serializer
    def _write(self) -> list[Any]:
        values = (getattr(self, name) for name in type(self).model_fields)
        return [dataclasses.astuple(one) if isinstance(one, Traffic) else one for one in values]


def _read_traffic(value: object) -> object:
    if isinstance(value, list | tuple):
        return dict(zip((each.name for each in dataclasses.fields(Traffic)), value, strict=False))
    return value


TrafficArray = Annotated[Traffic, BeforeValidator(_read_traffic), PlainSerializer(dataclasses.astuple)]


class QueueLoad(Array):
    """What a replica does with a work queue.

    Attributes:
        demand: the weight of its seeds that wait.
        rate: the batches a second that it publishes.
        published: how many it has published in all.
        queued: its batches that wait in the queue.
        sent: its batches that workers hold.
    """

    demand: float = 0.0
    rate: float = 0.0
    published: int = 0
    queued: int = 0
    sent: int = 0


class ObstacleArray(Array):
    """What holds a seed up; see `diagnosis.Obstacle`."""

    throttled_until: float | None = None
    is_full: bool = False


class SeedShare(Array):
    """What one replica has of a seed, in items.

    Attributes:
        at_hand: in pages that it has consumed.
        queued: in batches of its own that wait in work queues.
        sent: in batches of its own that workers hold.
        taken: in batches of its own that were acked.
        exact: whether these figures are exact.
        suspected: in batches that wait to be tried alone.
        traffic: its traffic with the seed's queue.
        leased: in batches that it holds for HTTP workers.
        rate: items a second that were taken.
        settled: whether nothing was taken for a while.
        obstacle: what holds the seed up; None where this replica does not dispatch it, or nothing does.
    """

    at_hand: int = 0
    queued: int = 0
    sent: int = 0
    taken: int = 0
    exact: bool = False
    suspected: int = 0
    traffic: TrafficArray = Traffic()
    leased: int = 0
    rate: float = 0.0
    settled: bool = False
    obstacle: ObstacleArray | None = None

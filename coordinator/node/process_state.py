"""What a coordinator keeps from one session to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.broker.queue_health import Pauses
from coordinator.domain.counters import Counters
from coordinator.domain.event_ring import EventRing
from coordinator.domain.retry_policy import Memory


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a coordinator keeps from one session to the next.

    Attributes:
        ring: what happened.
        counters: what was done, in figures.
        dealt: publications that came back.
        broken_queues: for how long each broken queue must not be used, in later sessions too.
    """

    ring: EventRing
    counters: Counters = field(default_factory=Counters)
    dealt: Memory = field(default_factory=Memory)
    broken_queues: Pauses = field(default_factory=Pauses)

"""What a coordinator keeps from one session to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.domain.counters import Counters
from coordinator.domain.event_ring import EventRing
from coordinator.domain.queue_backoff import QueueBackoff
from coordinator.domain.retry_policy import Memory


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a coordinator keeps from one session to the next.

    Attributes:
        ring: what happened.
        counters: what was done, in figures.
        dealt: publications that came back.
        backoff: queues that are left alone because they broke earlier sessions.
    """

    ring: EventRing
    counters: Counters = field(default_factory=Counters)
    dealt: Memory = field(default_factory=Memory)
    backoff: QueueBackoff = field(default_factory=QueueBackoff)

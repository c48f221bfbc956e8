"""What the management API answers about connections, queues, the product and its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BrokerConnection:
    """A client's connection: the broker's name for it, its user, and the name that the client chose."""

    name: str
    user: str
    client_name: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The number of messages in a queue at the broker's last count, which is some seconds old."""

    ready: int
    unacked: int
    leaving: int = 0
    """Failed messages that are on their way to the dead-letter queue."""
    members: int = 1
    """The number of nodes that have a copy of the queue."""
    away: int = 0
    """How many of those nodes the broker knows to be down."""

    @property
    def is_empty(self) -> bool:
        """Whether the queue holds no message."""
        return not self.ready + self.unacked + self.leaving


@dataclass(frozen=True, slots=True)
class Product:
    """The broker's product name and version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """A node of the broker. `memory` is what it uses and `disk_free` what is left, in bytes."""

    name: str
    running: bool
    memory_alarm: bool
    disk_alarm: bool
    memory: int
    disk_free: int


def read_totals(queue: Mapping[str, Any]) -> Totals:
    """Read the totals of a queue."""
    ready, unacked = int(queue["messages_ready"]), int(queue.get("messages_unacknowledged", 0))
    leaving = max(0, int(queue.get("messages", 0)) - ready - unacked)
    members, online = (len(queue.get(key) or ()) for key in ("members", "online"))
    return Totals(ready, unacked, leaving, max(1, members), max(0, members - online))


def may_answer(queue: Mapping[str, Any]) -> bool:
    """Whether a queue has a leader and a majority of its members. A queue without members is not replicated."""
    members = queue.get("members") or ()
    is_led = queue.get("leader", "") is not None
    return not members or (is_led and 2 * len(queue.get("online") or ()) > len(members))

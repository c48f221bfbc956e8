"""Messages and deliveries: what is published, and what the broker delivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Message:
    """A message to publish. It is always persistent, and JSON by default. Do not change it after it was made."""

    body: bytes
    headers: Mapping[str, object] = field(default_factory=dict)
    message_id: str | None = None
    user_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str = "application/json"


class Settler(Protocol):
    """Settles deliveries by their tags: the channel that they came by."""

    @property
    def is_closed(self) -> bool:
        """Whether the broker has taken its deliveries back."""

    async def ack(self, tag: int) -> None:
        """Ack one delivery.

        Raises:
            BrokerUnavailableError: the channel is closed, and the broker has taken its deliveries back.
        """

    def ack_soon(self, tag: int) -> None:
        """Ack one delivery if the channel is still open."""

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject one delivery.

        Raises:
            BrokerUnavailableError: the channel is closed, and the broker has taken its deliveries back.
        """


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that was delivered. It can only be settled on the channel that delivered it."""

    body: bytes
    headers: Mapping[str, object]
    message_id: str | None
    user_id: str | None
    correlation_id: str | None
    reply_to: str | None
    routing_key: str
    redelivered: bool
    tag: int
    channel: Settler

    async def ack(self) -> None:
        """Ack it.

        Raises:
            BrokerUnavailableError: its channel is closed, and the broker has taken it back.
        """
        await self.channel.ack(self.tag)

    def ack_soon(self) -> None:
        """Ack it, and ignore a closed channel: the caller does not care, or learns of it in another way."""
        self.channel.ack_soon(self.tag)

    async def reject(self, *, requeue: bool = False) -> None:
        """Reject it: to the dead-letter exchange, or back to its queue.

        Raises:
            BrokerUnavailableError: its channel is closed, and the broker has taken it back.
        """
        await self.channel.reject(self.tag, requeue=requeue)

    def copy(self, **changes: object) -> Message:
        """The message as it came, to publish again. `user_id` is left out: it must be the publisher's own user."""
        return Message(
            body=self.body,
            headers={**self.headers, **changes},
            message_id=self.message_id,
            correlation_id=self.correlation_id,
        )


@dataclass(frozen=True, slots=True)
class Depth:
    """The number of ready messages and of consumers of a queue."""

    ready: int
    consumers: int


OnDelivery = Callable[[Delivery], None]
"""Is called with each delivery of a consumer."""

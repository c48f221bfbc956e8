"""Publishes into the queues of seeds: items that are available, now or again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from uuid import uuid4

from coordinator import topology
from coordinator.broker.batch_codec import available_message, is_marked, page_message
from coordinator.broker.channel import Channel
from coordinator.broker.types import Delivery, Message
from coordinator.domain.packing import Piece, Ticket, page_id
from coordinator.domain.seed_traffic import Pages
from coordinator.errors import CoordinatorError
from coordinator.models import Batch
from coordinator.topology import Header


@dataclass(slots=True, kw_only=True)
class SeedQueues:
    """Writes to the queues of seeds, in the name of `user`: the broker verifies it, and owners trust it."""

    publishing: Channel
    user: str
    pages: Pages = field(default_factory=Pages, init=False)

    async def put_batch(self, batch: Batch, *, redelivered: bool = False) -> None:
        """Let a batch wait in its seed's queue, to go out again unchanged.

        Args:
            batch: the batch.
            redelivered: whether it may have been put there before, and must be marked so.

        Raises:
            UnroutableError: the seed has no queue.
            BrokerUnavailableError: it may have arrived or not.
        """
        message = available_message(batch, self.user, redelivered=redelivered)
        await self._put(batch.seed, message, batch.count)

    async def put_page(self, seed: str, inner: bytes, count: int) -> None:
        """Add validated items: `inner` is their JSON text without the array's brackets."""
        page = uuid4().hex
        await self._put(seed, page_message(inner, count, page, self.user), count)

    async def relay(self, seed: str, delivery: Delivery, *, trusted: bool) -> None:
        """Add a page that came by another way; what its headers claim is vouched for anew only if its user is trusted.

        One that may have been relayed or added before is marked.
        """
        headers: dict[str, object] = {Header.PAGE: page_id(delivery.message_id, delivery.body)}
        if trusted:
            headers |= delivery.headers
        if delivery.redelivered or is_marked(delivery):
            headers[Header.REDELIVERED] = True
        message = Message(delivery.body, headers, message_id=delivery.message_id, user_id=self.user)
        await self._put(seed, message)

    async def give_back(self, seed: str, pieces: Sequence[Piece]) -> None:
        """Put back what was not sent, and settle the pages it came from.

        A page is requeued as it is: in one step, so that a crash cannot leave it there twice. It comes marked as
        redelivered then, though no worker has seen it. The rest of a page that was published in part is published anew.
        """
        for ticket, parts in _by_ticket(pieces):
            delivery = ticket.tag
            if ticket.confirmed == 0 and isinstance(delivery, Delivery):
                self.pages.put(seed, sum(piece.count for piece in parts))
                await delivery.reject(requeue=True)
                continue
            for piece in parts:
                message = page_message(piece.inner, piece.count, piece.id, self.user, redelivered=True)
                await self._put(seed, message, piece.count)
            settle(parts)

    async def _put(self, seed: str, message: Message, count: int = 0) -> None:
        """Publish; the page is counted before, since its owner may have it before the confirm is here."""
        if count:
            self.pages.put(seed, count)
        try:
            await self.publishing.publish("", topology.seed_queue_name(seed), message, mandatory=True)
        except CoordinatorError:
            if count:
                self.pages.failed(seed, count)
            raise


def _by_ticket(pieces: Sequence[Piece]) -> list[tuple[Ticket, list[Piece]]]:
    """The pieces by the page that they were made of, in order."""
    return [
        (parts[0].ticket, parts) for _, group in groupby(pieces, lambda one: id(one.ticket)) if (parts := list(group))
    ]


def settle(pieces: list[Piece]) -> None:
    """Ack the pages of which all pieces are done."""
    for piece in pieces:
        delivery = piece.ticket.tag
        if piece.ticket.done() and isinstance(delivery, Delivery):
            delivery.ack_soon()  # if its channel is gone, so is the session, and the page comes again, marked

"""What is published into seeds' queues: items that are available, now or again."""

from __future__ import annotations

from uuid import uuid4

from coordinator import topology
from coordinator.broker.connection import Channel, Delivery, Message
from coordinator.broker.messages import available_message, page_message
from coordinator.domain.packing import Piece, page_id
from coordinator.domain.pages import Pages
from coordinator.errors import CoordinatorError
from coordinator.models import Batch
from coordinator.topology import Header


class Available:
    """Writes to the queues of seeds, in the name of `user`: what the broker verifies and owners trust."""

    def __init__(self, publishing: Channel, user: str) -> None:
        self._publishing = publishing
        self.user = user
        self.pages = Pages()

    async def put_batch(self, batch: Batch) -> None:
        """Let a batch wait in its seed's queue, to go out again unchanged.

        Raises:
            UnroutableError: the seed has no queue.
            BrokerUnavailableError: it may have arrived or not.
        """
        await self._put(batch.seed, available_message(batch, self.user), batch.id, batch.count)

    async def put_page(self, seed: str, inner: bytes, count: int) -> None:
        """Add validated items: `inner` is their JSON text without the array's brackets."""
        page = uuid4().hex
        await self._put(seed, page_message(inner, count, page, self.user), page, count)

    async def relay(self, seed: str, delivery: Delivery, *, trusted: bool) -> None:
        """Add a page that came by another way; what its headers claim is vouched for anew only if its user is trusted.

        The broker takes nobody else's user id from us, so a stranger's page goes on without one.
        """
        page = page_id(delivery.message_id, delivery.body)
        headers = {Header.PAGE: page, **delivery.headers} if trusted else {}
        user = self.user if trusted else None
        await self._put(seed, Message(delivery.body, headers, message_id=delivery.message_id, user_id=user))

    async def give_back(self, seed: str, piece: Piece) -> None:
        """Put a piece back and settle the page it came from.

        It is published anew, not requeued: a requeued page would come marked as redelivered, though nothing failed.
        """
        if piece.batch is not None:
            await self.put_batch(piece.batch)
        else:
            await self._put(seed, page_message(piece.inner, piece.count, piece.id, self.user), piece.id, piece.count)
        await settle([piece])

    async def _put(self, seed: str, message: Message, page: str = "", count: int = 0) -> None:
        """Publish; the page is noted before, since its owner may have it before the confirm is here."""
        if page:
            self.pages.put(seed, page, count)
        try:
            await self._publishing.publish("", topology.seed_queue_name(seed), message, mandatory=True)
        except CoordinatorError:
            if page:
                self.pages.took(seed, page, count)
            raise


async def settle(pieces: list[Piece]) -> None:
    """Ack the pages of which all pieces are done."""
    for piece in pieces:
        delivery = piece.ticket.tag
        if piece.ticket.done() and isinstance(delivery, Delivery):
            await delivery.ack()

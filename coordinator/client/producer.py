"""Adds items to seeds over AMQP: validates them, sends them in pages, and counts them when the broker confirms."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from typing import Final, Self, TypeVar
from uuid import uuid4

import orjson

from coordinator import topology
from coordinator.broker.batch_codec import page_message
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.errors import BrokerUnavailableError, InvalidInputError, QueueMissingError, RejectedItemError
from coordinator.models import Item
from coordinator.validation import are_sound, check_seed_id, parse_items

PAGE_ITEMS: Final = 100
PAGE_BYTES: Final = 1_000_000
"""The size of the largest page, and so of the largest item: far below the limit of any broker."""
IN_FLIGHT: Final = 50
"""Pages that may wait for their confirms at the same time."""

OnConfirmed = Callable[[int], None]
Page = tuple[bytes, int]
"""The JSON text of items, with commas between them, and the number of items."""
_T = TypeVar("_T")


class Producer:
    """Adds items to seeds over a connection that is open during the `async with` block.

    A coordinator that trusts this producer's broker user does not validate the pages again.

    Args:
        amqp_urls: AMQP URLs of the nodes of one cluster; any one of them is enough.
        name: the connection's name in the broker's lists.
    """

    def __init__(self, amqp_urls: Sequence[str], name: str = "producer") -> None:
        self._urls = amqp_urls
        self._name = name
        self._link: tuple[Connection, Channel] | None = None

    async def __aenter__(self) -> Self:
        connection = await Connection.open(self._urls, self._name)
        self._link = connection, await connection.channel()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link[0].close()
            self._link = None

    async def submit(
        self,
        seed: str,
        items: Iterable[Item] | AsyncIterable[Item],
        on_confirmed: OnConfirmed | None = None,
    ) -> int:
        """Add items to a seed. The first item creates the seed.

        Args:
            seed: the seed's id.
            items: read as fast as the broker confirms.
            on_confirmed: called with the number of items of each page that the broker confirms.

        Returns:
            The number of items, all confirmed.

        Raises:
            RejectedItemError: an item does not validate. Items before it are confirmed, items after it are not sent.
            InvalidInputError: the seed id is not valid.
            UnroutableError: no queue takes the items, not even the queue for items of new seeds.
            QueueMissingError: no coordinator has ever run on this broker.
            BrokerUnavailableError: the broker went away. Items that `on_confirmed` counted are safe; some of the
                others may have arrived too.
        """
        return await self._send(seed, _item_pages(items), on_confirmed)

    async def submit_lines(
        self,
        seed: str,
        lines: Iterable[bytes] | AsyncIterable[bytes],
        on_confirmed: OnConfirmed | None = None,
    ) -> int:
        """Add items given as lines of JSON, which are sent unchanged. Blank lines are skipped.

        Arguments, result and errors are those of `submit`.
        """
        return await self._send(seed, _pages(lines, _from_line, "line"), on_confirmed)

    async def _send(self, seed: str, pages: AsyncIterator[Page], on_confirmed: OnConfirmed | None) -> int:
        check_seed_id(seed, "seed")
        if self._link is None:
            raise BrokerUnavailableError("the producer is not connected: use it in an `async with` block")
        connection, channel = self._link
        flight = _Flight(on_confirmed)
        try:
            async with flight:
                async for inner, count in pages:
                    message = page_message(inner, count, uuid4().hex, connection.user)
                    await flight.add(channel.send(topology.ITEMS, seed, message, mandatory=True), count)
        except InvalidInputError as error:
            raise RejectedItemError(error.problems, flight.confirmed) from error
        except QueueMissingError as error:
            raise QueueMissingError(
                "the exchange of items is missing: no coordinator has ever run on this broker"
            ) from error
        return flight.confirmed


class _Flight:
    """A limited number of pages that wait for their confirms. The first failure ends all."""

    def __init__(self, on_confirmed: OnConfirmed | None) -> None:
        self.confirmed = 0
        self._on_confirmed = on_confirmed
        self._sent: deque[tuple[asyncio.Future[None], int]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, exc: BaseException | None, __: object) -> None:
        try:
            if exc is None or isinstance(exc, InvalidInputError):
                await self._land(0)  # items before a bad item are confirmed too
        finally:
            for sent, _ in self._sent:
                sent.cancel()  # an exception that is never read would be logged

    async def add(self, sent: asyncio.Future[None], count: int) -> None:
        """Add a page that was sent, and wait until there is room for another."""
        self._sent.append((sent, count))
        await self._land(IN_FLIGHT - 1)

    async def _land(self, most: int) -> None:
        """Wait until at most this many pages are unconfirmed. The broker confirms roughly in order of arrival."""
        while len(self._sent) > most or (self._sent and self._sent[0][0].done()):
            sent, count = self._sent[0]
            await sent
            self._sent.popleft()
            self.confirmed += count
            if self._on_confirmed is not None:
                self._on_confirmed(count)


async def _item_pages(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Page]:
    """The items in pages. To validate a page as a whole takes a third of the time that its items take one by one.

    Only a page that is not valid as a whole goes through `_pages`, item by item.
    """
    before = 0
    async for some in _portions(items):
        if page := _whole(some):
            yield page
        else:
            async for part in _pages(some, _from_item, "item", before):
                yield part
        before += len(some)


def _whole(items: list[Item]) -> Page | None:
    """These items as one page; None if they are too large or not all valid."""
    try:
        text = orjson.dumps(items)
        if len(text) > PAGE_BYTES:
            return None
        if not are_sound(items, text):
            parse_items(text)
    except (TypeError, InvalidInputError):
        return None
    return text[1:-1], len(items)


async def _portions(entries: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[list[_T]]:
    """The entries in lists of a page's length; the last may be shorter."""
    if not isinstance(entries, AsyncIterable):
        left = iter(entries)
        while some := list(islice(left, PAGE_ITEMS)):
            yield some
        return
    some = []
    async for entry in entries:
        some.append(entry)
        if len(some) == PAGE_ITEMS:
            yield some
            some = []
    if some:
        yield some


async def _pages(
    entries: Iterable[_T] | AsyncIterable[_T], encode: Callable[[_T], bytes], noun: str, before: int = 0
) -> AsyncIterator[Page]:
    """The items' JSON texts in pages. A bad item raises after the page with the items before it.

    Args:
        entries: the source of each item.
        encode: makes an item's text; an empty text is skipped.
        noun: what an error calls an entry.
        before: the number of entries before these.

    Raises:
        InvalidInputError: an item does not validate; each problem's field begins with its place.
    """
    page: list[bytes] = []
    size, place = 0, before
    async for entry in each(entries):
        place += 1
        try:
            text = encode(entry)
        except InvalidInputError as error:
            if page:
                yield b",".join(page), len(page)
            raise InvalidInputError([_at(f"{noun} {place}", *problem) for problem in error.problems]) from error
        if page and (len(page) == PAGE_ITEMS or size + len(text) > PAGE_BYTES):
            yield b",".join(page), len(page)
            page, size = [], 0
        if text:
            page.append(text)
            size += len(text)
    if page:
        yield b",".join(page), len(page)


async def each(entries: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[_T]:
    """The entries, whichever kind of iterable they are in."""
    if isinstance(entries, AsyncIterable):
        async for entry in entries:
            yield entry
        return
    for entry in entries:
        yield entry


def _from_item(item: Item) -> bytes:
    try:
        text = orjson.dumps(item)
    except TypeError as error:
        raise InvalidInputError([("", f"cannot be written as JSON: {error}")]) from error
    return _checked(text)


def _from_line(line: bytes) -> bytes:
    text = line.strip()
    return _checked(text) if text else b""


def _checked(text: bytes) -> bytes:
    """The text, if it is one valid item. A list of items must not pass here: it would break the page."""
    if len(text) > PAGE_BYTES:
        raise InvalidInputError([("", f"is larger than {PAGE_BYTES} bytes")])
    if not text.startswith(b"{"):
        raise InvalidInputError([("", "must be a JSON object")])
    parse_items(text)
    return text


def _at(place: str, field: str, what: str) -> tuple[str, str]:
    """A problem in a page of one item (`0.id`, `[0]`, `body`) as a problem of the entry at this place."""
    rest = field.partition(".")[2]
    return (f"{place}, {rest}" if rest else place), what

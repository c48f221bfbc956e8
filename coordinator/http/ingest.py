"""Adds the items of a request to a seed's queue as they arrive: a JSON array, or one item a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from coordinator.domain.packing import array_inner, split_array
from coordinator.errors import BrokerUnavailableError, InvalidInputError, OverLimitError, TooSlowError
from coordinator.http.limits import Share
from coordinator.node.wiring import Session
from coordinator.validation import Bounds, parse_items

PAGE_BYTES = 1024 * 1024
OPEN_CONFIRMS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a call that adds items.

    Attributes:
        page: items in a page.
        line: bytes of a line.
        array: bytes of an array.
        pause: seconds within which the next bytes must arrive.
        bounds: limits of strings and nesting.
    """

    page: int
    line: int
    array: int
    pause: float
    bounds: Bounds


class Ingest:
    """Moves the items of one call to a seed's queue; `confirmed` counts those that the broker confirmed.

    Args:
        session: the coordinator's session.
        seed: the seed.
        limits: the limits of the call.
        memory: counts the bytes that are not confirmed yet.
        array: held while an array is decoded.
    """

    def __init__(self, session: Session, seed: str, limits: Limits, memory: Share, array: asyncio.Lock) -> None:
        self.confirmed = 0
        self.unconfirmed = 0
        self._session = session
        self._seed = seed
        self._limits = limits
        self._memory = memory
        self._array = array
        self._open: set[asyncio.Task[None]] = set()
        self._is_seed_there = False

    async def run(self, body: AsyncIterator[bytes], *, is_one_value: bool = False) -> None:
        """Add all items, as fast as the broker confirms them.

        Args:
            body: an array, or one item a line.
            is_one_value: whether the media type is JSON. Then a blank body is an error; otherwise it has no lines.

        Raises:
            InvalidInputError: an item does not validate. Nothing of an array is accepted then; of lines, all before it.
            OverLimitError: an array or a line is too large; all lines before it are accepted.
            TooSlowError: the body pauses too long; all lines before are accepted.
            BusyError: all requests together are too large; all lines before are accepted.
            BrokerUnavailableError: the broker did not confirm all items.
        """
        chunks = _in_time(body, self._limits.pause)
        first, lines = b"", 0
        async for first in chunks:
            if first.strip():
                break
            lines += first.count(b"\n")
        if is_one_value and not first.strip():
            raise InvalidInputError([("body", "is blank: an array of no items is []")])
        try:
            if first.lstrip().startswith(b"["):
                await self._take_array(first, chunks)
            else:
                await self._take_lines(first, chunks, lines)
        except asyncio.CancelledError:  # the process stops: there is no time to wait for open confirms
            for task in self._open:
                task.cancel()
            raise
        finally:
            await self._settle()

    async def _take_array(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        body = bytearray()
        async for chunk in _joined(first, chunks):
            self._memory.take(len(chunk))
            body += chunk
            if len(body) > self._limits.array:
                what = "an array, which must be whole before any of it is accepted (send one item a line instead),"
                raise OverLimitError(what, self._limits.array, "bytes", "MAX_ARRAY")
        async with self._array:
            pages = await asyncio.to_thread(_check_array, bytes(body), self._limits)
        for inner, count in pages:
            await self._send(inner, count)

    async def _take_lines(self, first: bytes, chunks: AsyncIterator[bytes], number: int) -> None:
        page = _Page(self._limits, self._memory)
        try:
            await self._read_lines(page, _joined(first, chunks), number)
        finally:
            if page.count:
                await self._send(*page.take())

    async def _read_lines(self, page: _Page, chunks: AsyncIterator[bytes], number: int) -> None:
        """Cut chunks into lines. A line that is not whole yet is kept up to the limit of a line."""
        rest = bytearray()
        async for chunk in chunks:
            await self._make_room(len(chunk))
            *ends, tail = chunk.split(b"\n")
            for end in ends:
                number += 1
                self._memory.give(len(rest))
                line = bytes(rest) + end
                rest.clear()
                if page.add(line, number):
                    await self._send(*page.take())
            self._memory.take(len(tail))
            rest += tail
            check_line(rest, number + 1, self._limits.line)
        if page.add(bytes(rest), number + 1):
            await self._send(*page.take())

    async def _send(self, inner: bytes, count: int, size: int = 0) -> None:
        """Publish a page when fewer than `OPEN_CONFIRMS` are open; `size` is what the memory limit counts for it."""
        if not self._is_seed_there:
            await self._session.catalog.ensure(self._seed)
            self._is_seed_there = True
        if len(self._open) >= OPEN_CONFIRMS:
            await self._confirm_one()
        self._open.add(asyncio.create_task(self._put(inner, count, size), name="page"))

    async def _make_room(self, size: int) -> None:
        """Wait until this many bytes fit, while pages of this call are open.

        Otherwise a slow broker would make the call fail, and the client would have to send everything again.
        """
        while self._open and not self._memory.has_room(size):
            await self._confirm_one()

    async def _confirm_one(self) -> None:
        done, _ = await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
        self._open -= done
        for task in done:
            task.result()

    async def _put(self, inner: bytes, count: int, size: int) -> None:
        try:
            await self._session.seed_queues.put_page(self._seed, inner, count)
            self.confirmed += count
        except (BrokerUnavailableError, asyncio.CancelledError):
            self.unconfirmed += count
            raise
        finally:
            self._memory.give(size)

    async def _settle(self) -> None:
        """Wait for all open pages, even if one fails."""
        for outcome in await asyncio.gather(*self._open, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome


def check_line(line: bytes | bytearray, number: int, most: int) -> None:
    """Check the length of a line.

    Raises:
        OverLimitError: the line is too long; the error has its number.
    """
    if len(line) > most:
        raise OverLimitError(f"line {number}", most, "bytes", "MAX_LINE")


class _Page:
    """Collects the lines of the next page, and validates each."""

    def __init__(self, limits: Limits, memory: Share) -> None:
        self._limits = limits
        self._memory = memory
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def count(self) -> int:
        return len(self._lines)

    def add(self, line: bytes, number: int) -> bool:
        """Add a line; return whether the page is full.

        Raises:
            OverLimitError: the line is too long.
            InvalidInputError: the line is not an item; the error has its number.
            BusyError: all requests together are too large.
        """
        check_line(line, number, self._limits.line)
        text = line.strip()
        if text:
            try:
                if text.startswith(b"["):
                    raise InvalidInputError([("body", "must be one item")])  # noqa: TRY301 - one place names the line
                parse_items(text, self._limits.bounds)
            except InvalidInputError as error:
                problems = [(f"line {number}: {field}", what) for field, what in error.problems]
                raise InvalidInputError(problems) from error
            self._memory.take(len(text))
            self._lines.append(text)
            self._size += len(text)
        return len(self._lines) >= self._limits.page or self._size >= PAGE_BYTES

    def take(self) -> tuple[bytes, int, int]:
        """Return the page's text, the number of its items and its counted size, and begin the next page."""
        lines, size = self._lines, self._size
        self._lines, self._size = [], 0
        return b",".join(lines), len(lines), size


def _check_array(body: bytes, limits: Limits) -> list[tuple[bytes, int]]:
    """Validate an array and cut it into pages. The text of each item stays the same."""
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
    parts = split_array(array_inner(body), limits.page) if items else []
    for index, (inner, _) in enumerate(parts):
        try:
            parse_items(b"[%b]" % inner, limits.bounds)
        except InvalidInputError as error:
            raise InvalidInputError([_placed(fault, index * limits.page) for fault in error.problems]) from error
    return parts


def _placed(fault: tuple[str, str], offset: int) -> tuple[str, str]:
    """Turn the index of a fault in its page into its index in the array."""
    field, what = fault
    head, dot, rest = field.partition(".")
    return (f"{int(head) + offset}{dot}{rest}", what) if head.isdigit() else fault


async def _joined(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _in_time(body: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Give the chunks; each must arrive in time.

    Raises:
        TooSlowError: a chunk does not arrive in time.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(body, None)
        except TimeoutError:
            raise TooSlowError(seconds, "STREAM_TIMEOUT") from None
        if chunk is None:
            return
        yield chunk

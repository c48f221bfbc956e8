"""Items that stream in over HTTP: a JSON array, or one item a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.exceptions import HTTPException

from coordinator.domain.packing import array_inner, split_array
from coordinator.errors import InvalidInputError
from coordinator.models import parse_items
from coordinator.node.session import Session

PAGE_ITEMS = 100
PAGE_BYTES = 1024 * 1024
MAX_LINE = 1024 * 1024
MAX_ARRAY = 64 * 1024 * 1024
OPEN_CONFIRMS = 20


class Ingest:
    """One call's items on their way to a seed's queue; `confirmed` counts those that the broker has."""

    def __init__(self, session: Session, seed: str) -> None:
        self.confirmed = 0
        self._session = session
        self._seed = seed
        self._open: set[asyncio.Task[None]] = set()
        self._is_seed_there = False

    async def run(self, chunks: AsyncIterator[bytes]) -> None:
        """Take everything in, at the broker's pace.

        Raises:
            InvalidInputError: an item does not validate. Of an array nothing is accepted then; of lines, all before.
            HTTPException: 413, an array or a line over its limit.
            BrokerUnavailableError: not all is confirmed.
        """
        first = b""
        async for chunk in chunks:
            first += chunk
            if first.lstrip() or len(first) > MAX_LINE:
                break
        try:
            if first.lstrip().startswith(b"["):
                await self._take_array(first, chunks)
            else:
                await self._take_lines(first, chunks)
        finally:
            await self._settle()

    async def _take_array(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        body = bytearray(first)
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_ARRAY:
                raise HTTPException(413, f"an array is limited to {MAX_ARRAY} bytes; send more as one item a line")
        text = bytes(body)
        pages = await asyncio.to_thread(_check_array, text)
        for inner, count in pages:
            await self._send(inner, count)

    async def _take_lines(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        page = _Page()
        try:
            await self._read_lines(page, first, chunks)
        finally:
            if page.count:
                await self._send(*page.take())

    async def _read_lines(self, page: _Page, rest: bytes, chunks: AsyncIterator[bytes]) -> None:
        number = 0
        async for chunk in _with_end(chunks):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                if page.add(line, number):
                    await self._send(*page.take())
            if len(rest) > MAX_LINE:
                raise HTTPException(413, f"line {number + 1} is over its limit of {MAX_LINE} bytes")

    async def _send(self, inner: bytes, count: int) -> None:
        if not self._is_seed_there:
            await self._session.seeds.ensure(self._seed)
            self._is_seed_there = True
        if len(self._open) >= OPEN_CONFIRMS:
            done, _ = await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._open -= done
        self._open.add(asyncio.create_task(self._put(inner, count)))

    async def _put(self, inner: bytes, count: int) -> None:
        await self._session.available.put_page(self._seed, inner, count)
        self.confirmed += count

    async def _settle(self) -> None:
        if self._open:
            await asyncio.gather(*self._open)


class _Page:
    """Lines that make the next page, each validated when it comes."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def count(self) -> int:
        return len(self._lines)

    def add(self, line: bytes, number: int) -> bool:
        """Take a line in; whether the page is full.

        Raises:
            InvalidInputError: the line is no item; its number is named.
        """
        text = line.strip()
        if text:
            try:
                if text.startswith(b"["):
                    raise InvalidInputError([("body", "must be one item")])  # noqa: TRY301 - one place names the line
                parse_items(text)
            except InvalidInputError as error:
                problems = [(f"line {number}: {field}", what) for field, what in error.problems]
                raise InvalidInputError(problems) from error
            self._lines.append(text)
            self._size += len(text)
        return len(self._lines) >= PAGE_ITEMS or self._size >= PAGE_BYTES

    def take(self) -> tuple[bytes, int]:
        """The page's text and count; the next begins empty."""
        lines, self._lines, self._size = self._lines, [], 0
        return b",".join(lines), len(lines)


def _check_array(body: bytes) -> list[tuple[bytes, int]]:
    """Validate an array of any length and cut it into pages, each item's text as it was."""
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
    parts = split_array(array_inner(body), PAGE_ITEMS) if items else []
    for index, (inner, _) in enumerate(parts):
        try:
            parse_items(b"[%b]" % inner)
        except InvalidInputError as error:
            raise InvalidInputError([_placed(fault, index * PAGE_ITEMS) for fault in error.problems]) from error
    return parts


def _placed(fault: tuple[str, str], offset: int) -> tuple[str, str]:
    """A fault's place within its page as its place in the whole array."""
    field, what = fault
    head, dot, rest = field.partition(".")
    return (f"{int(head) + offset}{dot}{rest}", what) if head.isdigit() else fault


async def _with_end(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks and a last line's end."""
    async for chunk in chunks:
        yield chunk
    yield b"\n"

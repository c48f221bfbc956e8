"""Pages into batches: small ones merged, large ones split, without decoding what need not be decoded."""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from coordinator.models import Batch

_WHITESPACE = b" \t\r\n"
_scan = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class Ticket:
    """A delivered page that is to be settled once all pieces made of it are confirmed; `tag` is the delivery's."""

    tag: object
    pieces: int = 1
    confirmed: int = 0

    def done(self) -> bool:
        """Count a confirmed piece; returns whether it was the last."""
        self.confirmed += 1
        return self.confirmed == self.pieces


@dataclass(slots=True)
class Piece:
    """Items that stay together: a page, a part of a large page, or a batch that came back; nobody changes one.

    `inner` is the JSON text of the items without the array's brackets. A piece that is `solo` is never merged: a
    redelivered page must come out under the batch id it had before.
    """

    id: str
    inner: bytes
    count: int
    ticket: Ticket = field(compare=False)
    arrived: float = 0.0
    solo: bool = False
    redelivered: bool = False
    batch: Batch | None = None

    def again(self) -> Piece:
        """The same, as one that may have been sent before."""
        return replace(self, solo=True, redelivered=True)


def page_id(message_id: str | None, body: bytes) -> str:
    """A page's identity, the same at each delivery.

    Producers may leave the message id out, or use one twice, so the text of the page is always part of it.
    """
    digest = hashlib.blake2b(body, digest_size=16, person=b"page")
    digest.update((message_id or "").encode())
    return digest.hexdigest()


def batch_id(seed: str, pieces: Sequence[Piece]) -> str:
    """A batch's id, derived from what it is made of: 32 hexadecimal digits."""
    digest = hashlib.blake2b(seed.encode(), digest_size=16, person=b"batch")
    for piece in pieces:
        digest.update(piece.id.encode() + b"\0")
    return digest.hexdigest()


def array_inner(body: bytes) -> bytes:
    """The text between the brackets of a page that is an array, or a page of one item as it is."""
    text = body.strip(_WHITESPACE)
    return text[1:-1].strip(_WHITESPACE) if text.startswith(b"[") else text


def split_array(inner: bytes, size: int) -> list[tuple[bytes, int]]:
    """Cut the items' text into parts of at most `size` items; each part keeps its text as it was."""
    text = inner.decode()
    parts: list[tuple[bytes, int]] = []
    begin = end = count = 0
    while end < len(text):
        _, end = _scan(text, _skip(text, end))
        count += 1
        following = _skip(text, end)
        if count == size or following >= len(text):
            parts.append((text[begin:end].strip().encode(), count))
            begin, count = following, 0
        end = following
    return parts


def _skip(text: str, index: int) -> int:
    while index < len(text) and text[index] in " \t\r\n,":
        index += 1
    return index


def cut(piece: Piece, size: int) -> list[Piece]:
    """The piece itself when it fits, else parts of it, which share its ticket and are never merged."""
    if not _is_too_large(piece, size):
        return [piece]
    parts = split_array(piece.inner, size)
    piece.ticket.pieces += len(parts) - 1
    cuts = []
    begin = 0
    for inner, count in parts:
        cuts.append(
            Piece(
                id=f"{piece.id}/{begin}-{begin + count}",
                inner=inner,
                count=count,
                ticket=piece.ticket,
                arrived=piece.arrived,
                solo=True,
                redelivered=piece.redelivered,
            )
        )
        begin += count
    return cuts


def _is_too_large(piece: Piece, size: int) -> bool:
    """Whether a piece must be cut; a batch that came back stays as it is."""
    return piece.count > size and piece.batch is None


class Buffer:
    """A seed's pages at hand, in the order they came."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.items = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, piece: Piece) -> None:
        """Take a piece in at the end."""
        self._pieces.append(piece)
        self.items += piece.count

    def next_count(self, size: int) -> int:
        """How many items the next batch of at most `size` would hold; 0 when there is nothing."""
        if self._pieces and _is_too_large(self._pieces[0], size):
            return size  # the first part, once `take` has cut it
        return sum(piece.count for piece in self._head(size))

    def is_ripe(self, size: int, now: float, linger: float) -> bool:
        """Whether the next batch should go now: it is full, cannot grow, or its first page waited `linger` seconds."""
        if not self._pieces:
            return False
        first = self._pieces[0]
        return first.solo or first.batch is not None or self.items >= size or now - first.arrived >= linger

    def take(self, size: int) -> list[Piece]:
        """Remove and return the pieces of the next batch of at most `size` items; cuts a larger first page."""
        if self._pieces and _is_too_large(self._pieces[0], size):
            self._pieces.extendleft(reversed(cut(self._pieces.popleft(), size)))
        head = self._head(size)
        for piece in head:
            self._pieces.popleft()
            self.items -= piece.count
        return head

    def first_batch(self) -> Batch | None:
        """The batch that goes next unchanged, if a batch that came back is first in line."""
        return self._pieces[0].batch if self._pieces else None

    def put_back(self, pieces: Sequence[Piece]) -> None:
        """Undo a take."""
        self._pieces.extendleft(reversed(pieces))
        self.items += sum(piece.count for piece in pieces)

    def ripens_at(self, linger: float) -> float:
        """When the first page has waited long enough, by the clock of its arrival."""
        return self._pieces[0].arrived + linger if self._pieces else math.inf

    def drain(self) -> list[Piece]:
        """Remove and return everything."""
        pieces = list(self._pieces)
        self._pieces.clear()
        self.items = 0
        return pieces

    def _head(self, size: int) -> list[Piece]:
        """The pieces of the next batch; a first piece that is too large makes a batch of its own."""
        head: list[Piece] = []
        total = 0
        for piece in self._pieces:
            alone = piece.solo or piece.batch is not None
            if head and (alone or total + piece.count > size):
                break
            head.append(piece)
            total += piece.count
            if alone or total == size:
                break
        return head

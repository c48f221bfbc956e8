"""Pages into batches: nothing lost, nothing doubled, and no byte of an item changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.packing import Buffer, Piece, Ticket, array_inner, batch_id, cut, page_id, split_array
from coordinator.models import Batch

SPACE = st.sampled_from(["", " ", "\n", "\t", "\r\n  "])
ITEM_TEXTS = [
    '{"id":"a"}',
    '{ "id" : "b" , "n" : 123456789012345678901234567890123456789 }',
    '{"id":"c","f":[1.50,1e400,-0.0,1E+2,0.1000000000000000055511151231257827]}',
    '{"id":"d","s":"\\u00e9\\/\\n\\ud83d\\ude00"}',
    '{"id":"e],[{\\"}","m":{"a":[[],{},[1,[2,{"b":"},{"}]]]}}',
    '{"id":"\\\\","x":"\\\\\\""}',
    '{"id":"é ✓ 𝄞\u2028\u00a0"}',
    '{"id":"f","id":"twice"}',
    '{\n  "id": "g"\t}',
]
TEXTS = st.one_of(
    st.sampled_from(ITEM_TEXTS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map(lambda text: json.dumps({"id": text})),
)
SIZES = st.integers(1, 12)


def piece(ident: str, count: int, *, solo: bool = False, arrived: float = 0.0) -> Piece:
    """A page whose items are named after it and numbered."""
    inner = ",".join(f'{{"id":"{ident}-{number}"}}' for number in range(count))
    return Piece(page_id(ident, inner.encode()), inner.encode(), count, Ticket(ident), arrived, solo, redelivered=solo)


def returned(ident: str, count: int) -> Piece:
    """A batch that came back."""
    whole = piece(ident, count)
    batch = Batch(ident, "s", 1, 2, (), "", count, b"[" + whole.inner + b"]")
    return replace(whole, id=ident, batch=batch)


PIECES = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["page", "page", "solo", "returned"])), max_size=15)


def buffer_of(kinds: list[tuple[int, str]]) -> tuple[Buffer, list[Piece]]:
    """A buffer with pieces of these sizes and kinds, and those pieces."""
    buffer = Buffer()
    pieces = [
        returned(f"p{number}", count) if kind == "returned" else piece(f"p{number}", count, solo=kind == "solo")
        for number, (count, kind) in enumerate(kinds)
    ]
    for one in pieces:
        buffer.add(one)
    return buffer, pieces


def ids(pieces: list[Piece]) -> list[str]:
    """The items of the pieces."""
    return [item["id"] for one in pieces for item in orjson.loads(b"[" + one.inner + b"]")]


def take_all(buffer: Buffer, size: Callable[[], int]) -> list[list[Piece]]:
    """Batches until the buffer is empty."""
    batches = []
    while batch := buffer.take(size()):
        batches.append(batch)
    return batches


@given(PIECES, st.data())
def test_nothing_is_lost_doubled_or_reordered(kinds: list[tuple[int, str]], data: st.DataObject) -> None:
    """Whatever the sizes, all items come out once, in their order, also when the size changes meanwhile."""
    buffer, pieces = buffer_of(kinds)
    assert (len(buffer), buffer.items) == (len(pieces), sum(count for count, _ in kinds))
    batches = take_all(buffer, lambda: data.draw(SIZES))
    assert ids([one for batch in batches for one in batch]) == ids(pieces)
    assert (len(buffer), buffer.items, buffer.next_count(5)) == (0, 0, 0)


@given(PIECES, SIZES)
def test_a_batch_holds_at_most_its_size(kinds: list[tuple[int, str]], size: int) -> None:
    """Only a batch that came back may be larger; it goes alone, unchanged, and so does what was redelivered."""
    buffer, _ = buffer_of(kinds)
    while True:
        announced, first = buffer.next_count(size), buffer.first_batch()
        batch = buffer.take(size)
        count = sum(one.count for one in batch)
        assert count == announced
        if not batch:
            break
        assert all(one.count == len(ids([one])) for one in batch)
        assert first == batch[0].batch
        if any(one.solo or one.batch for one in batch):
            assert len(batch) == 1
        assert count <= size or batch[0].batch is not None


@given(PIECES, SIZES)
def test_a_batch_is_as_full_as_order_allows(kinds: list[tuple[int, str]], size: int) -> None:
    """A batch ends early only before a piece that would not fit or must be alone, or after such a one."""
    buffer, _ = buffer_of(kinds)
    batches = take_all(buffer, lambda: size)
    for batch, following in pairwise(batches):
        alone = any(one.solo or one.batch for one in (*batch, following[0]))
        # A page too large for what was left is cut when its own turn comes, so its first part is full.
        assert alone or sum(one.count for one in batch) + following[0].count > size


@given(PIECES, SIZES)
def test_redelivered_pages_stay_marked(kinds: list[tuple[int, str]], size: int) -> None:
    """A redelivered page, or each part of one, keeps its mark, and nothing else gets one."""
    buffer, pieces = buffer_of(kinds)
    marked = {one.ticket.tag for one in pieces if one.redelivered}
    for batch in take_all(buffer, lambda: size):
        assert all(one.redelivered is (one.ticket.tag in marked) for one in batch)


@given(PIECES, SIZES, SIZES)
def test_put_back_undoes_take(kinds: list[tuple[int, str]], size: int, other: int) -> None:
    """After a take that is undone the same batches come as without it."""
    buffer, _ = buffer_of(kinds)
    buffer.take(other)
    batch = buffer.take(size)
    before = (len(buffer) + len(batch), buffer.items + sum(one.count for one in batch))
    buffer.put_back(batch)
    assert (len(buffer), buffer.items) == before
    assert buffer.take(size) == batch
    buffer.put_back(batch)
    assert ids(buffer.drain())[: sum(one.count for one in batch)] == ids(batch)
    assert (len(buffer), buffer.items) == (0, 0)


def test_put_back_keeps_the_order_of_merged_pages() -> None:
    """Several pages that were to be one batch are put back in the order in which they came."""
    buffer, pieces = buffer_of([(1, "page")] * 3)
    buffer.put_back(buffer.take(2))
    assert buffer.drain() == pieces


@given(PIECES, SIZES)
def test_a_page_is_settled_with_its_last_part(kinds: list[tuple[int, str]], size: int) -> None:
    """A page's delivery is settled once, when all that was made of it is confirmed, and not before."""
    buffer, pieces = buffer_of(kinds)
    left = {one.ticket.tag: one.count for one in pieces}
    for batch in take_all(buffer, lambda: size):
        for one in batch:
            left[one.ticket.tag] -= one.count
            assert one.ticket.done() is (left[one.ticket.tag] == 0)


@given(PIECES, SIZES)
def test_batch_ids_are_the_same_again_and_differ(kinds: list[tuple[int, str]], size: int) -> None:
    """The same pages make the same batches with the same ids; no two batches share one, nor do two seeds."""
    first, again = ([batch_id("s", batch) for batch in take_all(buffer_of(kinds)[0], lambda: size)] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(first)
    assert all(re.fullmatch("[0-9a-f]{32}", ident) for ident in first)
    assert not set(first) & {batch_id("t", batch) for batch in take_all(buffer_of(kinds)[0], lambda: size)}


def test_page_ids_tell_pages_apart() -> None:
    """A page's id is that of its text and its message id together, whether or not it has one."""
    assert page_id("m", b"[1]") == page_id("m", b"[1]")
    assert page_id(None, b"[1]") == page_id("", b"[1]")
    assert len({page_id("m", b"[1]"), page_id("n", b"[1]"), page_id("m", b"[2]"), page_id(None, b"[1]")}) == 4


@given(st.lists(st.tuples(TEXTS, SPACE, SPACE), min_size=1, max_size=20), SPACE, SIZES)
def test_a_split_changes_no_byte_of_an_item(items: list[tuple[str, str, str]], around: str, size: int) -> None:
    """Numbers, escapes, brackets in strings and space within items come out as they went in."""
    body = around + "[" + around + ",".join(before + text + after for text, before, after in items) + "]" + around
    inner = array_inner(body.encode())
    parts = split_array(inner, size)
    assert [count for _, count in parts[:-1]] == [size] * (len(parts) - 1)
    place = 0
    for text, count in parts:
        shown = text.decode()
        for index, (item, before, after) in enumerate(items[place : place + count]):
            lead = "" if index == 0 else before
            assert shown.startswith(lead + item)
            shown = shown[len(lead + item) :]
            if index < count - 1:
                assert shown.startswith(after + ",")
                shown = shown[len(after) + 1 :]
        assert shown == ""
        place += count
    assert place == len(items)


@pytest.mark.parametrize("text", ITEM_TEXTS)
def test_a_page_of_one_item(text: str) -> None:
    """A page may be one item without brackets, with any space around it."""
    for body in (text, f" \n{text}\t", f"[{text}]", f" [ {text} ]\r\n"):
        assert array_inner(body.encode()) == text.encode()
    assert split_array(text.encode(), 1) == [(text.encode(), 1)]


def test_a_cut_leaves_what_fits() -> None:
    """A page that fits stays as it is, and so does any batch that came back; parts never merge again."""
    small, back = piece("p", 3), returned("r", 9)
    assert cut(small, 3) == [small]
    assert cut(back, 3) == [back]
    parts = cut(piece("p", 7), 3)
    assert [part.count for part in parts] == [3, 3, 1]
    assert all(part.solo and not part.redelivered for part in parts)


def test_when_a_batch_is_ripe() -> None:
    """A batch waits for more for `linger` seconds, unless it is full or cannot grow."""
    buffer = Buffer()
    assert not buffer.is_ripe(5, now=100, linger=0)
    assert buffer.ripens_at(1) == float("inf")
    buffer.add(piece("p", 2, arrived=10))
    assert not buffer.is_ripe(5, now=10.5, linger=1)
    assert buffer.is_ripe(5, now=11, linger=1)
    assert buffer.is_ripe(2, now=10, linger=1)
    assert buffer.ripens_at(1) == 11
    buffer.add(piece("q", 3, arrived=10.5))
    assert buffer.is_ripe(5, now=10.5, linger=1)
    for alone in (piece("p", 2, solo=True, arrived=10), replace(returned("r", 2), arrived=10)):
        only = Buffer()
        only.add(alone)
        assert only.is_ripe(5, now=10, linger=1)

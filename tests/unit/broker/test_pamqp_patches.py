"""Any table and text that a publisher sends can be decoded, and encoded again."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, constants, decode

from coordinator.broker import frames
from coordinator.broker.pamqp_patches import install, writable


def short(text: bytes) -> bytes:
    """A short string as it is on the wire."""
    return struct.pack(">B", len(text)) + text


def long(text: bytes) -> bytes:
    """A long string, or the inside of a table or array."""
    return struct.pack(">I", len(text)) + text


def packed(tag: bytes, form: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """A field of a number's type."""
    return values.map(lambda value: tag + struct.pack(form, value))


def tables(fields: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Tables of these fields; their keys may be anything."""
    keys = st.binary(max_size=9) | st.just(b"k" * 255)
    return st.lists(st.tuples(keys, fields), max_size=4).map(
        lambda entries: long(b"".join(short(key) + field for key, field in entries))
    )


FIELDS: st.SearchStrategy[bytes] = st.recursive(
    st.one_of(
        packed(b"t", ">?", st.booleans()),
        packed(b"b", ">b", st.integers(-128, 127)),
        packed(b"s", ">h", st.integers(-(2**15), 2**15 - 1)),
        packed(b"I", ">i", st.integers(-(2**31), 2**31 - 1)),
        packed(b"l", ">q", st.integers(-(2**63), 2**63 - 1)),
        packed(b"f", ">f", st.floats(width=32)),
        packed(b"d", ">d", st.floats()),
        packed(b"T", ">Q", st.integers(0, 2**64 - 1)),
        st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1)).map(
            lambda two: b"D" + struct.pack(">Bi", *two)
        ),
        st.binary(max_size=9).map(lambda text: b"S" + long(text)),
        st.binary(max_size=9).map(lambda text: b"x" + long(text)),
        st.just(b"V"),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda fields: b"A" + long(b"".join(fields)))
        | tables(inner).map(lambda table: b"F" + table)
    ),
    max_leaves=6,
)


def received(properties: bytes, flags: int) -> frames.Properties:
    """The properties of a content header with these bytes."""
    return frames.read_header(struct.pack(">HHQH", 60, 0, 0, flags) + properties, 0)


@given(tables(FIELDS), st.binary(max_size=255))
def test_any_headers_and_texts_are_read_and_written(table: bytes, text: bytes) -> None:
    """Reading never fails, and a message with what was read can be published."""
    found = received(table + short(text), 0b0010_0000_1000_0000)
    ident = (found.message_id or "").encode()
    assert b"\x1a" in ident or ident == text
    assert frames.table(found.headers)


@pytest.mark.parametrize(
    ("table", "headers"),
    [
        (short(b"a") + b"S" + long(b"x\xffy"), {"a": "x\x1ay"}),
        (short(b"a") + b"T" + struct.pack(">Q", 2**63), {"a": None}),
        (short(b"a") + b"d" + struct.pack(">d", 1e300), {"a": 1e300}),
        (short(b"\xff") + b"V", {}),
        (short(b"a") + b"Z", {}),
        (short(b"a") + b"A" + long(b"x"), {}),
        (b"", {}),
    ],
)
def test_odd_fields(table: bytes, headers: dict[str, object]) -> None:
    """Bytes that are no UTF-8 become the control character for that, a time beyond all calendars is none.

    A table that cannot be read at all is empty.
    """
    found = received(long(table), 0b0010_0000_0000_0000)
    assert found.headers == headers
    assert frames.table(found.headers)


def test_a_table_that_is_nested_too_deep() -> None:
    """It is empty, and what follows it is read."""
    nested = b"V"
    for _ in range(5000):
        nested = b"A" + long(nested)
    found = received(long(short(b"a") + nested) + short(b"id"), 0b0010_0000_1000_0000)
    assert (found.headers, found.message_id) == ({}, "id")


def test_ordinary_headers_are_left_alone() -> None:
    """What can be written is written as it is."""
    given_headers = {"text": "é", "number": 2**40, "flag": True, "list": [1, {"a": "b"}], "half": 0.5}
    _, headers = decode.field_table(frames.table(given_headers))
    assert headers == given_headers


def test_headers_that_do_not_fit_are_left_out() -> None:
    """The largest go first, so ours stay."""
    strangers = {f"x{number}": "é" * 20_000 for number in range(4)} | {"list": ["x" * 50_000]}
    assert set(writable({**strangers, "reason": "r" * 2000, "count": 5})) == {"x2", "x3", "reason", "count"}


def test_installing_twice_changes_nothing() -> None:
    """The package has installed the patches; to install them again puts the same ones in their places."""
    before = dict(decode.METHODS), dict(decode.TABLE_MAPPING), dict(constants.DOMAIN_REGEX)
    install()
    assert before == (decode.METHODS, decode.TABLE_MAPPING, constants.DOMAIN_REGEX)


def test_any_queue_name_is_accepted() -> None:
    """Queues are named after seeds, whose ids may hold what pamqp refuses by itself."""
    name = "seed.a=é"
    assert commands.Queue.Declare(queue=name).queue == name

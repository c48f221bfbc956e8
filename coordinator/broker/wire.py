"""What any publisher may put on the wire and the client library cannot read, or not write again.

The broker takes texts that are no UTF-8, times beyond the year 9999, tables nested a thousand deep; the library fails
to read such a message, and with it the whole connection. The message would come back to the next one, and end every
coordinator for as long as it lies in its queue. So reading is made to fail no more, and each odd value becomes one
that can be judged and passed on.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from pamqp import decode, encode

SUBSTITUTE: Final = "\x1a"
"""Stands for bytes that are no UTF-8. It is a control character, so no id holds it."""
PLAIN: Final = (str, int, type(None))
"""Types of header values that can always be written."""
ROOM: Final = 100_000
"""Bytes of headers in a message; a frame holds 131,072."""
LENGTH: Final = struct.Struct(">I")

codecs.register_error("substitute", lambda error: (SUBSTITUTE, error.end))  # type: ignore[attr-defined]


def install() -> None:
    """Teach the client library."""
    decode.METHODS["shortstr"] = _short_text
    decode.METHODS["table"] = _table
    decode.METHODS["timestamp"] = _or_nothing(decode.timestamp, 8)
    decode.TABLE_MAPPING[b"S"] = _long_text
    decode.TABLE_MAPPING[b"T"] = _or_nothing(decode.timestamp, 8)


def writable(headers: Mapping[str, object]) -> dict[str, Any]:
    """These headers: a value that the library cannot write replaced by its text, and the largest left out.

    All headers must fit into one frame, else the broker ends the connection; and what came in a full frame would not
    go on with headers of ours.
    """
    fit = {name: value if isinstance(value, PLAIN) else _writable(value) for name, value in headers.items()}
    sizes = {name: len(name) + _size(value) for name, value in fit.items()}
    total = sum(sizes.values())
    if total > ROOM:
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            del fit[name]
            total -= sizes[name]
            if total <= ROOM:
                break
    return fit


def _writable(value: object) -> object:
    try:
        encode.encode_table_value(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RecursionError, struct.error):
        return str(value)[:1000] if isinstance(value, float) else f"({type(value).__name__}, unreadable)"
    return value


def _size(value: object) -> int:
    """Bytes that a value takes, if not fewer."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return 8 if isinstance(value, PLAIN) else len(encode.encode_table_value(value))  # type: ignore[arg-type]


def _short_text(value: bytes) -> tuple[int, str]:
    length = value[0]
    return length + 1, bytes(value[1 : length + 1]).decode(errors="substitute")


def _long_text(value: bytes) -> tuple[int, str]:
    (length,) = LENGTH.unpack_from(value)
    return length + 4, bytes(value[4 : length + 4]).decode(errors="substitute")


def _table(value: bytes) -> tuple[int, dict[str, Any]]:
    """A table, empty where it cannot be read: where it ends is known all the same."""
    try:
        consumed, table = decode.field_table(value)
    except (ValueError, OverflowError, OSError, RecursionError, struct.error):
        return LENGTH.unpack_from(value)[0] + 4, {}
    return consumed, dict(table)


def _or_nothing(read: Callable[[bytes], tuple[int, Any]], size: int) -> Callable[[bytes], tuple[int, Any]]:
    def try_to_read(value: bytes) -> tuple[int, Any]:
        try:
            return read(value)
        except (ValueError, OverflowError, OSError):
            return size, None

    return try_to_read

"""Patch pamqp so that a malformed field cannot end the connection.

The broker accepts texts that are not UTF-8, times after the year 9999, and tables nested a thousand deep. pamqp raises
when it decodes such a message, and that ends the whole connection. The message would come back on the next connection
and end that too, for every coordinator, as long as it is in its queue. With the patches decoding never raises: each
malformed value becomes one that can be validated and published again.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pamqp import constants, decode, encode

SUBSTITUTE: Final = "\x1a"
"""Replaces bytes that are not UTF-8. It is a control character, so no valid id contains it."""
PLAIN: Final = (str, int, type(None))
"""Types of header values that pamqp can always encode."""
ROOM: Final = 100_000
"""Most bytes of headers in a message; a frame holds 131,072."""
LENGTH: Final = struct.Struct(">I")
TIMESTAMP_SIZE: Final = 8


def install() -> None:
    """Install every patch of pamqp; harmless when they are installed already.

    `coordinator/broker/__init__.py` calls it, so that no module of the package runs without the patches.
    """
    codecs.register_error("substitute", lambda error: (SUBSTITUTE, error.end))  # type: ignore[attr-defined]
    decode.METHODS["shortstr"] = _short_text
    decode.METHODS["table"] = _table
    decode.METHODS["timestamp"] = _timestamp
    decode.TABLE_MAPPING[b"S"] = _long_text
    decode.TABLE_MAPPING[b"T"] = _timestamp
    # pamqp refuses queue names that the broker accepts, such as names with `=` or non-ASCII letters. Seed ids may
    # contain these, and queues are named after seeds.
    constants.DOMAIN_REGEX["queue-name"] = re.compile(r".*", re.DOTALL)


def writable(headers: Mapping[str, object]) -> dict[str, Any]:
    """These headers, so that pamqp can encode them: unencodable values become text, and the largest may be left out.

    All headers must fit into one frame, else the broker ends the connection. A message that came with a full frame of
    headers would not fit any more once we add our own.
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
    """The most bytes that the encoded value can have."""
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
    """Decode a table; one that cannot be decoded is empty. Its length field says where it ends."""
    try:
        consumed, table = decode.field_table(value)
    except (ValueError, OverflowError, OSError, RecursionError, struct.error):
        return LENGTH.unpack_from(value)[0] + 4, {}
    return consumed, dict(table)


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    """Decode a timestamp; None for a time that no `datetime` can hold."""
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return TIMESTAMP_SIZE, None

"""Encode and decode the AMQP frames that pass thousands of times a second, without the client library's objects.

The specification (https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, sections 1.8 and 4.2) gives their layout. The
client library handles all other frames.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pamqp import decode, encode

from coordinator.broker import pamqp_patches
from coordinator.broker.types import Message

METHOD, HEADER, BODY = 1, 2, 3
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"
PREAMBLE: Final = struct.Struct(">BHI")
"""Frame type, channel, and length of the payload that follows. One more byte ends the frame."""
END: Final = 0xCE
AROUND: Final = PREAMBLE.size + 1
"""Bytes of a frame without its payload."""

BASIC: Final = 60
PUBLISH, RETURN, DELIVER, GET, GET_OK, GET_EMPTY, ACK, REJECT, NACK = (
    BASIC << 16 | method for method in (40, 50, 60, 70, 71, 72, 80, 90, 120)
)

_END: Final = b"\xce"
_PERSISTENT: Final = b"\x02"
_SETTLE: Final = struct.Struct(">BHIIQBB")
_CONTENT: Final = struct.Struct(">HHQH")
_TAG: Final = struct.Struct(">QB")
_LENGTH: Final = struct.Struct(">I")
_INT: Final = struct.Struct(">ci")
_LONG: Final = struct.Struct(">cq")
_INTS: Final = range(-(2**31), 2**31)

_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY, _CORRELATION, _REPLY_TO, _EXPIRATION, _ID, _TIME, _KIND, _USER = (
    1 << bit for bit in range(15, 3, -1)
)
_MORE: Final = 1
"""Another word of flags follows. AMQP 0-9-1 defines no flag in it."""


Origin = tuple[int, bool, str]
"""A delivery's tag, whether it was delivered before, and its routing key."""


class Properties(NamedTuple):
    """The fields of a content header that we use; `size` is the size of the body in bytes."""

    size: int
    headers: Mapping[str, object]
    correlation_id: str | None
    reply_to: str | None
    message_id: str | None
    user_id: str | None


# ---- Writing -----------------------------------------------------------------------------------------------


def publish(
    channel: int, exchange: str, routing_key: str, message: Message, message_id: str, *, mandatory: bool, most: int
) -> list[bytes]:
    """The frames of a message.

    Args:
        channel: its number.
        exchange: where to publish.
        routing_key: at most 255 bytes.
        message: what to publish.
        message_id: the message's own, or a generated one.
        mandatory: whether the broker returns it when no queue takes it.
        most: the largest frame in bytes.

    Raises:
        ValueError: a short text, such as the message id, is longer than 255 bytes.
    """
    body = message.body
    header = _content_header(message, message_id)
    frames = [
        _publish_method(channel, exchange, routing_key, mandatory=mandatory),
        PREAMBLE.pack(HEADER, channel, len(header)),
        header,
        _END,
    ]
    part = most - AROUND
    for at in range(0, len(body), part):
        piece = body if len(body) <= part else body[at : at + part]
        frames += (PREAMBLE.pack(BODY, channel, len(piece)), piece, _END)
    return frames


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """The frame that acks one delivery, or all up to it."""
    return _SETTLE.pack(METHOD, channel, 13, ACK, tag, multiple, END)


def reject(channel: int, tag: int, *, requeue: bool) -> bytes:
    """The frame that rejects one delivery."""
    return _SETTLE.pack(METHOD, channel, 13, REJECT, tag, requeue, END)


def get(channel: int, queue: str) -> bytes:
    """The frame that asks for one message of a queue."""
    return _method(channel, GET, b"\0\0" + _short(queue) + b"\0")


@lru_cache(maxsize=4096)
def _publish_method(channel: int, exchange: str, routing_key: str, *, mandatory: bool) -> bytes:
    return _method(channel, PUBLISH, b"\0\0" + _short(exchange) + _short(routing_key) + (b"\1" if mandatory else b"\0"))


def _method(channel: int, method: int, arguments: bytes) -> bytes:
    return PREAMBLE.pack(METHOD, channel, len(arguments) + 4) + _LENGTH.pack(method) + arguments + _END


def _content_header(message: Message, message_id: str) -> bytes:
    flags = _CONTENT_TYPE | _MODE
    parts = [b"", _short(message.content_type)]
    if message.headers:
        flags |= _HEADERS
        parts.append(table(message.headers))
    parts.append(_PERSISTENT)
    for flag, text in (
        (_CORRELATION, message.correlation_id),
        (_REPLY_TO, message.reply_to),
        (_ID, message_id),
        (_USER, message.user_id),
    ):
        if text is not None:
            flags |= flag
            parts.append(_short(text))
    parts[0] = _CONTENT.pack(BASIC, 0, len(message.body), flags)
    return b"".join(parts)


def _short(text: str) -> bytes:
    raw = text.encode()
    return bytes((len(raw),)) + raw


_name = lru_cache(maxsize=1024)(_short)
"""Encodes a header's name; cached, because the same few names repeat."""


def table(headers: Mapping[str, object]) -> bytes:
    """Encode headers as a table; see `pamqp_patches.writable` for values that do not fit."""
    parts = [b""]
    for name, value in headers.items():
        if type(value) is str:
            raw = value.encode()
            parts += (_name(name), b"S", _LENGTH.pack(len(raw)), raw)
        elif type(value) is bool:
            parts += (_name(name), b"t\1" if value else b"t\0")
        elif type(value) is int and value in _INTS:
            parts += (_name(name), _INT.pack(b"I", value))
        else:
            return encode.field_table(pamqp_patches.writable(headers))
    size = sum(map(len, parts))
    if size > pamqp_patches.ROOM:
        return encode.field_table(pamqp_patches.writable(headers))
    parts[0] = _LENGTH.pack(size)
    return b"".join(parts)


# ---- Reading -----------------------------------------------------------------------------------------------


def method_of(data: bytes, at: int) -> int:
    """The method of a frame whose payload starts at `at`."""
    return int(_LENGTH.unpack_from(data, at)[0])


def read_deliver(data: bytes, at: int) -> tuple[bytes, Origin]:
    """The consumer's tag, and the origin of the delivery."""
    at += 4
    consumer = data[at + 1 : at + 1 + data[at]]
    return consumer, _read_origin(data, at + 1 + data[at])


def read_get_ok(data: bytes, at: int) -> Origin:
    """The origin of the delivery."""
    return _read_origin(data, at + 4)


def read_confirm(data: bytes, at: int) -> tuple[int, bool]:
    """The number of the publish that the broker confirms or refuses, and whether it means all before it too."""
    tag, bits = _TAG.unpack_from(data, at + 4)
    return tag, bool(bits & 1)


def read_return(data: bytes, at: int) -> tuple[str, str]:
    """The exchange and the routing key of a returned message."""
    at += 6
    at += 1 + data[at]
    exchange, at = _read_short(data, at)
    key, _ = _read_short(data, at)
    return exchange, key


def read_header(data: bytes, at: int) -> Properties:
    """Decode a content header whose payload starts at `at`."""
    _, _, size, flags = _CONTENT.unpack_from(data, at)
    at += _CONTENT.size
    word = flags
    while word & _MORE:
        (word,) = struct.unpack_from(">H", data, at)
        at += 2
    headers: Mapping[str, object] = {}
    texts: dict[int, str] = {}
    if flags & _CONTENT_TYPE:
        at += 1 + data[at]
    if flags & _ENCODING:
        at += 1 + data[at]
    if flags & _HEADERS:
        headers, at = read_table(data, at)
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    for flag in (_CORRELATION, _REPLY_TO, _EXPIRATION, _ID):
        if flags & flag:
            texts[flag], at = _read_short(data, at)
    if flags & _TIME:
        at += 8
    for flag in (_KIND, _USER):
        if flags & flag:
            texts[flag], at = _read_short(data, at)
    return Properties(
        size, headers, texts.get(_CORRELATION), texts.get(_REPLY_TO), texts.get(_ID) or None, texts.get(_USER)
    )


def read_table(data: bytes, at: int) -> tuple[Mapping[str, object], int]:
    """A table and where it ends. pamqp decodes tables with rare field types; it is patched not to fail."""
    (length,) = _LENGTH.unpack_from(data, at)
    begin, at = at, at + 4
    end = at + length
    found: dict[str, Any] = {}
    while at < end:
        key = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        kind = data[at : at + 1]
        if kind == b"S":
            (size,) = _LENGTH.unpack_from(data, at + 1)
            value: object = data[at + 5 : at + 5 + size].decode(errors="substitute")
            at += 5 + size
        elif kind == b"t":
            value = data[at + 1] != 0
            at += 2
        elif kind == b"I":
            _, value = _INT.unpack_from(data, at)
            at += 5
        elif kind == b"l":
            _, value = _LONG.unpack_from(data, at)
            at += 9
        else:
            return _read_odd_table(data, begin, end), end
        if not key.isascii():
            return _read_odd_table(data, begin, end), end
        found[key.decode()] = value
    return (found if at == end else _read_odd_table(data, begin, end)), end


def _read_odd_table(data: bytes, begin: int, end: int) -> Mapping[str, object]:
    _, found = decode.METHODS["table"](data[begin:end])
    return found if isinstance(found, dict) else {}


def _read_origin(data: bytes, at: int) -> Origin:
    tag, bits = _TAG.unpack_from(data, at)
    at += _TAG.size
    key, _ = _read_short(data, at + 1 + data[at])
    return tag, bool(bits & 1), key


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="substitute"), end

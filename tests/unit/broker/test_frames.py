"""Frames are what the client library would have written and read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from coordinator.broker import frames
from coordinator.broker.types import Message

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HEADERS = st.dictionaries(
    TEXTS,
    TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.none() | st.lists(st.integers(0, 9)),
    max_size=5,
)
MOST = 64


def read_all(data: bytes) -> list[tuple[int, object]]:
    """All frames, as the library reads them, each with its channel."""
    found: list[tuple[int, object]] = []
    while data:
        size, channel, one = frame.unmarshal(data)
        found.append((channel, one))
        data = data[size:]
    return found


@given(TEXTS, TEXTS, st.binary(max_size=300), HEADERS, TEXTS | st.none(), st.booleans())
def test_publish(
    exchange: str,
    key: str,
    body: bytes,
    headers: dict[str, object],
    user: str | None,
    mandatory: bool,  # noqa: FBT001 - hypothesis fills it in
) -> None:
    """The library reads the same message, whose body is cut to fit."""
    message = Message(body, headers, user_id=user, reply_to="r")
    written = b"".join(frames.publish(7, exchange, key, message, "id", mandatory=mandatory, most=MOST))
    (first, method), (second, header), *rest = read_all(written)
    assert (first, second) == (7, 7)
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == (exchange, key, mandatory)
    assert isinstance(header, ContentHeader)
    properties = header.properties
    assert header.body_size == len(body)
    assert (properties.headers or {}) == headers
    assert (properties.message_id, properties.reply_to, properties.user_id) == ("id", "r", user)
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    parts = [one.value for _, one in rest if isinstance(one, ContentBody)]
    assert b"".join(parts) == body
    assert all(len(part) + frames.AROUND <= MOST for part in parts)


@given(st.integers(1, 2**16 - 1), st.integers(1, 2**63 - 1), st.booleans())
def test_settlements(channel: int, tag: int, flag: bool) -> None:  # noqa: FBT001 - as above
    """Acks and rejects are those of the library."""
    assert frames.ack(channel, tag, multiple=flag) == frame.marshal(Basic.Ack(tag, flag), channel)
    assert frames.reject(channel, tag, requeue=flag) == frame.marshal(Basic.Reject(tag, flag), channel)


@given(TEXTS)
def test_get(queue: str) -> None:
    """The library reads the same question."""
    ((channel, method),) = read_all(frames.get(3, queue))
    assert channel == 3
    assert isinstance(method, Basic.Get)
    assert (method.queue, method.no_ack) == (queue, False)


@given(TEXTS, st.integers(1, 2**63 - 1), st.booleans(), st.sampled_from(["", "items"]), TEXTS)
def test_deliveries_and_returns(consumer: str, tag: int, again: bool, exchange: str, key: str) -> None:  # noqa: FBT001 - as above
    """What the library would write is read."""
    at = frames.PREAMBLE.size
    deliver = frame.marshal(Basic.Deliver(consumer, tag, again, exchange, key), 1)
    assert frames.method_of(deliver, at) == frames.DELIVER
    assert frames.read_deliver(deliver, at) == (consumer.encode(), (tag, again, key))
    got = frame.marshal(Basic.GetOk(tag, again, exchange, key, 5), 1)
    assert (frames.method_of(got, at), frames.read_get_ok(got, at)) == (frames.GET_OK, (tag, again, key))
    back = frame.marshal(Basic.Return(312, "NO_ROUTE", exchange, key), 1)
    assert (frames.method_of(back, at), frames.read_return(back, at)) == (frames.RETURN, (exchange, key))
    nack = frame.marshal(Basic.Nack(tag, again, requeue=False), 1)
    assert (frames.method_of(nack, at), frames.read_confirm(nack, at)) == (frames.NACK, (tag, again))


@given(HEADERS, TEXTS, st.integers(0, 9), st.integers(0, 2**31))
def test_headers(headers: dict[str, object], text: str, priority: int, size: int) -> None:
    """All properties that the library can write are passed over or read, each in its place."""
    properties = Basic.Properties(
        content_type="t",
        content_encoding="e",
        headers=dict(headers) or None,  # type: ignore[arg-type]
        delivery_mode=2,
        priority=priority,
        correlation_id=text,
        reply_to="r",
        expiration="1",
        message_id="m",
        message_type="k",
        user_id="u",
        app_id="a",
    )
    written = frame.marshal(ContentHeader(body_size=size, properties=properties), 1)
    found = frames.read_header(written, frames.PREAMBLE.size)
    assert found == (size, headers, text or found.correlation_id, "r", "m", "u")

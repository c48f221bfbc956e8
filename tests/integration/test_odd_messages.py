"""Messages that a broker takes and a client library stumbles over: they end no coordinator."""

from __future__ import annotations

from typing import Self

import aiormq
import httpx
import pytest
from aiormq.abc import AbstractConnection
from pamqp.commands import Basic

from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.steps import dead_letters, fetch, submit

FRAME = 131_072


class Raw(str):
    """A text that goes onto the wire as other bytes."""

    __slots__ = ("raw",)

    raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        """One that is written as these bytes."""
        text = super().__new__(cls, "?" * len(raw))
        text.raw = raw
        return text

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes."""
        del encoding, errors
        return self.raw


NO_UTF8 = Raw(b"\xff\xfeid\x80")


@pytest.mark.parametrize(
    ("exchange", "key", "kind"),
    [
        ("items", NO_UTF8, "page"),
        ("items", "s", "page"),
        ("commands", NO_UTF8, "command"),
        ("presence", NO_UTF8, "presence"),
        ("returns", NO_UTF8, "return"),
    ],
    ids=["key of a page", "page", "command", "presence", "return"],
)
async def test_texts_that_are_no_utf8(
    settings: Settings, node: Coordinator, api: httpx.AsyncClient, exchange: str, key: str, kind: str
) -> None:
    """In routing keys, properties, names and values of headers: the message lies in `dead` and the rest goes on."""
    session = node.session
    await submit(api, "s", 5)
    properties = Basic.Properties(
        message_id=NO_UTF8,
        correlation_id=NO_UTF8,
        content_type=NO_UTF8,
        headers={"seed": NO_UTF8, "reason": NO_UTF8, "history": NO_UTF8, "x": [NO_UTF8]},
    )
    await publish(settings, exchange, key, b"\xff", properties)
    assert [letter["kind"] for letter in await dead_letters(api, 1)] == [kind]
    assert (await fetch(api))[0]["attempt"] == 1
    assert node.session is session


async def test_headers_that_fill_a_frame(settings: Settings, node: Coordinator, api: httpx.AsyncClient) -> None:
    """A malformed page whose headers leave no room for ours lies in `dead` without them."""
    session = node.session
    await submit(api, "s", 5)
    await publish(settings, "items", "s", b"no JSON", Basic.Properties(headers={"x": "x" * (FRAME - 100)}))
    letters = await dead_letters(api, 1)
    assert (letters[0]["kind"], letters[0]["body"]) == ("page", "no JSON")
    assert node.session is session


async def publish(settings: Settings, exchange: str, key: str, body: bytes, properties: Basic.Properties) -> None:
    """Publish a message as it is."""
    connection: AbstractConnection = await aiormq.connect(settings.amqp_urls()[0])
    try:
        channel = await connection.channel()
        await channel.basic_publish(body, exchange=exchange, routing_key=key, properties=properties)
    finally:
        await connection.close()

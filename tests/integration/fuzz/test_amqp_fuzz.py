"""Random messages over AMQP: what is malformed lies in `dead` or is answered 406, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator import topology
from coordinator.batch_validation import decode_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.types import Delivery, Message
from coordinator.client import Reader
from coordinator.errors import InvalidInputError, UnroutableError
from coordinator.models import Presence
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.validation import check_seed_id, check_worker_id, parse_ids, parse_items, parse_model
from tests.helpers.support import Drain, eventually, items, publish_items, serving

IS_LONG = os.environ.get("FUZZ") == "long"
MESSAGES = 12_000 if IS_LONG else 300
AT_ONCE = 20
"""So many are sent at once, with a page of good items among them."""

Kind = Literal["command", "page", "presence", "return"]

TEXT = st.text(max_size=20) | st.sampled_from(["", "\x00", "c", "w", "\u2028", "x" * 201, "é" * 101])
NUMBER = st.integers() | st.floats(allow_nan=False) | st.sampled_from([0, -1, 2**31, 2**53, 2**63, 2**64, 10**30])
LEAF = st.none() | st.booleans() | NUMBER | TEXT
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)
DEEP = st.sampled_from(
    [b"[" * 2000 + b"]" * 2000, b'{"id":' * 2000, b'[{"id":"x","metadata":' + b'{"a":' * 40 + b"1" + b"}" * 41 + b"]"]
)
RAW = (
    st.binary(max_size=60)
    | st.sampled_from([b"", b"\xff", b"{", b"[]", b"null", b'"\\ud800"', b"1e400", b"\xef\xbb\xbf{}"])
    | DEEP
)


def near(**fields: object) -> st.SearchStrategy[object]:
    """An object like a good one, with any of its fields wrong, missing or added."""
    one = {name: st.just(value) | VALUE for name, value in fields.items()}
    return st.fixed_dictionaries({}, optional={**one, "more": VALUE})


ITEM = near(id="x", action="process", url="file:///x", metadata={"a": 1})
BATCH = near(id="b", seed="s", epoch=1, attempt=1, tags=["t"], created="now", items=[{"id": "x"}], history=[])
TAGGED = st.lists(st.text("ab\u00e9", min_size=1, max_size=64), max_size=12).map(
    lambda tags: {"id": "b", "seed": "s", "epoch": 1, "attempt": 1, "tags": tags, "items": [{"id": "x"}]}
)
HELD = near(batch="b", seed="s", count=1, since="2026-01-01T00:00:00Z", begun=True)
BODIES: dict[Kind, st.SearchStrategy[object]] = {
    "command": near(id="c") | st.lists(near(id="c"), max_size=3) | VALUE,
    "page": ITEM | st.lists(ITEM, max_size=3) | VALUE,
    "presence": near(worker="w", tags=["t"], transport="amqp", capacity=1, held=[], taken={"s": 1})
    | st.lists(HELD, max_size=3).map(lambda held: {"worker": "w", "held": held}),
    "return": BATCH | TAGGED | VALUE,
}
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary(max_size=9).map(bytearray)
    | st.datetimes().map(lambda moment: moment.astimezone())
    | st.decimals(-1000, 1000, places=2)
)
FIELD: st.SearchStrategy[Any] = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
OURS = st.sampled_from(
    [
        "seed",
        "epoch",
        "attempt",
        "count",
        "reason",
        "redelivered",
        "checked",
        "page",
        "publication",
        "alone",
        "history",
        "x-death",
        "kind",
        "at",
    ]
)
HEADERS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(OURS | st.text(max_size=9), FIELD, max_size=4)
SHORT = st.none() | st.text(max_size=9) | st.just("m" * 255)
KEYS: dict[Kind, st.SearchStrategy[str]] = {
    "command": st.sampled_from(["release.worker", "release.seed", "resume.seed", "purge.seed"]) | st.text(max_size=9),
    "page": st.sampled_from(["s", "t/+=", "ü"]) | st.sampled_from(["", "\x00", "x" * 201, "a\nb", "\u0085"]),
    "presence": st.just(""),
    "return": st.just(""),
}
EXCHANGES: dict[Kind, str] = {
    "command": topology.COMMANDS,
    "page": topology.ITEMS,
    "presence": topology.PRESENCE,
    "return": topology.RETURNS,
}


@dataclass(frozen=True)
class Sent:
    """A message that was made up."""

    kind: Kind
    key: str
    body: bytes
    headers: dict[str, object]
    message_id: str | None
    is_asking: bool

    @property
    def is_malformed(self) -> bool:
        """Whether the contract has no place for it; what each reader takes is tested by itself."""
        try:
            self._read()
        except InvalidInputError:
            return True
        return False

    def _read(self) -> None:
        match self.kind:
            case "command":
                check = {"release.worker": check_worker_id}.get(self.key, check_seed_id)
                if self.key not in {"release.worker", "release.seed", "resume.seed", "purge.seed"}:
                    raise InvalidInputError([("routing key", "is no command")])
                for ident in parse_ids(_json(self.body)):
                    check(ident)
            case "page":
                check_seed_id(self.key)
                parse_items(self.body)
            case "presence":
                parse_model(Presence, self.body)
            case "return":
                topology.work_queue_name(decode_batch(self.body).tags)
                history = self.headers.get("history")
                if isinstance(history, str):
                    _json(history.encode())


def _json(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", "is not JSON")]) from error


def _dumped(value: object) -> bytes:
    """The value as JSON, also where numbers are larger than our own reader would write."""
    return json.dumps(value).encode()


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    """Any message to any of the coordinators' ears."""
    kind: Kind = draw(st.sampled_from(["command", "page", "presence", "return"]))
    body = draw(BODIES[kind].map(_dumped) | RAW)
    return Sent(kind, draw(KEYS[kind]), body, draw(HEADERS), draw(SHORT), kind == "command" and draw(st.booleans()))


@dataclass
class Stranger:
    """Sends messages and sees what becomes of them."""

    channel: Channel
    replies: str
    dead: Counter[bytes] = field(default_factory=Counter)
    expected: Counter[bytes] = field(default_factory=Counter)
    answers: dict[str, Delivery] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    async def send(self, sent: Sent) -> None:
        """Send one and wait for its fate."""
        correlation = uuid4().hex
        message = Message(
            sent.body,
            sent.headers,
            message_id=sent.message_id,
            correlation_id=correlation,
            reply_to=self.replies if sent.is_asking else None,
        )
        with contextlib.suppress(UnroutableError):
            await self.channel.publish(EXCHANGES[sent.kind], sent.key, message, mandatory=True)
        self.kinds[f"{sent.kind} {'malformed' if sent.is_malformed else 'good'}"] += 1
        if sent.is_asking:
            await eventually(lambda: correlation in self.answers, f"an answer to {sent}")
            status = orjson.loads(self.answers.pop(correlation).body)["status"]
            assert status in ({406} if sent.is_malformed else {200, 404}), sent
        elif sent.is_malformed:
            self.expected[sent.body] += 1
            await eventually(lambda: self.dead[sent.body] >= self.expected[sent.body], f"{sent} in dead")


@contextlib.asynccontextmanager
async def stranger(settings: Settings) -> AsyncIterator[Stranger]:
    """A client without manners, and an operator who empties `dead`."""
    connection = await Connection.open(settings.amqp_urls(), "stranger")
    loop = asyncio.get_running_loop()
    acks: set[asyncio.Task[None]] = set()

    def settle(delivery: Delivery) -> None:
        task = loop.create_task(delivery.ack())
        acks.add(task)
        task.add_done_callback(acks.discard)

    try:
        channel = await connection.channel()
        one = Stranger(channel, await channel.declare_own_queue("", []))

        def bury(delivery: Delivery) -> None:
            one.dead[delivery.body] += 1
            settle(delivery)

        def answered(delivery: Delivery) -> None:
            one.answers[delivery.correlation_id or ""] = delivery
            settle(delivery)

        await channel.consume(one.replies, answered, prefetch=100)
        await channel.consume(topology.DEAD, bury, prefetch=100)
        yield one
    finally:
        await connection.close()


@pytest.fixture
def made() -> list[Sent]:
    """All messages, made before anything runs: hypothesis sets `random`, of which the AMQP client makes its names."""
    made: list[Sent] = []

    @hypothesis_settings(
        max_examples=MESSAGES,
        deadline=None,
        database=None,
        derandomize=not IS_LONG,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(messages())
    def keep(sent: Sent) -> None:
        made.append(sent)

    keep()
    return made


@pytest.mark.timeout(3600 if IS_LONG else 300)
async def test_malformed_messages_harm_nobody(made: list[Sent], settings: Settings, node: Coordinator) -> None:
    """Every message that is malformed lies in `dead`, whole, or is answered 406; good items among them arrive once."""
    session = node.session
    sent: list[str] = []
    for seed in ("s", "c"):  # pages and batches go to the one, commands to the other: a released seed's pages rest
        await publish_items(settings, seed, [items(1)])
    drain = await Drain.begin(settings)
    async with stranger(settings) as one, serving(node) as url, Reader(url) as reader:
        for number in range(0, len(made), AT_ONCE):
            page = items(5, f"{number}-")
            sent += [str(item["id"]) for item in page]
            together = made[number : number + AT_ONCE]
            await asyncio.gather(publish_items(settings, "good", [page]), *(one.send(message) for message in together))
            await asyncio.gather(reader.seeds(), reader.workers(), reader.batches())
            assert node.is_ready, (node.problem, together)
            assert node.session is session, together
        await eventually(lambda: len(drain.items("good")) >= len(sent), "the good items")
    assert node.session is session
    assert sorted(drain.items("good")) == sorted(sent)
    assert sum(count for kind, count in one.kinds.items() if kind.endswith("malformed")) > MESSAGES // 2
    await drain.close()

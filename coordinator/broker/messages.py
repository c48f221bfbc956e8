"""Batches and pages as AMQP messages, and back."""

from __future__ import annotations

from dataclasses import replace

import orjson

from coordinator.broker.message import Delivery, Message
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.parsing import decode_batch, peek_batch
from coordinator.topology import Header, work_queue_name

MAX_HISTORY = 50


def batch_message(batch: Batch, publication: str, *, redelivered: bool = False, alone: bool = False) -> Message:
    """A batch as workers receive it."""
    headers: dict[str, object] = {
        Header.SEED: batch.seed,
        Header.EPOCH: batch.epoch,
        Header.ATTEMPT: batch.attempt,
        Header.COUNT: batch.count,
        Header.PUBLICATION: publication,
    }
    if batch.history:
        headers[Header.HISTORY] = orjson.dumps(batch.history[-MAX_HISTORY:]).decode()
    if redelivered:
        headers[Header.REDELIVERED] = True
    if alone:
        headers[Header.ALONE] = True
    return Message(body=batch.encode(), headers=headers, message_id=batch.id)


def available_message(batch: Batch, user: str, *, redelivered: bool = False) -> Message:
    """A batch that waits in its seed's queue, to go out unchanged; `user` is the publishing connection's own."""
    return replace(batch_message(batch, publication="", redelivered=redelivered), user_id=user)


def page_message(inner: bytes, count: int, page: str, user: str, *, redelivered: bool = False) -> Message:
    """A page of items that were validated; `page` is its identity and `user` who vouches for it.

    Args:
        inner: the items' JSON text without the array's brackets.
        count: how many they are.
        page: what batch ids are derived from.
        user: the publishing connection's own user, which the broker verifies.
        redelivered: whether some of it may have been sent to workers before.
    """
    headers: dict[str, object] = {Header.CHECKED: count, Header.PAGE: page}
    if redelivered:
        headers[Header.REDELIVERED] = True
    return Message(body=b"[%b]" % inner, headers=headers, message_id=page, user_id=user)


def read_batch(delivery: Delivery) -> Batch:
    """The batch that a delivery holds; see `decode_batch`.

    Raises:
        InvalidInputError: it is none, or there can be no queue for its tags.
    """
    batch = decode_batch(delivery.body)
    work_queue_name(batch.tags)
    history = _history(delivery)
    return batch.with_history(history) if history else batch


def peek(delivery: Delivery) -> Batch | None:
    """The batch that a delivery holds, its items not looked at; None where it must be read at once."""
    batch = peek_batch(delivery.body, delivery.headers.get(Header.COUNT))
    if batch is None or Header.HISTORY in delivery.headers:
        return None
    work_queue_name(batch.tags)
    return batch


def read_returned(delivery: Delivery) -> Batch:
    """The batch that came back, its items not looked at when the broker sent it: they are as a coordinator wrote them.

    To decode those of a thousand would hold up the release of a worker. Should they be none, the next worker finds it.

    Raises:
        InvalidInputError: it is none, or there can be no queue for its tags.
    """
    return (peek(delivery) if "x-death" in delivery.headers else None) or read_batch(delivery)


def _history(delivery: Delivery) -> tuple[str, ...]:
    text = delivery.headers.get(Header.HISTORY)
    if not isinstance(text, str):
        return ()
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([(Header.HISTORY, "is not JSON")]) from error
    return tuple(str(entry) for entry in entries) if isinstance(entries, list) else ()


def publication_of(delivery: Delivery) -> str:
    """Which sending of a batch this is; empty when it does not say."""
    value = delivery.headers.get(Header.PUBLICATION)
    return value if isinstance(value, str) else ""


def is_marked(delivery: Delivery) -> bool:
    """Whether it says that it may have been delivered before."""
    return delivery.headers.get(Header.REDELIVERED) is True


def is_alone(delivery: Delivery) -> bool:
    """Whether it is the last offer of a batch, with nothing else in any worker's hands."""
    return delivery.headers.get(Header.ALONE) is True


def death_reason(delivery: Delivery) -> str:
    """Why the broker dead-lettered it, in the words of its log: `rejected`, or `lost` with its worker."""
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return "rejected" if deaths[0].get("reason") == "rejected" else "lost with its worker"
    return "returned"

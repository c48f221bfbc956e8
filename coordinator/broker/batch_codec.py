"""Encode batches and pages as AMQP messages, and decode them."""

from __future__ import annotations

from dataclasses import replace

import orjson

from coordinator.batch_validation import decode_batch, peek_batch
from coordinator.broker.types import Delivery, Message
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.topology import Header, work_queue_name

MAX_HISTORY = 50


def batch_message(batch: Batch, publication: str, *, redelivered: bool = False, alone: bool = False) -> Message:
    """The message of a batch, as workers receive it."""
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
    """The message of a batch that waits in its seed's queue; `user` is the publishing connection's own."""
    return replace(batch_message(batch, publication="", redelivered=redelivered), user_id=user)


def page_message(inner: bytes, count: int, page: str, user: str, *, redelivered: bool = False) -> Message:
    """The message of a page of validated items.

    Args:
        inner: the items' JSON text without the array's brackets.
        count: the number of items.
        page: the page's id; batch ids are derived from it.
        user: the publishing connection's own user. The broker verifies it, so it shows who validated the items.
        redelivered: whether workers may have received some of the items before.
    """
    headers: dict[str, object] = {Header.CHECKED: count, Header.PAGE: page}
    if redelivered:
        headers[Header.REDELIVERED] = True
    return Message(body=b"[%b]" % inner, headers=headers, message_id=page, user_id=user)


def read_batch(delivery: Delivery) -> Batch:
    """The batch in a delivery; see `decode_batch`.

    Raises:
        InvalidInputError: it is not a valid batch, or its tags make no valid queue name.
    """
    batch = decode_batch(delivery.body)
    work_queue_name(batch.tags)
    history = _history(delivery)
    return batch.with_history(history) if history else batch


def peek(delivery: Delivery) -> Batch | None:
    """The batch in a delivery, without parsing its items; None where `read_batch` must parse it."""
    batch = peek_batch(delivery.body, delivery.headers.get(Header.COUNT))
    if batch is None or Header.HISTORY in delivery.headers:
        return None
    work_queue_name(batch.tags)
    return batch


def read_returned(delivery: Delivery) -> Batch:
    """The batch in a return. When the broker returned it, its items are not parsed: a coordinator wrote them.

    Parsing the items of a thousand batches would delay the release of a worker. If they are not valid after all, the
    next worker rejects the batch.

    Raises:
        InvalidInputError: it is not a valid batch, or its tags make no valid queue name.
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
    """The id of this publication of a batch; empty when the header is missing."""
    value = delivery.headers.get(Header.PUBLICATION)
    return value if isinstance(value, str) else ""


def is_marked(delivery: Delivery) -> bool:
    """Whether a header says that it may have been delivered before."""
    return delivery.headers.get(Header.REDELIVERED) is True


def is_alone(delivery: Delivery) -> bool:
    """Whether it is the last attempt of a batch, published while no worker holds anything else."""
    return delivery.headers.get(Header.ALONE) is True


def death_reason(delivery: Delivery) -> str:
    """Why the delivery came back, as logs say it: `rejected`, `lost with its worker`, or `returned`."""
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return "rejected" if deaths[0].get("reason") == "rejected" else "lost with its worker"
    return "returned"

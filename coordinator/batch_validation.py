"""Reads a batch's JSON, and says field by field what is wrong with it."""

from __future__ import annotations

import contextlib
from typing import Annotated, TypeGuard

import orjson
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from coordinator.errors import InvalidInputError
from coordinator.models import Batch, Item, Number, SeedId, Tag
from coordinator.validation import invalid


class _BatchHead(BaseModel):
    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    seed: SeedId
    epoch: Number
    attempt: Annotated[Number, Field(ge=1)]
    tags: tuple[Tag, ...] = ()
    created: str = ""


class _BatchBody(_BatchHead):
    items: Annotated[list[dict[str, object]], Field(min_length=1)]


def decode_batch(body: bytes) -> Batch:
    """Read a batch's body. Its items are checked, and kept as text to save memory.

    Raises:
        InvalidInputError: the body is not the JSON of a batch.
    """
    try:
        value, text = _load_batch(body)
        items = value.get("items") if isinstance(value, dict) else None
        # The model copies each item, so it reads the items only to report what is wrong with them.
        head = (_BatchHead if _are_objects(items) else _BatchBody).model_validate(value)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
    except ValidationError as error:
        raise invalid(error) from error
    assert isinstance(items, list)  # noqa: S101 - the model refuses anything else
    return Batch(
        id=head.id,
        seed=head.seed,
        epoch=head.epoch,
        attempt=head.attempt,
        tags=head.tags,
        created=head.created,
        count=len(items),
        items=orjson.dumps(items) if text is None else text,
    )


def peek_batch(body: bytes, count: object) -> Batch | None:
    """Read a batch without decoding its items, from its head and the count in its message's header; see `open_batch`.

    Returns None if that is not possible.
    """
    text, mark, rest = body.partition(_MARK)
    if not (mark and rest.endswith(b"]}") and type(count) is int and count > 0):
        return None
    try:
        head = _BatchHead.model_validate(orjson.loads(text + b"}"))
    except (orjson.JSONDecodeError, ValidationError):
        return None
    return Batch(head.id, head.seed, head.epoch, head.attempt, head.tags, head.created, count, rest[:-1])


def open_batch(batch: Batch, body: bytes) -> tuple[Batch, list[Item]]:
    """The batch that `peek_batch` read, corrected if the header was wrong, and its items.

    Raises:
        InvalidInputError: the body is not the JSON of a batch.
    """
    with contextlib.suppress(orjson.JSONDecodeError):
        items = orjson.loads(batch.items)
        if _are_objects(items) and len(items) == batch.count:
            return batch, items
    batch = decode_batch(body)
    return batch, batch.load_items()


def _are_objects(items: object) -> TypeGuard[list[Item]]:
    return isinstance(items, list) and set(map(type, items)) == {dict}


_MARK = b',"items":'


def _load_batch(body: bytes) -> tuple[object, bytes | None]:
    """A batch's decoded body, and the text of its items if they come last, as `Batch.encode` writes them.

    A quotation mark within a JSON string is escaped, so `,"items":` cannot come from a value of the head. In a body
    of another program, fields may follow the items, so the text between the mark and the end must be one JSON value.
    """
    head, mark, rest = body.partition(_MARK)
    if mark and rest.endswith(b"]}"):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(head + b"}") | {"items": orjson.loads(rest[:-1])}, rest[:-1]
    return orjson.loads(body), None

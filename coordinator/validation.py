"""Validates input: pages of items, ids, tags, models. Errors name each field that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, TypeGuard, TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import (
    BaseModel,
    Field,
    TypeAdapter,
    ValidationError,
)

from coordinator.errors import InvalidInputError
from coordinator.models import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT,
    WORKER_ID,
    Item,
    SeedId,
    Tag,
)

_ITEMS = TypeAdapter(Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)])


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest number of characters in a string, and of levels of nesting."""

    text: int = MAX_TEXT
    depth: int = MAX_DEPTH


BOUNDS = Bounds()


def parse_items(body: bytes, bounds: Bounds = BOUNDS) -> list[Item]:
    """Read a page: an array of 1 to 1,000 items, or one item.

    Raises:
        InvalidInputError: not JSON, or an item does not validate; the error names the place of every fault.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
    items = [value] if isinstance(value, dict) else value
    if not _are_plain(items):
        try:
            items = _ITEMS.validate_python(items)
        except ValidationError as error:
            raise invalid(error) from error
    if _may_exceed(items, body, bounds):
        check_bounds([(f"[{index}]", item) for index, item in enumerate(items)], body, bounds)
    return items


def are_sound(items: list[Any], text: bytes) -> bool:
    """Whether `parse_items` would certainly accept this JSON text of these items.

    False does not mean that it would refuse them: a value that JSON does not have is written as another value.
    """
    return _are_plain(items) and not _may_exceed(items, text, BOUNDS)


def _may_exceed(items: Iterable[Any], body: bytes, bounds: Bounds) -> bool:
    """Whether the items may exceed the bounds. Then `check_bounds`, which takes four times as long, must look."""
    if len(body) > bounds.text or b"\\u0000" in body:
        return True
    for _ in range(bounds.depth + 1):
        items = [
            child
            for value in items
            for child in (value.values() if type(value) is dict else value)
            if type(child) not in _FLAT
        ]
        if not items:
            return False
        if not _NESTED.issuperset(map(type, items)):
            return True
    return True


_FLAT = frozenset({str, int, float, bool, NoneType})
_NESTED = frozenset({dict, list})


def _are_plain(items: object) -> TypeGuard[list[Item]]:
    """Whether these are certainly valid items, as almost all are. The model, ten times as slow, judges the others."""
    return isinstance(items, list) and 1 <= len(items) <= MAX_ITEMS and all(map(_is_plain, items))


def _is_plain(item: object) -> bool:
    if type(item) is not dict:
        return False
    ident, url, metadata = item.get("id"), item.get("url"), item.get("metadata")
    return (
        type(ident) is str
        and 1 <= len(ident) <= MAX_TEXT
        and ident.isprintable()
        and (url is None or (type(url) is str and len(url) <= MAX_TEXT and url.isprintable()))
        and (metadata is None or type(metadata) is dict)
        and item.get("action", "process") in _ACTIONS
    )


_ACTIONS = ("process", "scan")


def check_bounds(values: list[tuple[str, object]], body: bytes, bounds: Bounds = BOUNDS) -> None:
    """Refuse deep nesting, long strings, and NUL, which databases do not store.

    Strings are read only if the size or the text of the body shows that one may be wrong.

    Args:
        values: the decoded values, each with the name of its place.
        body: the text that they were decoded from.
        bounds: the limits.

    Raises:
        InvalidInputError: a value exceeds them.
    """
    long_text, nul = len(body) > bounds.text, b"\\u0000" in body
    are_texts_open = long_text or nul
    kinds = (dict, list, str) if are_texts_open else (dict, list)
    stack = [(value, 0, place) for place, value in values]
    while stack:
        value, depth, place = stack.pop()
        if isinstance(value, (dict, list)):
            if depth > bounds.depth:
                raise InvalidInputError([(place, f"is nested deeper than {bounds.depth} levels")])
            children: Iterable[object] = value.values() if isinstance(value, dict) else value
            if are_texts_open and isinstance(value, dict):
                children = [*value, *children]
            stack += [(child, depth + 1, place) for child in children if isinstance(child, kinds)]
        elif isinstance(value, str):
            if long_text and len(value) > bounds.text:
                raise InvalidInputError([(place, f"holds a string longer than {bounds.text} characters")])
            if nul and "\0" in value:
                raise InvalidInputError([(place, "holds a NUL character")])


def invalid(error: ValidationError) -> InvalidInputError:
    """A pydantic error as our error, field by field."""
    return InvalidInputError(
        [
            (
                ".".join(str(part) for part in fault["loc"]) or "body",
                fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    )


M = TypeVar("M", bound=BaseModel)


def parse_model(model: type[M], body: bytes) -> M:
    """Read a model from its JSON text.

    Raises:
        InvalidInputError: the text is not JSON, or does not validate.
    """
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InvalidInputError([("body", f"is not JSON: {error}")]) from error
    except ValidationError as error:
        raise invalid(error) from error


def listed_ids(body: object) -> list[object]:
    """The values in the places of ids, in any of the three forms, without checks.

    Raises:
        InvalidInputError: the body has none of these forms.
    """
    if isinstance(body, dict):
        given = body.get("id")
        return given if isinstance(given, list) else [given]
    if isinstance(body, list):
        return [entry.get("id") if isinstance(entry, dict) else None for entry in body]
    raise InvalidInputError([("body", 'must be {"id": …} or a list of {"id": …}')])


def parse_ids(body: object) -> list[str]:
    """The ids of any of the three forms `{"id": x}`, `[{"id": x}, …]`, `{"id": [x, …]}`: in order, each once.

    Raises:
        InvalidInputError: the body has none of these forms, or no id.
    """
    ids = listed_ids(body)
    if not ids:
        raise InvalidInputError([("id", "must name at least one id")])
    wrong = [
        (f"id.{place}" if len(ids) > 1 else "id", "must be a string")
        for place, ident in enumerate(ids)
        if not isinstance(ident, str)
    ]
    if wrong:
        raise InvalidInputError(wrong)
    return list(dict.fromkeys(str(ident) for ident in ids))


_SEED_ID: TypeAdapter[str] = TypeAdapter(SeedId)


def check_seed_id(text: str, field: str = "id") -> str:
    """The seed id, unchanged.

    Raises:
        InvalidInputError: it is not valid.
    """
    try:
        return _SEED_ID.validate_python(text)
    except ValidationError as error:
        raise InvalidInputError([(field, fault) for _, fault in invalid(error).problems]) from error


def check_worker_id(text: str, field: str = "id") -> str:
    """The worker id, unchanged.

    Raises:
        InvalidInputError: it is not valid.
    """
    if not WORKER_ID.fullmatch(text):
        raise InvalidInputError([(field, "must be 1 to 100 characters of A-Z a-z 0-9 . _ : -")])
    return text


def check_tags(given: list[str], field: str = "tags") -> frozenset[str]:
    """The tags in these texts, which may each hold several, separated by commas. Empty tags are skipped.

    Raises:
        InvalidInputError: a tag is not valid.
    """
    tags = [part.strip(" ") for text in given for part in text.split(",") if part.strip(" ")]
    try:
        return frozenset(_TAGS.validate_python(tags))
    except ValidationError as error:
        raise InvalidInputError([(field, fault) for _, fault in invalid(error).problems]) from error


def is_url(text: str, *schemes: str) -> bool:
    """Whether a text is a URL of one of these schemes, with a host and a possible port."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


_TAGS: TypeAdapter[tuple[str, ...]] = TypeAdapter(Annotated[tuple[Tag, ...], Field(max_length=32)])

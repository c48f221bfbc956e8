"""The words of the contract: what is one, what is not, and what comes out of a batch that went in."""

from __future__ import annotations

import datetime as dt

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from coordinator.batch_validation import decode_batch, open_batch, peek_batch
from coordinator.errors import InvalidInputError
from coordinator.models import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, Batch, Item, Presence, SeedSpec, Throttle, WorkerSpec
from coordinator.validation import (
    are_sound,
    check_bounds,
    check_seed_id,
    check_tags,
    check_worker_id,
    parse_ids,
    parse_items,
    parse_model,
)

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
WORKER_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
HOSTILE = [
    '","items":[',
    '\\","items":[]}',
    ',"items":[{"id":"x"}]}',
    "}{][",
    "\\",
    '"',
    "AAABcID5GBc=",
    "a/b+c=d/items",
    "ünïcödé ✓ 𝄞",
]
TEXT = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ITEM = st.fixed_dictionaries({"id": TEXT}, optional={"metadata": st.dictionaries(TEXT, JSON), "items": JSON})
ITEMS = st.lists(ITEM, min_size=1)


ODD: st.SearchStrategy[object] = st.sampled_from(
    ["x", "", "a\x85", "y" * (MAX_TEXT + 1), "process", "\u2028", None, 1, True, [], {}, {"n": 1}]
)
ODD_ITEM = st.fixed_dictionaries({"id": ODD}, optional=dict.fromkeys(("action", "url", "metadata", "further"), ODD))
MODEL = TypeAdapter(list[Item])


def problems(body: bytes) -> list[tuple[str, str]]:
    """What is wrong with these items."""
    with pytest.raises(InvalidInputError) as caught:
        parse_items(body)
    return caught.value.problems


@pytest.mark.parametrize("text", ["x", "AAABcID5GBc=", "a/b+c=", " ", "\u2028", "é" * 100, "x" * 200, *HOSTILE])
def test_seed_ids(text: str) -> None:
    """A seed's id is any 1 to 200 bytes of UTF-8 without control characters, and stays as it is."""
    assert check_seed_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 201, "é" * 101, "\ud800", *(f"a{control}" for control in CONTROLS)])
def test_what_is_no_seed_id(text: str) -> None:
    """Empty, too long in bytes, a control character, half a surrogate pair: the field is named."""
    with pytest.raises(InvalidInputError) as caught:
        check_seed_id(text, "seed")
    assert [field for field, _ in caught.value.problems] == ["seed"]


@pytest.mark.parametrize("text", ["x", WORKER_LETTERS, "w" * 100, "::1", "-"])
def test_worker_ids(text: str) -> None:
    """A worker's id is 1 to 100 characters of its alphabet, by itself and in presence."""
    assert check_worker_id(text) == text
    assert parse_model(Presence, orjson.dumps({"worker": text})).worker == text


@pytest.mark.parametrize("text", ["", "w" * 101, "a b", "a/b", "é", "٣", "a\n", "\n", "a\0", "a+b", "a,b"])
def test_what_is_no_worker_id(text: str) -> None:
    """Anything else is refused under its field's name; a line end at its end is not overlooked."""
    with pytest.raises(InvalidInputError) as caught:
        check_worker_id(text)
    assert [field for field, _ in caught.value.problems] == ["id"]
    with pytest.raises(InvalidInputError) as caught:
        parse_model(Presence, orjson.dumps({"worker": text}))
    assert [field for field, _ in caught.value.problems] == ["worker"]


@pytest.mark.parametrize("given_as", ["array", "one"])
def test_items_are_passed_on_untouched(given_as: str) -> None:
    """One item or an array; fields that the contract does not know stay as they are."""
    item = {"id": "x", "action": "scan", "url": None, "metadata": {"a": [1, {"b": None}]}, "further": [1.5, "\t"]}
    assert parse_items(orjson.dumps([item] if given_as == "array" else item)) == [item]


@given(st.lists(ODD_ITEM | JSON, min_size=1, max_size=3))
def test_the_quick_look_at_items_agrees_with_their_model(items: list[object]) -> None:
    """What is taken without asking the model is what the model takes, within the bounds."""
    body = orjson.dumps(items)
    try:
        expected = MODEL.validate_python(items)
        check_bounds([("item", item) for item in items], body)
    except (ValidationError, InvalidInputError):
        assert problems(body)
    else:
        assert parse_items(body) == expected


@given(st.lists(ITEM | ODD_ITEM | JSON, min_size=1, max_size=3))
def test_sound_items_are_read_back_as_they_are(items: list[object]) -> None:
    """What need not be read again would be read without a fault."""
    text = orjson.dumps(items)
    if are_sound(items, text):
        assert parse_items(text) == items


def nested(depth: int) -> list[object]:
    """An array within an array, so many times."""
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("further", "are_judged_at_sight"),
    [
        (1.5, True),
        (nested(3), True),
        (nested(MAX_DEPTH), False),
        ((1, 2), False),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), False),
    ],
)
def test_which_items_are_sound_at_sight(further: object, *, are_judged_at_sight: bool) -> None:
    """Values that JSON has not, and that are written as something else, may hide anything."""
    items = [{"id": "x", "further": further}]
    assert are_sound(items, orjson.dumps(items)) == are_judged_at_sight


def test_as_many_items_as_a_page_may_hold() -> None:
    """A page holds 1 to 1,000 items."""
    assert len(parse_items(orjson.dumps([{"id": "x"}] * MAX_ITEMS))) == MAX_ITEMS
    assert problems(orjson.dumps([{"id": "x"}] * (MAX_ITEMS + 1)))[0][0] == "body"
    assert problems(b"[]")[0][0] == "body"


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b'{"id":"x"', b'{"id":"x"}{"id":"y"}', b"\xff", b"[NaN]", b'{"id":"\xc3"}']
)
def test_what_is_not_json(body: bytes) -> None:
    """A body that is not JSON says so."""
    [(field, what)] = problems(body)
    assert field == "body"
    assert what.startswith("is not JSON")


@pytest.mark.parametrize("body", [b"1", b"null", b'"x"', b"true"])
def test_what_is_neither_an_item_nor_an_array(body: bytes) -> None:
    """Any other JSON is refused as a whole."""
    assert [field for field, _ in problems(body)] == ["body"]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (1, "1"),
        ("x", "1"),
        (None, "1"),
        ([], "1"),
        ({}, "1.id"),
        ({"id": None}, "1.id"),
        ({"id": 5}, "1.id"),
        ({"id": ""}, "1.id"),
        ({"id": "a\nb"}, "1.id"),
        ({"id": "a\0b"}, "1.id"),
        ({"id": "a\x85"}, "1.id"),
        ({"id": "x" * (MAX_TEXT + 1)}, "1.id"),
        ({"id": "x", "action": "explode"}, "1.action"),
        ({"id": "x", "action": None}, "1.action"),
        ({"id": "x", "url": 5}, "1.url"),
        ({"id": "x", "url": "http://a\x1b"}, "1.url"),
        ({"id": "x", "url": "x" * (MAX_TEXT + 1)}, "1.url"),
        ({"id": "x", "metadata": "text"}, "1.metadata"),
        ({"id": "x", "metadata": [1]}, "1.metadata"),
        ({"id": "x", "metadata": {"a": "x" * (MAX_TEXT + 1)}}, "[1]"),
        ({"id": "x", "further": ["x" * (MAX_TEXT + 1)]}, "[1]"),
        ({"id": "x", "metadata": {"a": ["\0"]}}, "[1]"),
        ({"id": "x", "metadata": {"\0": 1}}, "[1]"),
        ({"id": "x", "\0": 1}, "[1]"),
    ],
)
def test_each_kind_of_malformed_item(item: object, field: str) -> None:
    """An item that does not validate is named with its place and its field, beside one that does."""
    assert [place for place, _ in problems(orjson.dumps([{"id": "good"}, item]))] == [field]


def test_every_fault_is_named() -> None:
    """All faults of a page are told at once, in its order."""
    page = [{"id": 1}, {"id": "x"}, {"action": "no"}]
    assert [field for field, _ in problems(orjson.dumps(page))] == ["0.id", "2.id", "2.action"]


def test_the_largest_that_are_allowed() -> None:
    """Strings and nesting right at their limits pass, as do control characters other than NUL in further fields."""
    nested: object = "\n\t\x1b"
    for _ in range(MAX_DEPTH - 1):
        nested = [nested]
    item = {"id": "x" * MAX_TEXT, "metadata": {"deep": nested}, "text": "\\u0000"}
    assert parse_items(orjson.dumps(item)) == [item]
    [(field, what)] = problems(orjson.dumps({"id": "x", "metadata": {"deep": [nested]}}))
    assert field == "[0]"
    assert "nested" in what


@pytest.mark.parametrize("body", ["x", ["x"], ["x", "y"]])
def test_the_form_with_ids(body: object) -> None:
    """`{"id": x}` and `{"id": [x, …]}` name one id or several."""
    assert parse_ids({"id": body}) == (body if isinstance(body, list) else [body])


@given(st.lists(TEXT, min_size=1))
def test_all_forms_name_each_id_once_in_order(ids: list[str]) -> None:
    """However ids are given, they come in the order given, duplicates once."""
    wanted = sorted(set(ids), key=ids.index)
    assert parse_ids([{"id": ident} for ident in ids]) == wanted
    assert parse_ids({"id": ids}) == wanted


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (None, ["body"]),
        ("x", ["body"]),
        (5, ["body"]),
        ([], ["id"]),
        ({}, ["id"]),
        ({"id": []}, ["id"]),
        ({"id": None}, ["id"]),
        ({"id": {"id": "x"}}, ["id"]),
        ({"id": 5}, ["id"]),
        (["x"], ["id"]),
        ([{"id": "x"}, {"ident": "y"}, 3], ["id.1", "id.2"]),
        ({"id": ["x", 5, None]}, ["id.1", "id.2"]),
        ([{"id": ["x"]}], ["id"]),
    ],
)
def test_what_names_no_ids(body: object, fields: list[str]) -> None:
    """Any other form is refused, and each id that is none is named by its place."""
    with pytest.raises(InvalidInputError) as caught:
        parse_ids(body)
    assert [field for field, _ in caught.value.problems] == fields


@given(
    TEXT,
    st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
    st.sampled_from([None, "handle", '","items":[']),
    ITEMS,
)
def test_a_batch_comes_out_as_it_went_in(
    seed: str, ident: str, handle: str | None, items: list[dict[str, object]]
) -> None:
    """Whatever its ids and items hold, a batch is the same after encoding and decoding, its items byte for byte."""
    if len(seed.encode()) > 200:
        seed = "s"
    text = orjson.dumps(items, option=orjson.OPT_INDENT_2)
    batch = Batch(ident, seed, 3, 2, ("a", "b"), "2024-01-02T03:04:05Z", len(items), text)
    body = batch.encode(handle=handle)
    told = orjson.loads(body)
    assert told["items"] == items
    assert told["id"] == (handle or ident)
    assert told.get("batch") == (ident if handle else None)
    if handle is None:
        assert decode_batch(body) == batch


@pytest.mark.parametrize(
    "body",
    [
        '{"id":"b","seed":"s","epoch":1,"attempt":1,"items":[{"id":"x"}],"more":[1]}',
        '{"id":"b","seed":"s","epoch":1,"attempt":1,"items":[{"id":"y"}],"items":[{"id":"x"}]}',
        '{"items":[{"id":"y"}],"id":"b","seed":"s","epoch":1,"attempt":1,"items":[{"id":"x"}]}',
        '{"items":[{"id":"x"}],"id":"b","seed":"s","epoch":1,"attempt":1}',
        '{"id":"b","more":{"a":1,"items":[7]},"seed":"s","epoch":1,"attempt":1,"items": [{"id":"x"}]}',
        ' {"id":"b", "seed":"s", "epoch":1, "attempt":1, "items": [{"id":"x"} ] } ',
        '{"id":"b","seed":"s","epoch":1,"attempt":1,"items":[{"id":"x"}],"more":{"a":[]}}',
    ],
)
def test_a_batch_that_others_wrote(body: str) -> None:
    """A client may give a batch back in JSON of its own making: the items are read wherever they stand."""
    batch = decode_batch(body.encode())
    assert (batch.id, batch.seed, batch.epoch, batch.attempt, batch.tags, batch.count) == ("b", "s", 1, 1, (), 1)
    assert batch.load_items() == [{"id": "x"}]
    assert decode_batch(batch.encode()) == batch
    assert opened(body.encode(), 1) == batch


def opened(body: bytes, count: object) -> Batch:
    """The batch that a worker makes of a body, first of its head and later of its items."""
    peeked = peek_batch(body, count)
    if peeked is None:
        return decode_batch(body)
    batch, items = open_batch(peeked, body)
    assert items == batch.load_items()
    return batch


@pytest.mark.parametrize("count", [2, 3, 0, -1, True, "2", None])
def test_a_batch_that_is_opened_later(count: object) -> None:
    """A batch is the same whether its items are looked at at once or later, whatever its header says of them."""
    body = Batch("b", "s", 1, 1, ("t",), "2024-01-02T03:04:05Z", 2, b'[{"id":"x"},{"id":"y"}]').encode()
    assert opened(body, count) == decode_batch(body)
    peeked = peek_batch(body, 2)
    assert peeked == decode_batch(body)


@pytest.mark.parametrize("items", [b"[1]", b"[{}, 1]", b"[]", b"[{}]]", b"[{]"])
def test_a_batch_that_proves_to_be_none(items: bytes) -> None:
    """Items that are none are found when they are looked at."""
    body = Batch("b", "s", 1, 1, (), "", 1, items).encode()
    peeked = peek_batch(body, 1)
    assert peeked is not None
    with pytest.raises(InvalidInputError):
        open_batch(peeked, body)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"seed": "a\n"}, "seed"),
        ({"seed": ""}, "seed"),
        ({"epoch": -1}, "epoch"),
        ({"attempt": 0}, "attempt"),
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": "a"}, "tags"),
        ({"items": None}, "items"),
        ({"items": {"id": "x"}}, "items"),
        ({"items": [1]}, "items.0"),
    ],
)
def test_what_is_no_batch(change: dict[str, object], field: str) -> None:
    """A body that is no batch is refused under the name of its field."""
    whole = {"id": "b", "seed": "s", "epoch": 1, "attempt": 1, "tags": [], "items": [{"id": "x"}]} | change
    with pytest.raises(InvalidInputError) as caught:
        decode_batch(orjson.dumps(whole))
    assert [place for place, _ in caught.value.problems] == [field]
    with pytest.raises(InvalidInputError):
        opened(orjson.dumps(whole), 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"items":[]}', b'{"a":1,"items":[}', b'1,"items":[]}'])
def test_what_is_not_even_an_object(body: bytes) -> None:
    """Bodies that are no JSON, or no object, or lack everything, are refused like any other."""
    with pytest.raises(InvalidInputError):
        decode_batch(body)
    with pytest.raises(InvalidInputError):
        opened(body, 1)


def test_a_failed_delivery_raises_the_attempt() -> None:
    """A batch that failed keeps all but its attempt, which is one more, and its history, which tells why."""
    batch = Batch("b", "s", 1, 1, (), "", 1, b'[{"id":"x"}]')
    again = batch.again("lost").again("rejected").under(4)
    assert (again.attempt, again.history, again.epoch) == (3, ("lost", "rejected"), 4)
    assert (again.id, again.items) == (batch.id, batch.items)


def test_a_seed_has_defaults() -> None:
    """Everything that is left out is at its default."""
    assert parse_model(SeedSpec, b"{}") == SeedSpec(priority="medium", policies=(), batch_size=100)


def test_policies() -> None:
    """Tags are those of all routes, sorted, each once; all throttles count; the smallest bounds a batch."""
    text = b"""{"priority": "high", "batchSize": 50, "policies": [
        {"type": "route", "routeTo": "z"}, {"type": "throttle", "period": "hour", "value": 40},
        {"type": "route", "routeTo": "a"}, {"type": "throttle", "period": "second", "value": 70},
        {"type": "route", "routeTo": "z"}]}"""
    spec = parse_model(SeedSpec, text)
    assert spec.tags == ("a", "z")
    assert [throttle.value for throttle in spec.throttles] == [40, 70]
    assert spec.largest_batch == 40
    assert SeedSpec(batch_size=5, policies=(Throttle(type="throttle", period="day", value=9),)).largest_batch == 5
    assert parse_model(SeedSpec, spec.model_dump_json(by_alias=True).encode()) == spec


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"batchSize": 0}, "batchSize"),
        ({"batchSize": 1001}, "batchSize"),
        ({"batchSize": "many"}, "batchSize"),
        ({"colour": 1}, "colour"),
        ({"policies": "none"}, "policies"),
        ({"policies": [{}]}, "policies.0"),
        ({"policies": [{"type": "magic"}]}, "policies.0"),
        ({"policies": [{"type": "throttle", "period": "week", "value": 1}]}, "policies.0.throttle.period"),
        ({"policies": [{"type": "throttle", "period": "day", "value": 0}]}, "policies.0.throttle.value"),
        ({"policies": [{"type": "throttle", "period": "day", "value": 1.5}]}, "policies.0.throttle.value"),
        ({"policies": [{"type": "throttle", "period": "day"}]}, "policies.0.throttle.value"),
        ({"policies": [{"type": "throttle", "period": "day", "value": 1, "x": 1}]}, "policies.0.throttle.x"),
        ({"policies": [{"type": "route"}]}, "policies.0.route.routeTo"),
        ({"policies": [{"type": "route", "routeTo": ""}]}, "policies.0.route.routeTo"),
        ({"policies": [{"type": "route", "routeTo": "a,b"}]}, "policies.0.route.routeTo"),
        ({"policies": [{"type": "route", "routeTo": "a\n"}]}, "policies.0.route.routeTo"),
        ({"policies": [{"type": "route", "routeTo": "x"}] * 33}, "policies"),
    ],
)
def test_what_no_seed_can_be(spec: dict[str, object], field: str) -> None:
    """Policies that do not validate are refused, each under the name of its field."""
    with pytest.raises(InvalidInputError) as caught:
        parse_model(SeedSpec, orjson.dumps(spec))
    assert [place for place, _ in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": ["x" * 65]}, "tags.0"),
        ({"tags": "a"}, "tags"),
        ({"transport": "pigeon"}, "transport"),
        ({"callback": 5}, "callback"),
        ({"callback": "x" * 2001}, "callback"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_no_worker_can_be(spec: dict[str, object], field: str) -> None:
    """A registration that does not validate is refused under the name of its field."""
    with pytest.raises(InvalidInputError) as caught:
        parse_model(WorkerSpec, orjson.dumps(spec))
    assert [place for place, _ in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("texts", "tags"),
    [
        ([], set()),
        ([""], set()),
        ([",", " , "], set()),
        (["a"], {"a"}),
        (["a,b", "c"], {"a", "b", "c"}),
        (["a", "a,a"], {"a"}),
        ([" a , b "], {"a", "b"}),
        (["a+b", "%2C", "é"], {"a+b", "%2C", "é"}),
    ],
)
def test_tags_of_a_fetch(texts: list[str], tags: set[str]) -> None:
    """Tags repeat or stand between commas; absent and empty ones are none."""
    assert check_tags(texts) == tags


@pytest.mark.parametrize("texts", [["x" * 65], ["ok,a\0"], [",".join(map(str, range(33)))]])
def test_what_are_no_tags(texts: list[str]) -> None:
    """Tags that are too long, too many, or hold control characters are refused under their field's name."""
    with pytest.raises(InvalidInputError) as caught:
        check_tags(texts)
    assert {field for field, _ in caught.value.problems} == {"tags"}

"""Ids: the forms in which they are given, the characters that they hold, and the results in their order."""

from __future__ import annotations

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from coordinator.settings import Settings
from tests.helpers.steps import ack, command, fetch, put_seed, quoted, seed_of, submit
from tests.helpers.support import PREFIX, Drain, eventually, items, publish_items

HOSTILE = [
    "AAABcID5GBc=",
    "a/b+c=d",
    "//a//",
    "a/items",
    "a/items/",
    "two words ",
    "100%",
    "%2F",
    "..",
    "a/../b",
    "#.*",
    "*",
    "#",
    "a.b.c",
    "?q=1&r",
    "naïve-日本語-🕷",
    "'\"\\;<>{}|^`~",
    "null",
    "é" * 100,
]
"""Ids that a path, a routing key or a queue name might be tempted to read otherwise."""

CONTROL = ["a\nb", "a\rb", "\x00", "tab\t", "\x1b[31m", "del\x7f", "c1\x85", "c1\x9f", "end\n"]
"""Ids with control characters: C0, DEL and C1."""


async def raw_call(url: str, method: str, target: bytes) -> tuple[int, bytes]:
    """A request whose target goes out as it stands, with nothing encoded; the status and the body."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_the_three_forms(api: httpx.AsyncClient) -> None:
    """`{"id": x}`, `[{"id": x}, …]` and `{"id": [x, …]}` name the same ids, under PUT and POST."""
    for seed in ("a", "b"):
        await put_seed(api, seed)
    for method in ("PUT", "POST"):
        for body in ({"id": "a"}, [{"id": "a"}, {"id": "b"}], {"id": ["a", "b"]}):
            wanted = ["a"] if body == {"id": "a"} else ["a", "b"]
            answer = await api.request(method, "/release/seed", json=body)
            assert answer.status_code == 200
            assert [(one["id"], one["status"]) for one in answer.json()["results"]] == [(one, 200) for one in wanted]


async def test_results_in_order_and_each_once(api: httpx.AsyncClient) -> None:
    """Results stand in the order given, a duplicate once; one unknown id makes it 404, the known ones are done."""
    for seed in ("a", "b", "c"):
        await put_seed(api, seed)
    answer = await api.post("/release/seed", json={"id": ["c", "x", "a", "c", "x", "b"]})
    assert answer.status_code == 404
    assert [(one["id"], one["status"]) for one in answer.json()["results"]] == [
        ("c", 200),
        ("x", 404),
        ("a", 200),
        ("b", 200),
    ]
    assert all(one["message"] for one in answer.json()["results"])
    assert {(await seed_of(api, seed))["state"] for seed in ("a", "b", "c")} == {"released"}
    answer = await api.put("/resume/seed", json=[{"id": "y"}, {"id": "b"}])
    assert [(one["id"], one["status"]) for one in answer.json()["results"]] == [("y", 404), ("b", 200)]
    assert (await seed_of(api, "b"))["state"] == "running"


async def test_one_invalid_id_and_nothing_is_done(api: httpx.AsyncClient) -> None:
    """An id that does not validate is 406, and the valid ones beside it are left alone."""
    await put_seed(api, "a")
    assert (await api.post("/release/seed", json={"id": ["a", "b\n"]})).status_code == 406
    assert (await seed_of(api, "a"))["state"] == "running"


async def test_repeated_calls_are_harmless(api: httpx.AsyncClient) -> None:
    """Release, resume and worker calls may be repeated with the same result; a second ack finds no handle."""
    await submit(api, "s", 1)
    batch = (await fetch(api))[0]
    await ack(api, [batch])
    assert (await api.put(f"/batch/ack/{batch['id']}")).status_code == 404
    await api.put("/worker/w", json={"transport": "http"})
    for path in ("/release/seed/s", "/resume/seed/s", "/release/worker/w"):
        first, second = await api.put(path), await api.put(path)
        assert (first.status_code, second.status_code) == (200, 200), path
    assert (await seed_of(api, "s"))["state"] == "running"


@pytest.mark.usefixtures("node")
async def test_hostile_ids_in_paths_bodies_and_queue_names(api: httpx.AsyncClient, settings: Settings) -> None:
    """Any printable id works, encoded whole or as little as a URL allows, and its items reach a worker whole."""
    drain = await Drain.begin(settings)
    try:
        for seed in HOSTILE:
            assert (await put_seed(api, seed))["id"] == seed
            await submit(api, seed, [{"id": f"http {seed}"}])
            await publish_items(settings, seed, [[{"id": f"amqp {seed}"}]])
            assert (await api.post("/release/seed", json={"id": seed})).json()["results"][0]["id"] == seed
            assert (await api.post(f"/resume/seed/{quoted(seed)}")).json()["results"][0]["id"] == seed
        wanted = {(seed, f"{way} {seed}") for seed in HOSTILE for way in ("http", "amqp")}
        await eventually(lambda: len(drain.items()) >= len(wanted), "two items of each seed")
    finally:
        await drain.close()
    assert Counter((batch["seed"], item["id"]) for batch in drain.seen for item in batch["items"]) == Counter(wanted)
    listed = (await api.get("/seed", params={"limit": 1000})).json()
    assert {seed["id"] for seed in listed["seeds"]} == set(HOSTILE)


async def test_ids_in_paths_that_are_not_encoded(api: httpx.AsyncClient) -> None:
    """`/`, `+` and `=` may stand in a path as they are; a `+` is no space, and an encoded slash is the same slash."""
    url = str(api.base_url)
    for seed in ("a/b+c=d", "x//y/", "+", "=", "a/retry", "a/items/b", "a.b", "a%b"):
        await put_seed(api, seed)
    for target, seed in [
        (b"a/b+c=d", "a/b+c=d"),
        (b"a%2Fb%2Bc%3Dd", "a/b+c=d"),
        (b"a%2fb+c=d", "a/b+c=d"),
        (b"x//y/", "x//y/"),
        (b"+", "+"),
        (b"=", "="),
        (b"a/retry", "a/retry"),
        (b"a/items/b", "a/items/b"),
        (b"a%2Eb", "a.b"),
        (b"a%25b", "a%b"),
    ]:
        status, body = await raw_call(url, "GET", PREFIX.encode() + b"/seed/" + target)
        assert (status, orjson.loads(body)["id"]) == (200, seed), target
    status, body = await raw_call(url, "PUT", PREFIX.encode() + b"/release/seed/a/items/b")
    assert orjson.loads(body)["results"][0]["id"] == "a/items/b"


async def test_the_last_segment_items_is_the_route(api: httpx.AsyncClient) -> None:
    """`/seed/a/items` adds items to `a`; the seed `a/items` is named by an encoded slash."""
    await put_seed(api, "a/items")
    answer = await api.post("/seed/a/items", json=items(3))
    assert answer.status_code == 202
    assert (await seed_of(api, "a"))["id"] == "a"
    assert (await api.get("/seed/a/items")).status_code == 405
    assert (await api.get("/seed/a%2Fitems")).json()["id"] == "a/items"
    assert (await api.put("/seed/items")).json()["id"] == "items"
    assert (await api.post("/seed/items/items", json=items(2))).status_code == 202
    assert (await api.delete("/seed/items")).status_code == 200


async def test_control_characters_are_refused(api: httpx.AsyncClient, settings: Settings) -> None:
    """An id with a control character is 406 under the field `id`, in a path and in a body, for seeds and workers."""
    for ident in CONTROL:
        for answer in (
            await api.get(f"/seed/{quoted(ident)}"),
            await api.put(f"/seed/{quoted(ident)}", json={}),
            await api.delete(f"/seed/{quoted(ident)}"),
            await api.post(f"/seed/{quoted(ident)}/items", json=items(1)),
            await api.get(f"/release/seed/{quoted(ident)}"),
            await api.post("/release/seed", json={"id": ident}),
            await api.post("/resume/seed", json=[{"id": ident}]),
            await api.get(f"/release/worker/{quoted(ident)}"),
            await api.post("/release/worker", json={"id": [ident]}),
            await api.get(f"/worker/{quoted(ident)}"),
            await api.put(f"/worker/{quoted(ident)}", json={}),
            await api.delete(f"/worker/{quoted(ident)}"),
        ):
            assert answer.status_code == 406, (ident, answer.request, answer.text)
            assert {fault["field"] for fault in answer.json()["errors"]} == {"id"}, answer.text
        refused = await command(settings, "release.seed", {"id": ident})
        assert (refused["status"], [fault["field"] for fault in refused["errors"]]) == (406, ["id"])
    assert (await api.get("/seed")).json()["count"]["totalItems"] == 0


async def test_escapes_that_are_no_utf8(api: httpx.AsyncClient) -> None:
    """A path whose escapes are no UTF-8 is 406 under the field `id`, on every route with an id."""
    url = str(api.base_url)
    for escape in (b"%FF", b"a%C3", b"%ED%A0%80", b"%C0%AF"):
        for method, path in [
            ("GET", b"/seed/"),
            ("PUT", b"/seed/"),
            ("GET", b"/release/seed/"),
            ("PUT", b"/resume/seed/"),
            ("GET", b"/release/worker/"),
            ("GET", b"/worker/"),
            ("GET", b"/batch/ack/"),
            ("DELETE", b"/dead/"),
        ]:
            status, body = await raw_call(url, method, PREFIX.encode() + path + escape)
            assert status == 406, (method, path, escape, body)
            assert [fault["field"] for fault in orjson.loads(body)["errors"]] == ["id"], (path, escape)
        status, body = await raw_call(url, "POST", PREFIX.encode() + b"/dead/" + escape + b"/retry")
        assert status == 406, body


async def test_the_bounds_of_ids(api: httpx.AsyncClient) -> None:
    """A seed's id has 1 to 200 bytes of UTF-8, a worker's 1 to 100 characters of its alphabet."""
    for seed, status in (("s" * 200, 200), ("é" * 100, 200), ("s" * 201, 406), ("é" * 101, 406)):
        assert (await api.put(f"/seed/{quoted(seed)}", json={})).status_code == status, seed
    for worker, status in (("W0._:-" + "w" * 94, 200), ("w" * 101, 406), ("a/b", 406), ("é", 406), ("a,b", 406)):
        answer = await api.put(f"/worker/{quoted(worker)}", json={"transport": "http"})
        assert answer.status_code == status, worker

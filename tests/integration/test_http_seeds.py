"""Seeds over HTTP: reading, policies, items, purge, lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import httpx
import orjson

from coordinator.settings import Settings
from tests.helpers.steps import Json, ack, counts_settle, fetch, put_seed, seed_of, submit, until
from tests.helpers.support import Drain, StockWorker, eventually, items, publish_items

FIELDS = {"id", "state", "epoch", "priority", "policies", "batchSize", "owner", "counts"}
COUNTS = {"available", "queued", "sent", "taken", "exact"}
THROTTLE = {"type": "throttle", "period": "hour", "value": 10**6}
ROUTE = {"type": "route", "routeTo": "gpu"}


async def test_a_new_seed_reads_with_defaults(api: httpx.AsyncClient) -> None:
    """A seed that came into being with its items has every field of the contract, at its default."""
    await submit(api, "s", 10)
    seed = await seed_of(api, "s")
    assert set(seed) >= FIELDS
    assert set(seed["counts"]) == COUNTS
    assert (seed["id"], seed["state"], seed["epoch"]) == ("s", "running", 1)
    assert (seed["priority"], seed["policies"], seed["batchSize"]) == ("medium", [], 100)
    await counts_settle(api, "s", queued=10)
    assert isinstance((await seed_of(api, "s"))["owner"], str)


async def test_never_seen(api: httpx.AsyncClient) -> None:
    """A seed that was never seen is 404 on every route that names it, and none comes into being by that."""
    for method, path in [
        ("GET", "/seed/x"),
        ("DELETE", "/seed/x"),
        ("PUT", "/release/seed/x"),
        ("PUT", "/resume/seed/x"),
    ]:
        answer = await api.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["message"]
    assert (await api.get("/seed")).json() == {"seeds": [], "count": {"totalItems": 0}}


async def test_put_replaces_all_policies(api: httpx.AsyncClient) -> None:
    """PUT sets what it names and puts all else back to its default; what was read may be sent back."""
    first = await put_seed(api, "s", priority="high", batchSize=7, policies=[THROTTLE, ROUTE])
    assert (first["priority"], first["batchSize"], first["policies"]) == ("high", 7, [THROTTLE, ROUTE])
    assert await seed_of(api, "s") == first
    assert (await put_seed(api, "s", **first))["policies"] == [THROTTLE, ROUTE]
    second = await put_seed(api, "s", batchSize=9)
    assert (second["priority"], second["batchSize"], second["policies"]) == ("medium", 9, [])
    assert second["epoch"] == 1


async def test_policies_apply_to_later_dispatches(api: httpx.AsyncClient) -> None:
    """What is queued keeps its tags; what is dispatched after the PUT carries the new ones and the new batch size."""
    await put_seed(api, "s", batchSize=5)
    await submit(api, "s", [{"id": "before"}])
    await counts_settle(api, "s", queued=1)
    await put_seed(api, "s", batchSize=2, policies=[ROUTE])
    await submit(api, "s", [{"id": "after-1"}, {"id": "after-2"}, {"id": "after-3"}])
    await counts_settle(api, "s", queued=4)
    batches = await fetch(api, 3, tags="gpu")
    assert sorted((batch["tags"], len(batch["items"])) for batch in batches) == [([], 1), (["gpu"], 1), (["gpu"], 2)]


async def test_counts_follow_the_items(api: httpx.AsyncClient) -> None:
    """Counts are in items and move from available to queued, sent and taken; exact where nothing is a guess.

    How many are queued depends on how fast the queue empties, but for the least that it holds.
    """
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 100)
    counts = await counts_settle(api, "s", queued=40, available=60, sent=0, taken=0)
    assert counts["exact"] is True
    batches = await fetch(api, 3)

    async def moved(sent: int, taken: int) -> Json:
        """Wait until all are counted: what is on its way to the work queue is in neither place for a moment."""
        counts: Json = {}

        async def look() -> None:
            counts.update((await seed_of(api, "s"))["counts"])

        def is_settled() -> bool:
            return (counts["sent"], counts["taken"], counts["queued"] + counts["available"]) == (sent, taken, 70)

        await until(look, is_settled, f"{sent} sent and {taken} taken")
        return counts

    assert (await moved(sent=30, taken=0))["exact"] is True
    await ack(api, batches[:2])
    counts = await moved(sent=10, taken=20)
    assert counts["exact"] is True
    assert counts["queued"] >= 40
    await api.put("/release/seed/s")
    counts = await counts_settle(api, "s", queued=0, sent=0, taken=20)
    assert (counts["available"], counts["exact"]) == (80, True)


async def test_a_json_array_of_items(api: httpx.AsyncClient) -> None:
    """An array of any length is accepted whole, 202 with how many; an empty one accepts none."""
    wanted = await submit(api, "s", 2345)
    got: list[str] = []
    while len(got) < len(wanted):
        batches = await fetch(api)
        got += [item["id"] for item in batches[0]["items"]]
        await ack(api, batches)
    assert Counter(got) == Counter(wanted)
    assert (await api.post("/seed/s/items", content=b" [ ] ")).json()["accepted"] == 0


async def test_a_blank_body(api: httpx.AsyncClient) -> None:
    """It is no JSON value, and 406 where it is said to be one; of lines, there are none."""
    for kind, status in (("application/json", 406), ("application/x-ndjson", 202)):
        answer = await api.post("/seed/s/items", content=b" \t\r\n", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["accepted"]) == (status, 0)


async def test_items_as_lines(api: httpx.AsyncClient) -> None:
    """One item a line, streamed in any chunks, with empty lines, CRLF and no last line end, is accepted whole."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in (b'\n\r\n{"id"', b': "1"}\r\n\n{"id": "2"}\n', b' {"id": "\xc3', b'\xa9"}  \n', b'{"id": "4"}'):
            yield piece

    answer = await api.post("/seed/s/items", content=chunks())
    assert (answer.status_code, answer.json()["accepted"]) == (202, 4)
    got = [item["id"] for item in (await fetch(api))[0]["items"]]
    assert got == ["1", "2", "é", "4"]
    lines = b"\n".join(orjson.dumps(item) for item in items(1234))
    assert (await api.post("/seed/t/items", content=lines)).json()["accepted"] == 1234


BROKEN_LINES = [b"nonsense", b"[]", b'{"id": 7}', b'{"id": ""}', b'{"url": "x"}', b'"x"', b"\xff"]


async def test_a_broken_line_is_named(api: httpx.AsyncClient) -> None:
    """The number of the first broken line is named, empty ones counted, and how many were accepted: all before it."""
    good = [orjson.dumps(item) for item in items(250)]
    for number, line in enumerate(BROKEN_LINES):
        body = b"\n\n" + b"\n".join([*good, line, *good])
        answer = await api.post(f"/seed/s{number}/items", content=body)
        assert answer.status_code == 406
        assert answer.json()["errors"][0]["field"].startswith("line 253: "), answer.text
        assert answer.json()["accepted"] == 250
        got: list[str] = []
        while len(got) < 250:
            batches = await fetch(api)
            got += [item["id"] for item in batches[0]["items"]]
            await ack(api, batches)
        assert Counter(got) == Counter(f"i{number}" for number in range(250))


BROKEN_ITEMS: list[tuple[list[object], str]] = [
    ([*items(150), {"id": 7}], "150.id"),
    ([{"id": "x", "action": "sleep"}], "0.action"),
    ([{"id": "x\u0000"}], "0.id"),
    ([{"id": "x\n"}], "0.id"),
    ([{"id": "x", "url": "\u0085"}], "0.url"),
    ([{"id": "x", "metadata": []}], "0.metadata"),
    ([{"id": "x", "metadata": {"deep": "\u0000"}}], "[0]"),
    ([7], "0"),
]


async def test_a_broken_item_in_an_array(api: httpx.AsyncClient) -> None:
    """An array with an item that does not validate is 406, the item's place named, and nothing of it is accepted."""
    for given, field in BROKEN_ITEMS:
        answer = await api.post("/seed/s/items", json=given)
        assert answer.status_code == 406
        assert answer.json()["errors"][0]["field"] == field
        assert answer.json()["accepted"] == 0
    assert (await api.get("/seed/s")).status_code == 404


async def test_purge_says_how_many(api: httpx.AsyncClient) -> None:
    """A purge discards what is available and unsent, in whatever pages it came, says how many, and forgets the seed."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 995)
    await counts_settle(api, "s", queued=40)
    answer = await api.delete("/seed/s")
    assert answer.status_code == 200
    assert answer.json()["results"][0]["purged"] == 995
    assert (await api.get("/seed/s")).status_code == 404
    assert (await api.delete("/seed/s")).status_code == 404
    assert (await api.get("/batch")).json() == {"batches": []}
    assert (await api.get("/seed")).json()["count"]["totalItems"] == 0


async def test_purge_of_a_released_seed(api: httpx.AsyncClient, settings: Settings) -> None:
    """Also of a seed that was released, and whose pages are of all sizes, a purge says exactly how many it discards."""
    await put_seed(api, "s")
    await publish_items(settings, "s", [items(1, f"{n}-") for n in range(250)])
    counts: Json = {}

    async def look() -> None:
        counts.update((await seed_of(api, "s"))["counts"])

    await until(look, lambda: counts["queued"] and counts["queued"] + counts["available"] == 250, "all items seen")
    returned = (await api.put("/release/seed/s")).json()["results"][0]["returned"]
    assert counts["queued"] <= returned <= 250, "what was packed since the look comes back, too"
    await publish_items(settings, "s", [items(3, "a"), items(500, "b"), items(1, "c")])
    assert (await api.delete("/seed/s")).json()["results"][0]["purged"] == 754


async def test_what_a_worker_holds_survives_a_purge(api: httpx.AsyncClient, settings: Settings) -> None:
    """What was sent is with its worker; if that gives it back after the purge it is gone, not in the new seed."""
    stock = await StockWorker.consume(settings, prefetch=1)
    try:
        await submit(api, "s", 5)
        await eventually(lambda: stock.deliveries, "a batch at the worker")
        assert (await api.delete("/seed/s")).json()["results"][0]["purged"] == 0
        await stock.deliveries.pop().reject()
        await submit(api, "other", 5)
        await eventually(lambda: stock.deliveries, "the other seed's batch")
        assert stock.batches[0]["seed"] == "other"
        assert (await api.get("/seed/s")).status_code == 404
    finally:
        await stock.close()


async def test_made_anew_after_a_purge(api: httpx.AsyncClient, settings: Settings) -> None:
    """Later items make a purged seed anew, with a higher epoch than before and default policies."""
    await put_seed(api, "s", batchSize=7, priority="high")
    await api.put("/release/seed/s")
    before = (await seed_of(api, "s"))["epoch"]
    await api.delete("/seed/s")
    drain = await Drain.begin(settings)
    try:
        await publish_items(settings, "s", [items(20)])
        await eventually(lambda: len(drain.items()) >= 20, "the new seed's items")
        seed = await seed_of(api, "s")
        assert (seed["epoch"] > before, seed["batchSize"], seed["priority"]) == (True, 100, "medium")
        assert drain.seen[0]["epoch"] == seed["epoch"]
    finally:
        await drain.close()


async def test_lists_come_in_pages(api: httpx.AsyncClient) -> None:
    """Seeds and workers are listed by id with `offset` and `limit`, and `count.totalItems` is of them all."""
    for number in range(5):
        await put_seed(api, f"s{number}")
        await api.put(f"/worker/w{number}", json={"transport": "http"})
    for name, prefix in (("seed", "s"), ("worker", "w")):
        whole = (await api.get(f"/{name}")).json()
        assert [one["id"] for one in whole[f"{name}s"]] == [f"{prefix}{number}" for number in range(5)]
        part = (await api.get(f"/{name}", params={"offset": 3, "limit": 5})).json()
        assert [one["id"] for one in part[f"{name}s"]] == [f"{prefix}3", f"{prefix}4"]
        assert part["count"] == whole["count"] == {"totalItems": 5}
        assert (await api.get(f"/{name}", params={"offset": 9})).json()[f"{name}s"] == []

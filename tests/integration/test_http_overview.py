"""What there is beside items: work queues, coordinators, the broker; filters, order, and why a seed does not move."""

from __future__ import annotations

import httpx
import pytest

from coordinator.api_models import BrokerAnswer
from coordinator.broker.types import Message
from coordinator.client import HttpManager
from coordinator.errors import NotFoundError
from coordinator.node.coordinator import Coordinator
from coordinator.node.observe import seed_stats as figures
from tests.helpers.steps import ack, channel_of, dead_letters, fetch, put_seed, seed_of, submit, until
from tests.helpers.support import PREFIX

WEB = [{"type": "route", "routeTo": "web"}]


def client_of(api: httpx.AsyncClient) -> HttpManager:
    """A typed client of the same coordinator."""
    return HttpManager(str(api.base_url).removesuffix(f"{PREFIX}/"))


async def test_a_seed_tells_why_it_does_not_move(api: httpx.AsyncClient) -> None:
    """No worker at first, then a full queue, then a release; a throttle; and nothing once all is done."""
    await put_seed(api, "tagged", policies=WEB, batchSize=1)
    await submit(api, "tagged", 9)

    async def why_is(seed: str, part: str | None) -> None:
        told: dict[str, object] = {}

        async def look() -> None:
            told.update(await seed_of(api, seed))

        await until(look, lambda: told["why"] == part if part is None else part in str(told["why"]), f"{seed}: {part}")

    await why_is("tagged", "no worker has the tag web")
    batches = await fetch(api, 1, worker="w1", tags="web")
    await why_is("tagged", "the work queue is full: 1 worker holds 1 batch")
    await put_seed(api, "slow", policies=[{"type": "throttle", "period": "hour", "value": 2}], batchSize=1)
    await submit(api, "slow", 3)
    await fetch(api, 2, worker="w2")
    await why_is("slow", "throttled until 20")
    await ack(api, batches)
    await api.put("/release/seed/tagged")
    await why_is("tagged", "released")
    assert (await seed_of(api, "tagged"))["since"] > (await seed_of(api, "slow"))["since"]


async def test_progress_and_rate(api: httpx.AsyncClient) -> None:
    """A seed is drained when all of it is taken, and tells how fast that went."""
    await put_seed(api, "s", batchSize=10)
    await submit(api, "s", 20)
    held = await fetch(api, 2)
    assert (await seed_of(api, "s"))["progress"] == {"drained": False, "inHand": 0}
    await ack(api, held)
    told: dict[str, object] = {}

    async def look() -> None:
        told.update(await seed_of(api, "s"))

    await until(look, lambda: told["rate"] != 0, "a rate")
    assert (told["progress"], told["why"]) == ({"drained": True, "inHand": 0}, None)


async def test_many_seeds_are_sorted_by_what_one_question_tells(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each figure in the order in which they would be counted one by one; what is shown is counted so."""
    monkeypatch.setattr(figures, "COUNTED", 3)
    for seed, count in (("a", 2000), ("b", 3000), ("c", 0), ("d", 300)):
        await put_seed(api, seed, policies=[{"type": "route", "routeTo": seed}])
        if count:
            await submit(api, seed, count)
    await ack(api, await fetch(api, 2, worker="w", tags="a"))
    await fetch(api, 1, worker="w", tags="d")
    order: dict[str, str] = {}

    async def look() -> None:
        async with client_of(api) as reader:
            for sort in ("-available", "-sent", "-taken", "rate", "queued"):
                order[sort] = "".join(seed.id for seed in await reader.seeds(sort=sort))

    wanted = {"-available": "b", "-sent": "d", "-taken": "a", "queued": "c"}
    await until(
        look,  # the figures of the management API come a second late
        lambda: order["-available"] == "bacd" and all(order[sort][0] == seed for sort, seed in wanted.items()),
        f"the order, which is {order}",
    )
    answer = (await api.get("/seed", params={"sort": "-taken", "offset": 0, "limit": 1})).json()
    assert ([one["id"] for one in answer["seeds"]], answer["count"]["totalItems"]) == (["a"], 4)
    assert answer["seeds"][0]["counts"]["taken"] == 200
    told = (await api.get("/seed")).json()["seeds"]
    assert [one["counts"]["exact"] for one in told] == [False] * 4
    assert (told[1]["counts"]["available"], told[2]["counts"]["available"]) == (2600, 0)


async def test_lists_are_filtered_and_sorted(api: httpx.AsyncClient) -> None:
    """By a part of the id, by state, by figures, either way; a word that is none is named."""
    for seed, count in {"photos-b": 3, "photos-a": 5, "videos": 4}.items():
        await put_seed(api, seed, policies=WEB)
        await submit(api, seed, count)
    await api.put("/release/seed/videos")
    async with client_of(api) as reader:
        assert [seed.id for seed in await reader.seeds(q="PHOTOS")] == ["photos-a", "photos-b"]
        assert [seed.id for seed in await reader.seeds(state="released")] == ["videos"]
        assert [seed.id for seed in await reader.seeds(sort="-id")] == ["videos", "photos-b", "photos-a"]
        assert (await reader.seeds(sort="-available"))[0].id == "videos"
        [batch] = await fetch(api, 1, worker="w1", tags="web")
        await fetch(api, 1, worker="w2", tags="web")
        assert [one.batch for one in await reader.batches(worker="w1")] == [batch["batch"]]
        assert [one.worker for one in await reader.batches(sort="-worker")] == ["w2", "w1"]
        assert [one.worker for one in await reader.batches(seed=batch["seed"], batch=batch["batch"])] == ["w1"]
        assert [one.id for one in await reader.workers(q="2")] == ["w2"]
        assert [(one.id, one.state) for one in await reader.workers(sort="-id")] == [("w2", "live"), ("w1", "live")]
    for path in ("/seed?sort=colour", "/seed?state=lost", "/worker?sort=-", "/batch/held?sort=id"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["field"] in path) == (406, True), path


async def test_queues_coordinators_and_the_broker(api: httpx.AsyncClient, node: Coordinator) -> None:
    """A queue that nobody may take from is warned of; the coordinator that answers is marked; nodes tell figures."""
    await put_seed(api, "s", policies=WEB)
    await submit(api, "s", 1)
    async with client_of(api) as reader:
        queues = {queue.name: queue for queue in await reader.queues()}
        assert queues["work"].warning is None
        assert queues["work.web"].warning == "no worker has the tag web"
        await fetch(api, 1, worker="w", tags="web")
        queues = {queue.name: queue for queue in await reader.queues()}
        assert (queues["work.web"].eligible, queues["work.web"].warning) == (1, None)
        [one] = await reader.coordinators()
        assert (one.instance, one.you, one.seeds) == (node.instance, True, 1)
        told: list[BrokerAnswer] = []

        async def look() -> None:
            told[:] = [await reader.broker()]

        # A broker that has just begun has counted nothing yet.
        await until(look, lambda: all(found.running and found.memory > 0 for found in told[0].nodes), "its figures")
        assert (told[0].product, told[0].known, told[0].blocked) == ("RabbitMQ", True, False)


async def test_a_dead_letter_is_read_whole(api: httpx.AsyncClient, node: Coordinator) -> None:
    """Its reason, its body, and its items where it has some; one that is not there is 404."""
    async with channel_of(node.settings) as channel:
        await channel.publish("items", "s", Message(b'[{"id": 7}]'), mandatory=True)
    [letter] = await dead_letters(api, 1)
    async with client_of(api) as reader:
        whole = await reader.dead_letter(letter["id"])
        assert (whole.reason, whole.body, whole.items) == (letter["reason"], '[{"id": 7}]', None)
        with pytest.raises(NotFoundError):
            await reader.dead_letter("nothing")


async def test_a_worker_that_drains_gets_nothing(api: httpx.AsyncClient) -> None:
    """What it holds stays its own; it gets no more until it registers again; one that is not known is 404."""
    await put_seed(api, "s", batchSize=1)
    await submit(api, "s", 3)
    held = await fetch(api, 1, worker="w1")
    async with client_of(api) as manager:
        answer = await manager.drain_worker("w1")
        assert [(one.status, one.batches) for one in answer.results] == [(200, 1)]
        assert (await manager.worker("w1")).state == "draining"
        assert (await api.get("/batch?worker=w1")).json() == {"batches": [], "draining": True}
        await ack(api, held)
        assert (await api.get("/batch?worker=w1&wait=0")).json()["draining"]
        await api.put("/worker/w1", json={"transport": "http"})
        assert (await manager.worker("w1")).state == "live"
        await fetch(api, 1, worker="w1")
        assert (await manager.drain_worker("nobody")).results[0].status == 404

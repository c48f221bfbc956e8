"""The composed system: built, brought up healthy, used through its published port, and taken down without a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.helpers.compose import UP, Crawl, System, answer, composed, docker, read_results, unfinished
from tests.helpers.support import eventually, items

pytestmark = [
    pytest.mark.skipif(os.environ.get("COORDINATOR_TEST_COMPOSE") != "yes", reason="run by `make test-compose`"),
    pytest.mark.timeout(900),  # an image may have to be built
]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The system, up."""
    with composed() as system:
        yield system


def test_all_is_healthy_and_only_this_machine_reaches_it(system: System) -> None:
    """All are healthy, and ports are published on loopback alone."""
    services = [json.loads(line) for line in system.compose("ps", "--format", "json").splitlines()]
    assert {one["Service"]: (one["State"], one["Health"]) for one in services} == dict.fromkeys(
        ("broker", "coordinator", "coordinator-2", "worker", "worker-tagged", "worker-http"), ("running", "healthy")
    )
    published = {one["URL"] for service in services for one in service["Publishers"] or [] if one["PublishedPort"]}
    assert published == {"127.0.0.1"}


async def test_items_are_done(system: System) -> None:
    """Items submitted through the published port come back as results of the worker, each once, and nothing is left."""
    names = [item["id"] for item in items(250, "/nowhere/")]
    listener = system.listen("files", len(names) + 1)
    with system.api() as api:
        submitted = [{"id": "/etc/hostname"}, *({"id": name} for name in names)]
        assert api.post("/seed/files/items", json=submitted).json()["accepted"] == len(submitted)
        results = read_results(listener)
        assert sorted(result["id"] for result in results) == sorted(["/etc/hostname", *names])
        outcome = {result["id"]: result for result in results}
        assert outcome["/etc/hostname"]["data"]["type"] == "file"
        assert {outcome[name]["status"] for name in names} == {"failed"}
        await eventually(lambda: unfinished(api, "files") == 0, "every item acked")
        assert api.get("/dead").json()["count"]["totalItems"] == 0


async def test_data_outlive_the_containers(system: System) -> None:
    """A released seed's items are there after `down` and `up`, and are done when it is resumed."""
    with system.api() as api:
        answer(api.put("/seed/kept", json={}))
        answer(api.put("/release/seed/kept"))
        answer(api.post("/seed/kept/items", json=items(30)))
    system.compose("down", "--timeout", "30")
    system.compose(*UP)
    listener = system.listen("kept", 30)
    with system.api() as api:
        assert answer(api.get("/seed/kept"))["state"] == "released"
        answer(api.put("/resume/seed/kept"))
        results = read_results(listener)
        assert sorted(result["id"] for result in results) == sorted(item["id"] for item in items(30))
        await eventually(lambda: unfinished(api, "kept") == 0, "every item acked")


@pytest.mark.parametrize("victim", ["worker", "worker-http", "worker-tagged", "coordinator-2", "coordinator", "broker"])
async def test_a_container_that_is_killed_loses_nothing(system: System, victim: str) -> None:
    """It is killed amid the crawl of a real tree, and started again: each entry is then done, and none is dead."""
    crawl = await Crawl.begin(system, f"kill-{victim}")
    system.compose("kill", victim)
    system.compose(*UP)
    await crawl.see_it_through()


@pytest.mark.parametrize(
    ("begin", "end"), [(("pause",), ("unpause",)), (("network", "disconnect"), ("network", "connect"))]
)
async def test_a_worker_that_hangs_or_is_cut_off_loses_nothing(
    system: System, begin: tuple[str, ...], end: tuple[str, ...]
) -> None:
    """Its silence is noticed amid a crawl, others do what it held, and when it is back nothing is missing."""
    worker = system.compose("ps", "--quiet", "worker").strip()
    network = [f"{system.project}_default"] if begin[0] == "network" else []
    crawl = await Crawl.begin(system, f"silent-{begin[-1]}")
    docker(*begin, *network, worker)
    try:
        await crawl.see_it_through()
    finally:
        docker(*end, *network, worker)


def test_the_demo_loses_nothing_though_the_broker_is_killed(system: System) -> None:
    """It crawls a real tree, the broker is killed and comes back on the way, and the ledger balances."""
    with system.start("run", "--rm", "-T", "demo") as demo:
        assert demo.stdout is not None
        seen = [next(demo.stdout)]
        # Later than a second after its queues were declared: of those a lone node that is killed may lose the members.
        while "resumed the seed" not in seen[-1]:
            seen.append(next(demo.stdout))
        system.compose("kill", "broker")
        system.compose(*UP)
        output = " ".join((*seen, *demo.stdout))
    assert demo.returncode == 0, output
    assert ", lost 0," in output


async def test_more_workers(system: System) -> None:
    """Ten of a kind come up, each is known under a name of its own, and they crawl together."""
    system.compose(*UP, "--scale", "worker=10")
    running = system.compose("ps", "--quiet", "worker").split()
    crawl = await Crawl.begin(system, "ten")
    with system.api() as api:
        known = {one["id"] for one in answer(api.get("/worker", params={"limit": 1000}))["workers"]}
    assert {ident[:12] for ident in running} <= known
    assert len(running) == 10
    await crawl.see_it_through()
    system.compose(*UP, "--scale", "worker=1")


def test_programs_stop_when_told(system: System) -> None:
    """Coordinators and workers end by themselves at a stop, with code 0, and not by being killed."""
    programs = ("worker", "worker-tagged", "worker-http", "coordinator", "coordinator-2")
    system.compose("stop", *programs)
    stopped = [json.loads(line) for line in system.compose("ps", "--all", "--format", "json").splitlines()]
    codes = {one["Service"]: one["ExitCode"] for one in stopped if one["State"] == "exited"}
    assert codes == dict.fromkeys(("secrets", *programs), 0)

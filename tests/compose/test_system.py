"""The composed system: built, brought up healthy, used through its published port, and taken down without a trace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import pytest

from tests.support import PREFIX, eventually, items

pytestmark = [
    pytest.mark.skipif(os.environ.get("COORDINATOR_TEST_COMPOSE") != "yes", reason="run by `make test-compose`"),
    pytest.mark.timeout(900),  # an image may have to be built
]

ROOT = Path(__file__).parents[2]
DOCKER = shutil.which("docker") or "docker"
UP = ("up", "--detach", "--wait", "--wait-timeout", "240")

# Runs inside the coordinator's container, for the broker's port is not published. It ends by itself.
LISTEN = """
import asyncio, sys
from coordinator.broker.connection import Connection
from coordinator.settings import Settings

async def listen(seed, wanted):
    connection = await Connection.open(Settings().amqp_urls(), "listener")
    channel = await connection.channel()
    queue = await channel.declare_own_queue("", [("results", seed)])
    bodies = asyncio.Queue()
    await channel.consume(queue, lambda delivery: bodies.put_nowait(delivery.body), prefetch=1000)
    print("listening", flush=True)
    async with asyncio.timeout(60):
        while wanted > 0:
            body = await bodies.get()
            wanted -= body.count(b'"status"')
            print(body.decode(), flush=True)
    await connection.close()

asyncio.run(listen(sys.argv[1], int(sys.argv[2])))
"""

# A queue of its own for a seed's results, which outlives the broker; and later, what is in it.
KEEP = """
import asyncio, sys
from coordinator.broker.connection import Connection
from coordinator.settings import Settings
from coordinator.topology import Queue

async def main(seed):
    connection = await Connection.open(Settings().amqp_urls(), "keeper")
    channel = await connection.channel()
    queue = Queue("kept." + seed, {"x-queue-type": "quorum"}, (("results", seed),))
    await channel.declare_queue(queue)
    while (delivery := await channel.get(queue.name)) is not None:
        print(delivery.body.decode())
        await delivery.ack()
    await connection.close()

asyncio.run(main(sys.argv[1]))
"""

TREE = "/usr/lib"
LIST = """
import sys
from worker_stub.filesystem import list_tree
for item in list_tree(sys.argv[1]):
    print(item["id"])
"""


@dataclass
class System:
    """One project of `docker compose`, with names and ports of its own."""

    project: str = field(default_factory=lambda: f"coordinator-test-{token_hex(4)}")

    @property
    def environment(self) -> dict[str, str]:
        """What compose.yaml reads, and nothing of the caller's that would change it."""
        foreign = ("COMPOSE_", "RABBITMQ_", "WORKER_", "COORDINATOR_")
        own = {"COORDINATOR_PORT": "", "COORDINATOR_2_PORT": "", "COORDINATOR_TAG": self.project}
        return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | own

    def order(self, *arguments: str) -> list[str]:
        """A command of `docker compose`; a .env of the checkout is not read."""
        return [DOCKER, "compose", "--env-file", os.devnull, "--project-name", self.project, *arguments]

    def compose(self, *arguments: str) -> str:
        """Run a command and return its output."""
        answer = subprocess.run(  # noqa: S603 - docker itself, as below
            self.order(*arguments), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, (
            f"docker compose {' '.join(arguments)}\n{answer.stdout[-5000:]}{answer.stderr[-5000:]}"
        )
        return answer.stdout

    def listen(self, seed: str, wanted: int) -> subprocess.Popen[str]:
        """Begin to print a seed's results as they come, one body a line, until there are so many."""
        order = self.order("exec", "-T", "coordinator", "python", "-c", LISTEN, seed, str(wanted))
        listener = subprocess.Popen(order, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        return listener

    def script(self, text: str, *arguments: str) -> str:
        """Run a program inside the coordinator's container and return its output."""
        return self.compose("exec", "-T", "coordinator", "python", "-c", text, *arguments)

    def api(self) -> httpx.Client:
        """A client of the published port."""
        address = self.compose("port", "coordinator", "8787").strip()
        return httpx.Client(base_url=f"http://{address}{PREFIX}", trust_env=False, timeout=30)

    def traces(self) -> str:
        """What of this project the engine still has."""
        label = f"label=com.docker.compose.project={self.project}"
        orders = [("ps", "--all"), ("volume", "ls"), ("network", "ls")]
        return "".join(_docker(*order, "--quiet", "--filter", label) for order in orders)


def _docker(*arguments: str) -> str:
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=True).stdout  # noqa: S603 - docker itself


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The system, up; gone at the end with its data and its image."""
    system = System()
    try:
        system.compose("build")
        try:
            system.compose(*UP)
        except AssertionError:
            print(system.compose("logs", "--no-color", "--tail", "50"))  # noqa: T201 - shown beside the failure
            raise
        yield system
    finally:
        system.compose("down", "--volumes", "--timeout", "30")
        _docker("image", "rm", "--force", f"batch-coordinator:{system.project}")
    assert system.traces() == ""


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
    _docker(*begin, *network, worker)
    try:
        await crawl.see_it_through()
    finally:
        _docker(*end, *network, worker)


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


def answer(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a success."""
    assert response.is_success, response.text
    value: dict[str, Any] = response.json()
    return value


def read_results(listener: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All results of a listener that has heard as many as it wanted."""
    output, _ = listener.communicate(timeout=90)
    assert listener.returncode == 0, output
    return [result for line in output.splitlines() for result in json.loads(line)["results"]]


@dataclass
class Crawl:
    """A crawl of the image's own /usr/lib, and what is known of its results."""

    system: System
    seed: str
    expected: set[str]
    done: set[str] = field(default_factory=set)

    @classmethod
    async def begin(cls, system: System, seed: str) -> Crawl:
        """Submit the tree's root, and wait until the crawl is under way; the throttle keeps it so for some seconds."""
        crawl = cls(system, seed, set(system.script(LIST, TREE).splitlines()))
        system.script(KEEP, seed)
        with system.api() as api:
            answer(
                api.put(f"/seed/{seed}", json={"policies": [{"type": "throttle", "period": "second", "value": 300}]})
            )
            answer(api.post(f"/seed/{seed}/items", json=[{"id": TREE, "action": "scan"}]))
        await eventually(crawl.read_results, f"the crawl {seed} is under way", 60)
        assert crawl.done < crawl.expected
        return crawl

    def read_results(self) -> set[str]:
        """Take the results that have come since; gives the ids of all items that have one."""
        bodies = [json.loads(line) for line in self.system.script(KEEP, self.seed).splitlines()]
        self.done.update(result["id"] for body in bodies for result in body["results"])
        return self.done

    async def see_it_through(self) -> None:
        """Wait until each entry has a result, and no other id has; some may have more, for a failure repeats them."""
        await eventually(lambda: self.read_results() >= self.expected, f"the crawl {self.seed} is through", 120)
        assert self.done == self.expected
        with self.system.api() as api:
            await eventually(lambda: unfinished(api, self.seed) == 0, "every item acked")
            assert answer(api.get("/dead"))["count"]["totalItems"] == 0


def unfinished(api: httpx.Client, seed: str) -> int:
    """How many items of a seed are not acked."""
    counts = answer(api.get(f"/seed/{seed}"))["counts"]
    return sum(int(counts[place]) for place in ("available", "queued", "sent"))

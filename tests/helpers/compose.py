"""A composed system for a test, used through its published port and the engine, and a crawl in it."""

from __future__ import annotations

import contextlib
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

from tests.helpers.support import PREFIX, eventually

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
    while (delivery := (await channel.get_many(queue.name, 1))[0]) is not None:
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

    profiles: tuple[str, ...] = ()
    project: str = field(default_factory=lambda: f"coordinator-test-{token_hex(4)}")

    @property
    def environment(self) -> dict[str, str]:
        """What compose.yaml reads, and nothing of the caller's that would change it."""
        foreign = ("COMPOSE_", "RABBITMQ_", "WORKER_", "COORDINATOR_")
        own = {
            "COORDINATOR_PORT": "",
            "COORDINATOR_2_PORT": "",
            "COORDINATOR_TAG": self.project,
            "COMPOSE_PROFILES": ",".join(self.profiles),
        }
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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; what it prints is read as it comes."""
        return subprocess.Popen(  # noqa: S603 - as above
            self.order(*arguments), cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )

    def listen(self, seed: str, wanted: int) -> subprocess.Popen[str]:
        """Begin to print a seed's results as they come, one body a line, until there are so many."""
        listener = self.start("exec", "-T", "coordinator", "python", "-c", LISTEN, seed, str(wanted))
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
        return "".join(docker(*order, "--quiet", "--filter", label) for order in orders)


def docker(*arguments: str) -> str:
    """Run a command of docker and return its output."""
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=True).stdout  # noqa: S603 - docker itself


@contextlib.contextmanager
def composed(*profiles: str) -> Iterator[System]:
    """A system, up; gone at the end with its data and its image."""
    system = System(profiles)
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
        docker("image", "rm", "--force", f"batch-coordinator:{system.project}")
    assert system.traces() == ""


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

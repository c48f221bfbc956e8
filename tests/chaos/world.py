"""The world of a run: broker, coordinators, workers, and the networks between them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx

from coordinator.broker.management import Management
from tests.chaos.broker import Broker
from tests.chaos.hands import hands_beside, in_hand
from tests.chaos.history import Fault, Recorder, file_name
from tests.chaos.load import SEEDS, SeedPlan
from tests.chaos.story import Limits
from tests.chaos.worker import Config
from tests.helpers.children import Child
from tests.helpers.link import HOST, Address, Link

READY = 60.0
LOOK = 0.1
IN_HAND_PATIENCE = 8.0
"""Seconds for which a fault waits until there is work to strike."""
ANYONE = 0.2
"""The share of faults of workers that strike whoever comes, with work in hand or without."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be.

    Attributes:
        folder: takes the history, logs and what coordinators and workers keep.
        duration: seconds of load and faults.
        seed: of all random choices.
        faults: the kinds of fault to cause.
        coordinators: how many.
        workers: how many.
        rate: items a second.
        items: how many at most.
        pause: seconds between two faults of a lane, on average.
        commands: seconds between two commands, on average.
        poison: how many deadly items.
        plant: violations for the coordinators to commit, with commas between.
        rejects: the share of batches that workers reject.
        busy: how much of their time all workers together need for the load; above 1 they fall behind.
        rest: seconds that a released seed rests, at most.
        drain: seconds in which something must be worked off once faults and load have ended, until nothing is left.
        seeds: which there are.
        limits: what the checker takes for granted.
    """

    folder: Path
    duration: float = 60.0
    seed: int = 1
    faults: tuple[str, ...] = ()
    coordinators: int = 3
    workers: int = 8
    rate: float = 600.0
    items: int = 10_000_000
    pause: float = 1.0
    commands: float = 1.0
    poison: int = 0
    plant: str = ""
    rejects: float = 0.002
    busy: float = 0.7
    rest: float = 1.5
    drain: float = 150.0
    seeds: tuple[SeedPlan, ...] = SEEDS
    limits: Limits = field(default_factory=Limits)

    @property
    def seconds(self) -> float:
        """What an item takes a worker, at most."""
        return 2 * self.busy * self.workers / self.rate


@dataclass(slots=True)
class Party:
    """A child and the network that it has to itself."""

    child: Child
    link: Link
    port: int = 0

    @property
    def name(self) -> str:
        """Its name in the history."""
        return self.child.name


class World:
    """All that runs."""

    def __init__(self, plan: Plan, broker: Broker, vhost: str) -> None:
        self.plan = plan
        self.broker = broker
        self.coordinators: list[Party] = []
        self.workers: list[Party] = []
        self.shim = Link("http")
        self.recorder = Recorder(plan.folder / "history", "faults")
        self.triggers = plan.folder / "triggers"
        self._hands = hands_beside(self.history)
        self.busy: set[str] = set()
        self.whole = asyncio.Lock()
        """Held while the broker is struck, and while a queue is deleted: RabbitMQ 3.10.8 loses for good a queue that is
        made anew while one of its nodes is away."""
        self.vhost = vhost
        self._numbers = 0

    @property
    def history(self) -> Path:
        """The folder of the history."""
        return self.plan.folder / "history"

    @property
    def http_url(self) -> str:
        """Where the coordinators' HTTP side is found, whichever of them live."""
        return f"http://{HOST}:{self.shim.ports[0]}"

    @property
    def urls(self) -> list[str]:
        """The broker's URLs for parties that have no network of their own."""
        return self.amqp_urls(self.broker.amqp)

    @property
    def management_url(self) -> str:
        """The management API for the run itself."""
        return self._url("http", self.broker.management[0])

    def amqp_urls(self, addresses: Sequence[Address]) -> list[str]:
        """These addresses as URLs of the run's virtual host."""
        return [f"{self._url('amqp', address)}/{quote(self.vhost, safe='')}" for address in addresses]

    def _url(self, scheme: str, address: Address) -> str:
        user, password = self.broker.login
        return f"{scheme}://{user}:{password}@{address[0]}:{address[1]}"

    async def start_coordinators(self) -> None:
        """Start all coordinators, and wait until each is ready."""
        self.triggers.mkdir(parents=True, exist_ok=True)
        for number in range(self.plan.coordinators):
            self.coordinators.append(await self._coordinator(number))
        await self.shim.listen(self._live_shims)
        for one in self.coordinators:
            await one.child.start()
        await asyncio.gather(*(self.wait_ready(one) for one in self.coordinators))

    async def start_workers(self) -> None:
        """Start all workers, and wait until each has begun its history."""
        for config in worker_configs(self.plan, self.history):
            self.workers.append(await self._worker(config))
        for one in self.workers:
            await one.child.start()
        async with asyncio.timeout(READY):
            while not all(any(self.history.glob(f"{file_name(one.name)}.*")) for one in self.workers):
                await asyncio.sleep(LOOK)

    async def wait_ready(self, one: Party) -> None:
        """Wait until a coordinator can do its work.

        Raises:
            TimeoutError: it cannot for a long time.
        """
        async with asyncio.timeout(READY), httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"http://{HOST}:{one.port}/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(LOOK)

    @contextlib.asynccontextmanager
    async def struck(self, name: str, target: str, detail: str = "") -> AsyncIterator[None]:
        """Note a fault for as long as the block lasts."""
        self._numbers += 1
        number = self._numbers
        self.recorder.write(Fault(number=number, name=name, target=target, phase="begun", detail=detail))
        try:
            yield
        finally:
            self.recorder.write(Fault(number=number, name=name, target=target, phase="ended", detail=detail))

    @contextlib.asynccontextmanager
    async def one_of(self, parties: Sequence[Party], rng: random.Random) -> AsyncIterator[Party]:
        """Choose a party that no other fault has, for as long as the block lasts.

        A worker that holds work, mostly: others prove little. But what one with a spool holds can hardly be seen.
        """
        patience = 0.0 if rng.random() < ANYONE else IN_HAND_PATIENCE
        until = time.monotonic() + patience
        while True:
            free = [one for one in parties if one.name not in self.busy and one.child.is_up]
            worth = [one for one in free if one not in self.workers or in_hand(self._hands, one.name)]
            if worth or (free and time.monotonic() > until):
                break
            await asyncio.sleep(LOOK)
        chosen = rng.choice(free if not patience else worth or free)
        self.busy.add(chosen.name)
        try:
            yield chosen
        finally:
            self.busy.discard(chosen.name)

    async def work_in_hand(self) -> None:
        """Wait until some worker holds work, for a while at most: nobody may be able to work now."""
        until = time.monotonic() + IN_HAND_PATIENCE
        while time.monotonic() < until and not any(in_hand(self._hands, one.name) for one in self.workers):
            await asyncio.sleep(LOOK)

    async def heal(self) -> None:
        """Make all networks good."""
        await asyncio.gather(*(one.link.heal() for one in (*self.coordinators, *self.workers)))
        if self.triggers.exists():
            for trigger in self.triggers.iterdir():
                trigger.unlink()

    async def stop(self) -> None:
        """End all children and networks."""
        await asyncio.gather(*(one.child.stop() for one in self.workers))
        await asyncio.gather(*(one.child.stop() for one in self.coordinators))
        for one in (*self.workers, *self.coordinators):
            await one.link.close()
        await self.shim.close()

    async def _coordinator(self, number: int) -> Party:
        name = f"coordinator-{number}"
        link = Link(name)
        ports = [await link.listen(_fixed(address)) for address in self.broker.amqp]
        management = await link.listen(lambda: self.broker.management)
        port = free_port()
        environment = {
            "COORDINATOR_AMQP_URL": ",".join(self.amqp_urls([(HOST, one) for one in ports])),
            "COORDINATOR_MANAGEMENT_URL": self._url("http", (HOST, management)),
            "COORDINATOR_WORKER_AMQP_URL": ",".join(self.urls),
            "COORDINATOR_HTTP_PORT": str(port),
            "COORDINATOR_HOME": str(self.plan.folder / name),
            "COORDINATOR_ACK_TIMEOUT": str(self.plan.limits.ack_timeout),
            "COORDINATOR_ATTEMPT_LIMIT": str(self.plan.limits.attempt_limit),
            "COORDINATOR_LAST_OFFER_PATIENCE": "10",
            # Full within the first minutes, so that memory that grows later is not the kept events.
            "COORDINATOR_HISTORY": "5000",
            "CHAOS_NAME": name,
            "CHAOS_HISTORY": str(self.history),
            "CHAOS_TRIGGERS": str(self.triggers),
            "CHAOS_PLANT": self.plan.plant,
        }
        arguments = ["-m", "tests.chaos.coordinator", "serve"]
        child = Child(name, arguments, environment, self._log(name), self.recorder, pause=1.0)
        return Party(child, link, port)

    async def _worker(self, config: Config) -> Party:
        link = Link(config.id)
        ports = [await link.listen(_fixed(address)) for address in self.broker.amqp]
        shim = await link.listen(self._live_shims)
        config = config.model_copy(
            update={
                "amqp_urls": tuple(self.amqp_urls([(HOST, one) for one in ports])),
                "http_url": f"http://{HOST}:{shim}",
            }
        )
        module = "tests.chaos.stock" if config.queues else "tests.chaos.worker"
        given = config.model_dump_json().encode()
        return Party(Child(config.id, ["-m", module], {}, self._log(config.id), self.recorder, given), link)

    def _live_shims(self) -> list[Address]:
        """The HTTP sides in an order that lets each client stay where it is for as long as that lives."""
        return [(HOST, one.port) for one in self.coordinators if one.child.is_up]

    def _log(self, name: str) -> Path:
        folder = self.plan.folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


def worker_configs(plan: Plan, history: Path) -> list[Config]:
    """The workers of a run: the reference worker over AMQP and HTTP, and stock clients."""

    def config(name: str, **given: object) -> Config:
        told = {"id": name, "history": history, "seconds": plan.seconds, "rejects": plan.rejects, **given}
        return Config.model_validate(told)

    def queues(*tags: str) -> tuple[str, ...]:
        """What a stock client with these tags consumes: a queue that is not there would end its connection."""
        routed = {policy.get("routeTo") for seed in plan.seeds for policy in seed.spec.get("policies", ())}
        return ("work", *(f"work.{tag}" for tag in tags if tag in routed))

    spool = plan.folder / "spool"
    all_kinds = [
        config("amqp-0", tags=("a", "doomed", "mortal")),
        config("http-0", transport="http", tags=("a", "mortal")),
        config("stock-0", queues=queues("a", "mortal")),
        config("stock-1", queues=queues("doomed")),
        config("amqp-1", tags=("a",), spool=spool),
        config("http-1", transport="http", tags=("doomed",)),
        config("amqp-2", tags=("mortal",)),
        config("stock-2", queues=queues("mortal")),
    ]
    return [
        all_kinds[number % len(all_kinds)].model_copy(
            update={}
            if number < len(all_kinds)
            else {"id": f"{all_kinds[number % len(all_kinds)].id}x{number}", "spool": None}
        )
        for number in range(plan.workers)
    ]


@contextlib.asynccontextmanager
async def own_world(plan: Plan, broker: Broker, vhost: str) -> AsyncIterator[World]:
    """A world with a virtual host of its own; its folder is emptied first."""
    shutil.rmtree(plan.folder, ignore_errors=True)
    world = World(plan, broker, vhost)
    management = Management(world.management_url, vhost)
    try:
        await management.make_vhost(broker.login[0])
        yield world
    finally:
        await world.heal()
        await world.stop()
        await management.close()


def _fixed(address: Address) -> Callable[[], list[Address]]:
    return lambda: [address]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])

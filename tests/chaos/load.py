"""The load: which seeds there are, producers that fill them, managers that release, resume and purge at random."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from coordinator.client import Manager, Producer, Reply
from coordinator.errors import BrokerUnavailableError, CoordinatorError, NoReplyError
from coordinator.models import Item
from tests.chaos.handler import POISON
from tests.chaos.history import Command, Outcome, Produced, Recorder, Seed

API = "/aspire_api/manager"
TIMEOUT = 20.0
AGAIN = 0.3
COMMANDS_TAKE = 30.0
"""Seconds within which a command is answered, if its queue has a leader."""


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """A seed of the load.

    Attributes:
        id: the seed's.
        spec: its policies, as `PUT /seed/{id}` takes them.
        share: how often a producer chooses it, against the others.
        commands: what managers do to it.
        bound: seconds that it may wait for a turn while others have theirs.
        may_lose: kinds of fault that truly lose what they strike of it.
    """

    id: str
    spec: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    commands: tuple[str, ...] = ("release.seed",)
    bound: float = 20.0
    may_lose: tuple[str, ...] = ()


SMALL = {"batchSize": 20}
SEEDS = (
    SeedPlan("AAABcID5GBc=", SMALL, share=3),
    SeedPlan("plain", SMALL, share=3),
    SeedPlan("low/prio", {**SMALL, "priority": "low"}),
    SeedPlan("high+prio", {**SMALL, "priority": "high"}, share=2),
    SeedPlan("untouched", SMALL, commands=()),
    SeedPlan("throttled", {**SMALL, "policies": [{"type": "throttle", "period": "second", "value": 100}]}, share=0.5),
    SeedPlan("tagged", {**SMALL, "policies": [{"type": "route", "routeTo": "a"}]}, share=2),
    SeedPlan("purged", SMALL, share=0.5, commands=("purge.seed", "release.seed")),
    SeedPlan("größe", {"batchSize": 7}),
    SeedPlan(
        "doomed",
        {**SMALL, "policies": [{"type": "route", "routeTo": "doomed"}]},
        share=1.5,
        commands=(),
        may_lose=("queue-deleted",),
    ),
    SeedPlan(
        POISON,
        {"batchSize": 1, "policies": [{"type": "route", "routeTo": "mortal"}]},
        share=0.0,
        commands=(),
        bound=60.0,
    ),
)


class Paths:
    """The HTTP routes of a coordinator, called by a party."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url + API, timeout=TIMEOUT, trust_env=False)

    async def set_up(self, plan: SeedPlan) -> None:
        """Give a seed its policies.

        Raises:
            httpx.HTTPError: it was not done.
        """
        (await self.http.put(f"/seed/{quote(plan.id, safe='')}", json=plan.spec)).raise_for_status()

    async def add(self, seed: str, items: list[Item]) -> Outcome:
        """Add items; all are there when `confirmed`, none when `refused`."""
        try:
            answer = await self.http.post(f"/seed/{quote(seed, safe='')}/items", json=items)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return "refused"
        except httpx.HTTPError:
            return "unknown"
        if answer.status_code == 202:
            return "confirmed"
        told = answer.json()
        is_untouched = not told.get("accepted") and not told.get("unconfirmed")
        return "refused" if answer.status_code == 503 and is_untouched else "unknown"

    async def command(self, name: str, target: str) -> tuple[int, dict[str, Any]]:
        """Carry a command out; its status and its result, status 0 when it is not known whether it was."""
        verb, _, noun = name.partition(".")
        method, path = "POST", f"/{verb}/{noun}/{quote(target, safe='')}"
        if verb == "purge":
            method, path = "DELETE", f"/seed/{quote(target, safe='')}"
        try:
            answer = await self.http.request(method, path)
            told = answer.json()
        except (httpx.HTTPError, ValueError):
            return 0, {}
        if answer.status_code >= 500:
            return 0, {}
        results = told.get("results") or [told]
        return answer.status_code, results[0]


def new_items(prefix: str, numbers: itertools.count[int], count: int, rng: random.Random) -> list[Item]:
    """So many items that nobody has used before; a few of them lead to more."""
    return [
        {"id": f"{prefix}{next(numbers)}", "action": "scan" if rng.random() < 0.01 else "process"} for _ in range(count)
    ]


class Producers:
    """Producers over AMQP and HTTP that together send so many items a second."""

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str],
        http_url: str,
        rate: float,
        seeds: Sequence[SeedPlan],
        rng: random.Random,
    ) -> None:
        self.sent = 0
        self._seeds = seeds
        self._folder = folder
        self._urls = urls
        self._paths = Paths(http_url)
        self._rate = rate
        self._rng = rng
        self._begun = time.monotonic()

    async def run(self, most: int) -> None:
        """Send until cancelled, or until so many items are sent."""
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(self._by_amqp(f"producer-amqp-{number}", most))
            group.create_task(self._by_http("producer-http", most))

    async def _by_amqp(self, name: str, most: int) -> None:
        recorder, numbers = Recorder(self._folder, name), itertools.count()
        while self.sent < most:
            with contextlib.suppress(CoordinatorError):
                async with Producer(self._urls, name) as producer:
                    while self.sent < most:
                        await self._page(recorder, numbers, "amqp", lambda seed, items: _by(producer, seed, items))
            await asyncio.sleep(AGAIN)

    async def _by_http(self, name: str, most: int) -> None:
        recorder, numbers = Recorder(self._folder, name), itertools.count()
        while self.sent < most:
            if await self._page(recorder, numbers, "http", self._paths.add) != "confirmed":
                await asyncio.sleep(AGAIN)

    async def _page(
        self,
        recorder: Recorder,
        numbers: itertools.count[int],
        via: str,
        send: Callable[[str, list[Item]], Awaitable[Outcome]],
    ) -> Outcome:
        """Send one page when it is its time."""
        plan = self._rng.choices(self._seeds, [one.share for one in self._seeds])[0]
        items = new_items(f"{recorder.party}.", numbers, self._rng.choice((1, 7, 20, 60, 100)), self._rng)
        self.sent += len(items)
        await asyncio.sleep(max(0.0, self._begun + self.sent / self._rate - time.monotonic()))
        begun = time.monotonic()
        outcome: Outcome = "unknown"
        try:
            outcome = await send(plan.id, items)
        finally:
            ids = tuple(item["id"] for item in items)
            recorder.write(Produced(seed=plan.id, items=ids, begun=begun, outcome=outcome, via=via))
        if outcome == "unknown" and via == "amqp":
            raise BrokerUnavailableError("begin anew")
        return outcome


async def _by(producer: Producer, seed: str, items: list[Item]) -> Outcome:
    try:
        await producer.submit(seed, items)
    except CoordinatorError:
        return "unknown"
    return "confirmed"


class Managers:
    """Managers that give commands over AMQP and HTTP, and write down what they are told."""

    def __init__(self, folder: Path, urls: Sequence[str], http_url: str, seeds: Sequence[SeedPlan]) -> None:
        self._seeds = seeds
        self.recorder = Recorder(folder, "managers")
        self._urls = urls
        self._paths = Paths(http_url)

    async def command(self, name: str, target: str, via: str) -> Command:
        """Give one command; returns what was written down, also of one that is cut short: it may be carried out."""
        begun = time.monotonic()
        try:
            status, result = await (self._paths.command if via == "http" else self._by_amqp)(name, target)
        except asyncio.CancelledError:
            self.recorder.write(Command(name=name, target=target, begun=begun, status=0, via=via))
            raise
        numbers = {key: value for key, value in result.items() if isinstance(value, int) and key != "status"}
        event = Command(name=name, target=target, begun=begun, status=status, numbers=numbers, via=via)
        self.recorder.write(event)
        return event

    async def play(self, workers: Sequence[str], rng: random.Random, pause: float, rest: float) -> None:
        """Release, resume and purge at random until cancelled."""
        plans = [plan for plan in self._seeds if plan.commands]
        while True:
            await asyncio.sleep(rng.uniform(0, 2 * pause))
            via = rng.choice(("amqp", "http"))
            if workers and rng.random() < 0.15:
                await self.command("release.worker", rng.choice(workers), via)
                continue
            plan = rng.choice(plans)
            name = rng.choice(plan.commands)
            answer = await self.command(name, plan.id, via)
            if name == "release.seed":
                await asyncio.sleep(rng.uniform(0, rest))
                await (self.resume if answer.status else self.resume_in_order)(plan.id, rng)
            else:
                await self.set_up(plan)

    async def resume(self, seed: str, rng: random.Random) -> None:
        """Resume a seed, again and again until somebody says that it is done, or that it is not known.

        By one way and by the other: the queue of commands may have no leader.
        """
        for via in itertools.cycle(rng.sample(("amqp", "http"), 2)):
            if (await self.command("resume.seed", seed, via)).status in {200, 404}:
                return
            await asyncio.sleep(AGAIN)

    async def resume_in_order(self, seed: str, rng: random.Random) -> None:
        """Resume a seed behind commands that nobody answered: they may be carried out late, but not after this.

        If their queue does not answer for long, by either way.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMANDS_TAKE):
                while (await self.command("resume.seed", seed, "amqp")).status not in {200, 404}:
                    await asyncio.sleep(AGAIN)
                return
        await self.resume(seed, rng)

    async def set_up(self, plan: SeedPlan) -> None:
        """Give a seed its policies, however long that takes."""
        while True:
            try:
                await self._paths.set_up(plan)
            except httpx.HTTPError:
                await asyncio.sleep(AGAIN)
            else:
                return

    async def set_all_up(self) -> None:
        """Have all seeds."""
        for plan in self._seeds:
            await self.set_up(plan)
            self.recorder.write(Seed(seed=plan.id, bound=plan.bound, may_lose=plan.may_lose))

    async def _by_amqp(self, name: str, target: str) -> tuple[int, dict[str, Any]]:
        try:
            async with Manager(self._urls, "chaos-manager", timeout=TIMEOUT) as manager:
                reply = await _send(manager, name, target)
        except (NoReplyError, CoordinatorError):
            return 0, {}
        if reply.status >= 500:
            return 0, {}
        return reply.status, reply.results[0] if reply.results else {}


async def _send(manager: Manager, name: str, target: str) -> Reply:
    acts = {
        "release.worker": manager.release_workers,
        "release.seed": manager.release_seeds,
        "resume.seed": manager.resume_seeds,
        "purge.seed": manager.purge_seeds,
    }
    return await acts[name]([target])

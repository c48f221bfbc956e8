"""The demo's stages. Each does something to the running crawl, and fails if that has no effect."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from coordinator.client.manager import Manager, Reply
from coordinator.client.producer import Producer
from coordinator.demo.crew import PATIENCE, Crew, DemoFailedError, Handling, Results, insist, until
from coordinator.models import Item, Priority, SeedSpec
from coordinator.node.coordinator import Coordinator

SHOWN = 5
RELEASES = 10

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage works with. Its methods repeat a call that fails because the broker is away."""

    node: Coordinator
    crew: Crew
    results: Results
    urls: list[str]
    seed: str
    report: Report

    @property
    def done(self) -> int:
        """Items of the crawl that are done."""
        return len(self.results.of(self.seed))

    async def command(self, order: Callable[[Manager], Awaitable[Reply]]) -> Reply:
        """Send a command, again if no answer came. To repeat a command is harmless."""

        async def once() -> Reply:
            async with Manager(self.urls) as manager:
                return await order(manager)

        return await insist(once, "a command is answered")

    async def submit(self, seed: str, items: list[Item]) -> None:
        """Add items, again if the broker went away before it confirmed them. Then they are done twice."""

        async def once() -> None:
            async with Producer(self.urls) as producer:
                await producer.submit(seed, items)

        await insist(once, "items are taken")

    async def available(self) -> tuple[int, int]:
        """The available items of the crawl, and all items that no worker has acked."""

        async def once() -> tuple[int, int]:
            counts = (await self.node.session.seed_stats.of([self.seed]))[self.seed]
            return counts.available, counts.available + counts.queued + counts.sent

        return await insist(once, "the coordinator counts")


async def kill_a_worker(stage: Stage, victim: str) -> None:
    """Kill a worker that holds unacked batches, and release it. Another must get them, with a higher attempt."""

    def holds() -> bool:
        heard = stage.node.session.heartbeats.heard(victim)
        return heard is not None and any(one.seed == stage.seed for one in heard.presence.held)

    await until(holds, f"{victim} reports that it holds batches", PATIENCE)
    # Stopped first, so that it cannot finish between this check and the kill.
    stage.crew.stop_time(victim)
    before = len(stage.results.handled)
    await stage.crew.kill(victim)
    reply = await stage.command(lambda manager: manager.release_workers([victim]))
    if reply.status != 200:  # noqa: PLR2004 - the contract's "done"
        raise DemoFailedError(f"the release of {victim} answered {reply.status}: {reply.message}")

    def retried() -> list[Handling]:
        later = stage.results.handled[before:]
        return [one for one in later if one.seed == stage.seed and one.attempt > 1 and one.worker != victim]

    await until(retried, f"a batch of {victim} is with another worker", PATIENCE)
    stage.report(f"killed {victim} (SIGKILL) while it held batches, and released it: status {reply.status}")
    for one in retried()[:SHOWN]:
        stage.report(f"  batch {one.batch[:12]}…  {victim} → {one.worker}  attempt {one.attempt}")


async def take_a_fair_turn(stage: Stage, items: list[Item], priority: Priority) -> None:
    """Submit a small seed after the large one. It must finish long before the large one."""
    small = "a small seed"
    await insist(lambda: stage.node.session.catalog.set(small, SeedSpec(priority=priority)), "a priority is set")
    begun, at = stage.done, time.monotonic()
    await stage.submit(small, items)
    await until(lambda: len(stage.results.of(small)) >= len(items), "the small seed is finished", PATIENCE)
    between = stage.done - begun
    _, left = await stage.available()
    if not left:
        raise DemoFailedError("the large seed finished before the small one: this proves nothing")
    took = time.monotonic() - at
    stage.report(
        f"a small seed of {len(items)} items, submitted after the crawl, was finished after {took:.1f} s "
        f"and {between} items of the crawl"
    )


async def serve_a_tag(stage: Stage, items: list[Item], tag: str, worker: str) -> None:
    """Route a seed to a tag. Only the worker with the tag may get its batches."""
    tagged = "a tagged seed"
    spec = SeedSpec.model_validate({"policies": [{"type": "route", "routeTo": tag}]})
    await insist(lambda: stage.node.session.catalog.set(tagged, spec), "a route is set")
    await stage.submit(tagged, items)
    await until(lambda: len(stage.results.of(tagged)) >= len(items), f"the worker tagged {tag} has finished", PATIENCE)
    served = {one.worker for one in stage.results.handled if one.seed == tagged}
    if served != {worker}:
        raise DemoFailedError(f"batches for the tag {tag} went to {sorted(served)}, not to {worker} alone")
    stage.report(f"{len(items)} items routed to the tag {tag!r} were done by {worker} alone")


async def release_and_resume(stage: Stage) -> None:
    """Release the seed while it has queued and sent batches, check that no more items are handed out, and resume it.

    The workers may empty the work queue between the check and the release. Then the seed is resumed, and tried again.
    """
    for _ in range(RELEASES):
        await until(lambda: all(_queued_and_sent(stage)), "the seed has queued and sent batches", PATIENCE)
        at = time.monotonic()
        reply = await stage.command(lambda manager: manager.release_seeds([stage.seed]))
        took = (time.monotonic() - at) * 1000
        outcome = reply.results[0]
        if outcome["returned"] and outcome["held"]:
            break
        await stage.command(lambda manager: manager.resume_seeds([stage.seed]))
    else:
        raise DemoFailedError(f"the release of the seed took nothing back in {RELEASES} tries: {outcome}")
    stage.report(
        f"released the seed: {outcome['returned']} items taken out of {len(outcome['batches'])} unsent batches, "
        f"{outcome['held']} with workers, epoch {outcome['epoch']}, in {took:.0f} ms"
    )
    for batch in outcome["batches"][:SHOWN]:
        stage.report(f"  batch {batch[:12]}…  back to available")
    await _see_it_rest(stage)
    reply = await stage.command(lambda manager: manager.resume_seeds([stage.seed]))
    before = stage.done
    await until(lambda: stage.done > before, "the crawl goes on", PATIENCE)
    stage.report(f"resumed the seed: status {reply.status}; the crawl goes on")


def _queued_and_sent(stage: Stage) -> tuple[int, int]:
    return stage.node.session.publisher.ledger.counts().get(stage.seed, (0, 0))


async def _see_it_rest(stage: Stage) -> None:
    """Wait until the workers have given back their batches. Then nothing more may happen to the seed."""
    quiet_since, seen = time.monotonic(), stage.done

    def rests() -> bool:
        nonlocal quiet_since, seen
        if stage.done != seen:
            quiet_since, seen = time.monotonic(), stage.done
        return time.monotonic() - quiet_since > 1.0

    await until(rests, "the workers have given back what they had not begun", PATIENCE)
    available, _ = await stage.available()
    if not available:
        raise DemoFailedError("a released seed has nothing available: it was finished already")
    stage.report(f"  at rest: {seen} items done, about {available} available, none handed out for a second")

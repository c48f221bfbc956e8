"""Violations to plant in a coordinator, one for each promise, so that the checker can be seen to catch it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordinator.broker.types import Message
from coordinator.domain.registry import State
from coordinator.domain.retry_policy import Verdict
from coordinator.node.dispatch.planner import Planner
from coordinator.node.failures import returns
from coordinator.node.releases.commands import Commands
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import OnOutcome, Publisher
from coordinator.node.work_queues.queue_channels import OnEnd, QueueChannels
from tests.chaos.patching import wrap

EVERY = 15
KEPT_BACK = 3.0
"""Seconds: more than a delivery may be on its way to a worker."""
STARVED = "untouched"

Act = Callable[..., Any]


def lose(publish: Act) -> Act:
    """Say that a batch was published that was not, now and then."""
    count = itertools.count(1)

    def planted(self: QueueChannels, queue: str, message: Message, on_end: OnEnd) -> Any:
        if next(count) % EVERY:
            return publish(self, queue, message, on_end)
        asyncio.get_running_loop().call_soon(on_end, None)
        return True

    return planted


def send_late(publish: Act) -> Act:
    """Keep a batch back, now and then, and publish it after a while, whatever was released meanwhile."""
    count = itertools.count(1)

    def planted(self: QueueChannels, queue: str, message: Message, on_end: OnEnd) -> Any:
        if next(count) % EVERY:
            return publish(self, queue, message, on_end)
        loop = asyncio.get_running_loop()
        loop.call_soon(on_end, None)
        loop.call_later(KEPT_BACK, publish, self, queue, message, lambda _: None)
        return True

    return planted


def send_twice(start: Act) -> Act:
    """Publish a batch twice, now and then, as if each were the first."""
    count = itertools.count(1)

    def planted(self: Publisher, batch: Any, on_outcome: OnOutcome, **told: Any) -> Any:
        if next(count) % EVERY == 0:
            start(self, batch, lambda *_: None, **{**told, "planned": None})
        return start(self, batch, on_outcome, **told)

    return planted


def drop_marks(start: Act) -> Act:
    """Send what comes again without saying so."""

    def planted(*args: Any, redelivered: bool = False, **told: Any) -> Any:  # noqa: ARG001
        return start(*args, redelivered=False, **told)

    return planted


def raise_attempts(put: Act) -> Act:
    """Count a sweep as a failure."""

    async def planted(self: SeedQueues, batch: Any, **told: Any) -> None:
        await put(self, batch.again("planted"), **told)

    return planted


def bury_early(judge: Act) -> Act:
    """Give a batch up when it fails for the first time."""

    def planted(batch: Any, *, failed: bool, **told: Any) -> Any:
        return Verdict.DEAD if failed else judge(batch, failed=failed, **told)

    return planted


def starve(cost: Act) -> Act:
    """Never give one seed its turn."""

    def planted(self: Planner, ident: str, *args: Any) -> Any:
        return 0 if ident == STARVED else cost(self, ident, *args)

    return planted


def misstate_purges(purge: Act) -> Act:
    """Say that a purge discarded nothing."""

    async def planted(self: Commands, ident: str) -> dict[str, object]:
        return {**await purge(self, ident), "purged": 0}

    return planted


def resume_by_itself(apply: Act) -> Act:
    """Dispatch a released seed's items at once, under its new epoch."""

    def planted(self: State, event: Any) -> None:
        apply(self, event)
        if event.type == "seed.released" and event.seed in self.seeds:
            self.seeds[event.seed] = replace(self.seeds[event.seed], state="running")

    return planted


PLANTS: dict[str, Callable[[], None]] = {
    "lose": lambda: wrap(QueueChannels, "try_publish", lose),
    "stale": lambda: wrap(QueueChannels, "try_publish", send_late),
    "twice": lambda: wrap(Publisher, "start", send_twice),
    "unmarked": lambda: wrap(Publisher, "start", drop_marks),
    "attempts": lambda: wrap(SeedQueues, "put_batch", raise_attempts),
    "bury": lambda: wrap(returns, "judge", bury_early),
    "starve": lambda: wrap(Planner, "_cost", starve),
    "purge": lambda: wrap(Commands, "_purge_seed", misstate_purges),
    "resume": lambda: wrap(State, "_apply", resume_by_itself),
}

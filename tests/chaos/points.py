"""Points at which a coordinator is killed: chosen moments at which an item is in two places, or in none.

A point is armed by a file; the first process to pass it takes the file away and kills itself there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.domain.registry_events import Event, Snapshot
from coordinator.node import registry
from coordinator.node.dispatch import dispatcher
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.dispatch.seed_consumer import SeedConsumer
from coordinator.node.failures.returns import Returns
from coordinator.node.registry import Registry
from coordinator.node.releases.sweep import Sweeper
from tests.chaos.handler import die
from tests.chaos.history import Recorder
from tests.chaos.patching import followed_by, wrap

POINTS = ("confirm-ack", "mid-sweep", "mid-return", "mid-handover", "mid-snapshot")
CLOCK = "clock"
CLOCK_READ_EVERY = 0.2
SNAPSHOT_EVERY = 40
"""Events between snapshots: far fewer than usual, so that there are some to die in."""

Act = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Triggers:
    """The folder of triggers, as one coordinator sees it."""

    folder: Path
    recorder: Recorder
    name: str

    def passing(self, point: str) -> None:
        """Die, if the point is armed and no other was first."""
        trigger = self.folder / point
        if not trigger.exists():
            return
        try:
            trigger.unlink()
        except FileNotFoundError:
            return
        die(self.recorder, f"kill-{point}", self.name)


def arm(triggers: Triggers) -> None:
    """Have this process watch its points, and its clock be offset."""
    # A batch is confirmed, and the pages that it was made of are not yet acked.
    wrap(dispatcher, "settle", lambda act: _preceded_by(lambda: triggers.passing("confirm-ack"), act))
    # A batch is back in its seed's queue, and not yet acked in the work queue.
    wrap(Sweeper, "_count_stale", lambda act: _preceded_by(lambda: triggers.passing("mid-sweep"), act))
    # A batch that came back is sent on, and not yet acked in `returns`.
    wrap(Returns, "_settle", followed_by(lambda: triggers.passing("mid-return")))
    # An owner has cancelled its consumer, and holds pages that the next one may not have yet.
    wrap(OwnedSeeds, "let_go", lambda act: _dying_when_handed_over(triggers, act))
    # A snapshot is made and not yet confirmed.
    vars(registry)["SNAPSHOT_EVERY"] = SNAPSHOT_EVERY
    wrap(Registry, "_publish", lambda act: _dying_in_snapshots(triggers, act))
    _offset_clock(triggers.folder / CLOCK)


def _preceded_by(before: Callable[[], None], act: Callable[..., None]) -> Callable[..., None]:
    def both(*args: object) -> None:
        before()
        act(*args)

    return both


def _dying_when_handed_over(triggers: Triggers, close: Act) -> Act:
    async def close_or_die(self: OwnedSeeds, consumer: SeedConsumer) -> None:
        seed = self.registry.state.seeds.get(consumer.id)
        if seed is not None and seed.state == "running":
            wrap(consumer, "close", followed_by(lambda: triggers.passing("mid-handover")))
        await close(self, consumer)

    return close_or_die


def _dying_in_snapshots(triggers: Triggers, publish: Act) -> Act:
    async def publish_or_die(self: Registry, event: Event) -> None:
        if isinstance(event, Snapshot):
            triggers.passing("mid-snapshot")
        await publish(self, event)

    return publish_or_die


def _offset_clock(path: Path) -> None:
    """Let `time.time` jump, as a clock does that is set; the file is read now and again."""
    true_time, offset, read_at = time.time, 0.0, -1.0

    def stepped_time() -> float:
        nonlocal offset, read_at
        now = time.monotonic()
        if now - read_at > CLOCK_READ_EVERY:
            read_at = now
            offset = _read_number(path)
        return true_time() + offset

    time.time = stepped_time


def _read_number(path: Path) -> float:
    try:
        return float(path.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0.0

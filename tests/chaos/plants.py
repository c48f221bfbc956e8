"""Violations to plant in a coordinator, one for each promise, so that the checker can be seen to catch it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordinator.domain.returns import Verdict
from coordinator.models import Batch
from coordinator.node import dispatcher as dispatching
from coordinator.node import returns as returning
from coordinator.node.available import Available
from coordinator.node.commands import Commands
from coordinator.node.dispatcher import Dispatcher
from coordinator.node.sweep import Sweeper, Swept
from coordinator.node.work import Work

EVERY = 40
STARVED = "untouched"


def lose() -> None:
    """Ack pages whose batch was never sent, now and then."""
    send, count = Dispatcher._send, itertools.count(1)

    async def planted(self: Dispatcher, parcel: Any) -> None:
        if next(count) % EVERY:
            await send(self, parcel)
        else:
            await dispatching.settle(parcel.pieces)

    Dispatcher._send = planted  # type: ignore[method-assign]


def hand_out_stale() -> None:
    """Answer a release without having swept the work queues."""

    async def planted(_: Sweeper, __: str) -> Swept:
        return Swept()

    Sweeper.sweep = planted  # type: ignore[method-assign]


def send_twice() -> None:
    """Send a batch twice, now and then, as if each were the first."""
    send, count = Work.send, itertools.count(1)

    async def planted(self: Work, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> str:
        if next(count) % EVERY == 0:
            await send(self, batch, redelivered=redelivered, alone=alone)
        return await send(self, batch, redelivered=redelivered, alone=alone)

    Work.send = planted  # type: ignore[method-assign]


def drop_marks() -> None:
    """Send what comes again without saying so."""
    send = Work.send

    async def planted(self: Work, batch: Batch, *, redelivered: bool = False, alone: bool = False) -> str:
        return await send(self, batch, redelivered=redelivered and False, alone=alone)

    Work.send = planted  # type: ignore[method-assign]


def raise_attempts() -> None:
    """Count a sweep as a failure."""
    put = Available.put_batch

    async def planted(self: Available, batch: Batch, *, redelivered: bool = False) -> None:
        await put(self, batch.again("planted"), redelivered=redelivered)

    Available.put_batch = planted  # type: ignore[method-assign]


def bury_early() -> None:
    """Give a batch up when it fails for the first time."""
    judge = returning.judge

    def planted(batch: Batch, *, failed: bool, **given: Any) -> Verdict:
        return Verdict.DEAD if failed else judge(batch, failed=failed, **given)

    returning.judge = planted


def starve() -> None:
    """Never give one seed its turn."""
    cost = Dispatcher._cost

    def planted(self: Dispatcher, ident: str, now: float) -> int:
        return 0 if ident == STARVED else cost(self, ident, now)

    Dispatcher._cost = planted  # type: ignore[method-assign]


def misstate_purges() -> None:
    """Say that a purge discarded nothing."""
    purge = Commands._purge_seed

    async def planted(self: Commands, ident: str) -> dict[str, object]:
        return {**await purge(self, ident), "purged": 0}

    Commands._purge_seed = planted  # type: ignore[method-assign]


def resume_by_itself() -> None:
    """Dispatch a released seed's new items under its new epoch."""
    from coordinator.domain.registry import State  # noqa: PLC0415

    apply = State._apply

    def planted(self: State, event: Any) -> None:
        apply(self, event)
        if event.type == "seed.released" and event.seed in self.seeds:
            self.seeds[event.seed] = replace(self.seeds[event.seed], state="running")

    State._apply = planted  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "lose": lose,
    "stale": hand_out_stale,
    "twice": send_twice,
    "unmarked": drop_marks,
    "attempts": raise_attempts,
    "bury": bury_early,
    "starve": starve,
    "purge": misstate_purges,
    "resume": resume_by_itself,
}

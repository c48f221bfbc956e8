"""Points at which a coordinator is killed: chosen moments at which an item is in two places, or in none.

A point is armed by a file; the first process to pass it takes the file away and kills itself there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coordinator.domain.packing import Piece
from coordinator.domain.registry import Event, Snapshot
from coordinator.node import dispatcher, registry
from coordinator.node.dispatcher import Dispatcher
from coordinator.node.lines import Line
from coordinator.node.registry import Registry
from coordinator.node.returns import Returns
from coordinator.node.sweep import Sweeper
from tests.chaos.handler import die
from tests.chaos.history import Recorder

POINTS = ("confirm-ack", "mid-sweep", "mid-return", "mid-handover", "mid-snapshot")
CLOCK = "clock"
CLOCK_READ_EVERY = 0.2
SNAPSHOT_EVERY = 40
"""Events between snapshots: far fewer than usual, so that there are some to die in."""

T = TypeVar("T")


@dataclass(slots=True)
class Triggers:
    """The folder of triggers, as one coordinator sees it."""

    folder: Path
    recorder: Recorder | None
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
        if self.recorder is not None:
            die(self.recorder, f"kill-{point}", self.name)


def arm(folder: Path, recorder: Recorder | None, name: str) -> None:
    """Have this process watch its points, and its clock be offset."""
    triggers = Triggers(folder, recorder, name)
    _between_confirm_and_ack(triggers)
    _within_a_sweep(triggers)
    _within_a_return(triggers)
    _within_a_handover(triggers)
    _within_a_snapshot(triggers)
    _offset_clock(folder / CLOCK)


def _between_confirm_and_ack(triggers: Triggers) -> None:
    settle = dispatcher.settle

    async def settle_or_die(pieces: list[Piece]) -> None:
        triggers.passing("confirm-ack")
        await settle(pieces)

    dispatcher.settle = settle_or_die


def _within_a_sweep(triggers: Triggers) -> None:
    """A batch has been put back into its seed's queue, and is not yet acked in the work queue."""
    Sweeper._take_out = _then(Sweeper._take_out, lambda: triggers.passing("mid-sweep"))  # type: ignore[method-assign]  # noqa: SLF001


def _within_a_return(triggers: Triggers) -> None:
    """A batch that came back has been sent on, and is not yet acked in `returns`."""
    Returns._settle = _then(Returns._settle, lambda: triggers.passing("mid-return"))  # type: ignore[method-assign]  # noqa: SLF001


def _within_a_handover(triggers: Triggers) -> None:
    """The old owner has cancelled its consumer, and holds pages that the next owner may not have yet."""
    end = Dispatcher._close  # noqa: SLF001

    async def end_or_die(self: Dispatcher, line: Line) -> None:
        seed = self._registry.state.seeds.get(line.id)  # noqa: SLF001
        if seed is not None and seed.state == "running":
            line.close = _then(line.close, lambda: triggers.passing("mid-handover"))  # type: ignore[method-assign]
        await end(self, line)

    Dispatcher._close = end_or_die  # type: ignore[method-assign]  # noqa: SLF001


def _within_a_snapshot(triggers: Triggers) -> None:
    """A snapshot is on its way to the broker, and is not yet confirmed."""
    registry.SNAPSHOT_EVERY = SNAPSHOT_EVERY  # type: ignore[misc]
    publish = Registry._publish  # noqa: SLF001

    async def publish_or_die(self: Registry, event: Event) -> None:
        if isinstance(event, Snapshot):
            triggers.passing("mid-snapshot")
        await publish(self, event)

    Registry._publish = publish_or_die  # type: ignore[method-assign]  # noqa: SLF001


def _then(
    act: Callable[..., Coroutine[Any, Any, T]], after: Callable[[], None]
) -> Callable[..., Coroutine[Any, Any, T]]:
    @functools.wraps(act)
    async def both(*args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        result = await act(*args, **kwargs)
        after()
        return result

    return both


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

"""Throttles: at most `value` items in any window of one period, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from coordinator.models import Throttle

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
SLOTS = 1000
"""Into how many slots a window is divided: spending within one slot is counted at its latest moment."""

Spending = tuple[float, int]
"""When (Unix time in seconds), and how many items."""


class Window:
    """What was spent within the last period.

    A token bucket would allow twice the value in a window that spans a full bucket and its refill, so spending is
    remembered item by item, merged within a slot to the slot's latest moment, which errs on the side of waiting.
    """

    def __init__(self, throttle: Throttle) -> None:
        self.value = throttle.value
        self.period = SECONDS[throttle.period]
        self._spent: deque[Spending] = deque()
        self._total = 0

    def spend(self, now: float, items: int) -> None:
        """Record what is dispatched."""
        self._total += items
        _append(self._spent, (now, items), self.period)

    def room(self, now: float) -> int:
        """How many items may go now."""
        while self._spent and self._spent[0][0] <= now - self.period:
            self._total -= self._spent.popleft()[1]
        return max(0, self.value - self._total)

    def wait(self, now: float, items: int) -> float:
        """Seconds until this many items may go, 0 when they may now."""
        missing = items - self.room(now)
        for at, spent in self._spent:
            if missing <= 0:
                break
            missing -= spent
            if missing <= 0:
                return at + self.period - now
        return 0.0


class Meter:
    """All throttles of one seed."""

    def __init__(self, throttles: Iterable[Throttle], spent: Iterable[Spending], now: float) -> None:
        """Take up the throttles where an earlier owner left them.

        Args:
            throttles: the seed's.
            spent: what the registry knows of earlier spending: seconds ago, and items (see `ages`).
            now: seconds of a clock that nobody sets, as in all methods here. Spending under a period of one second is
                not in the registry, so such a window starts as if it had just been used up.
        """
        self._windows = [Window(throttle) for throttle in throttles]
        past = sorted((now - ago, items) for ago, items in spent)
        for window in self._windows:
            for at, items in past:
                window.spend(at, items)
            if not is_recorded(window.period):
                window.spend(now, window.value)

    @property
    def is_recorded(self) -> bool:
        """Whether spending must be written down before it happens, because a window outlives a change of owner."""
        return any(is_recorded(window.period) for window in self._windows)

    def allows(self, now: float, items: int) -> bool:
        """Whether this many items may go now.

        A batch that came back is never split, so one larger than a throttle that was set since goes when its
        window is empty.
        """
        return all(window.room(now) >= min(items, window.value) for window in self._windows)

    def spend(self, now: float, items: int) -> None:
        """Record what is dispatched."""
        for window in self._windows:
            window.spend(now, items)

    def wait(self, now: float, items: int) -> float:
        """Seconds until this many items may go, or as many as ever may."""
        return max((window.wait(now, min(items, window.value)) for window in self._windows), default=0.0)


def ages(spent: Iterable[Spending], now: float) -> list[Spending]:
    """Spending by how many seconds ago it was, at Unix time `now`; what a clock set back puts ahead is of now."""
    return [(max(0.0, now - at), items) for at, items in spent]


def is_recorded(period: float) -> bool:
    """Whether spending in a window of this length (seconds) is kept in the registry."""
    return period > SECONDS["second"]


def keep_spending(spent: tuple[Spending, ...], new: Spending, longest: float) -> tuple[Spending, ...]:
    """Add a spending and forget what no window of up to `longest` seconds can see; merged by slots of that window."""
    kept = [entry for entry in spent if entry[0] > new[0] - longest]
    _append(kept, new, longest)
    return tuple(kept)


def _append(spent: deque[Spending] | list[Spending], new: Spending, period: float) -> None:
    """Add a spending to the last one's slot, or begin a slot.

    Slots stand still: a slot that began at its last spending would grow for as long as a trickle goes on, and all of
    the trickle would count as spent just now. Nor does a clock that is set back make what was spent any older.
    """
    at, items = new
    slot = period / SLOTS
    if spent:
        last, before = spent[-1]
        at = max(at, last)
        if at // slot == last // slot:
            spent.pop()
            items += before
    spent.append((at, items))

"""Track the unconfirmed publishes and the unsettled deliveries of one channel."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from coordinator.errors import BrokerTimeoutError, CoordinatorError, QueueFullError, UnroutableError

Address = tuple[str, str, str]
"""Exchange, routing key and message id; they identify a returned message."""


@dataclass(slots=True)
class _Pending:
    future: asyncio.Future[None]
    since: float
    address: Address | None


class Confirms:
    """The unconfirmed publishes of one channel, numbered from 1 as the broker numbers them."""

    def __init__(self) -> None:
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        self._mandatory: defaultdict[Address, deque[int]] = defaultdict(deque)

    @property
    def is_waited_for(self) -> bool:
        """Whether a publish still waits for its confirm."""
        return next(self._waiting(), None) is not None

    def add(self, address: Address | None, now: float) -> asyncio.Future[None]:
        """Number a publish; the future completes with the broker's confirm.

        Args:
            address: of a mandatory message, which may be returned. Two publishes with the same address are the same
                message in the same place, so it does not matter which of them fails.
            now: the time of the event loop's clock.
        """
        self._number += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = _Pending(future, now, address)
        if address is not None:
            self._mandatory[address].append(self._number)
        return future

    def answered(self, number: int, *, multiple: bool, good: bool) -> None:
        """Handle a confirm or refusal of one publish, or of all up to it."""
        numbers = list(takewhile(lambda one: one <= number, self._pending)) if multiple else [number]
        for one in numbers:
            pending = self._pop(one)
            if pending is None or pending.future.done():
                continue
            if good:
                pending.future.set_result(None)
            else:
                pending.future.set_exception(
                    QueueFullError("the broker refused a message: its queue is full, or has no leader now")
                )

    def returned(self, address: Address) -> None:
        """Fail the publish of a returned message: no queue takes it. Its confirm follows, and is ignored."""
        for number in self._mandatory.get(address, ()):
            future = self._pending[number].future
            if not future.done():
                exchange, key, _ = address
                where = f"the exchange {exchange!r}" if exchange else "the default exchange"
                future.set_exception(UnroutableError(f"{where} has no queue for the routing key {key!r}"))
                return

    def fail(self, error: CoordinatorError) -> None:
        """Fail every publish, because no confirm can come any more."""
        for number in list(self._pending):
            pending = self._pop(number)
            if pending is not None and not pending.future.done():
                pending.future.set_exception(error)

    def overdue(self, before: float) -> bool:
        """Whether a publish has waited since before this moment."""
        return any(pending.since < before for pending in self._waiting())

    def give_up(self, before: float) -> None:
        """Fail the publishes that have waited since before this moment."""
        for pending in self._waiting():
            if pending.since < before:
                pending.future.set_exception(BrokerTimeoutError("the broker did not confirm in time"))

    def be_patient(self, now: float) -> None:
        """Restart the wait of every publish from now."""
        for pending in self._pending.values():
            pending.since = now

    def _waiting(self) -> Iterator[_Pending]:
        return (pending for pending in list(self._pending.values()) if not pending.future.done())

    def _pop(self, number: int) -> _Pending | None:
        pending = self._pending.pop(number, None)
        if pending is not None and pending.address is not None:
            numbers = self._mandatory[pending.address]
            numbers.remove(number)
            if not numbers:
                del self._mandatory[pending.address]
        return pending


class Unsettled:
    """The unsettled deliveries of one channel, and the acks that are not written yet.

    One ack frame covers all deliveries up to a tag, if all of those are settled.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._acked: dict[int, None] = {}

    @property
    def has_acks(self) -> bool:
        """Whether there are acks to write."""
        return bool(self._acked)

    def delivered(self, tag: int) -> None:
        """Add a delivery; tags only increase."""
        self._open[tag] = None

    def settled(self, tag: int, *, ack: bool) -> bool:
        """Mark a delivery as settled. False if it was settled already; the broker must not get a second answer."""
        if tag not in self._open:
            return False
        del self._open[tag]
        if ack:
            self._acked[tag] = None
        return True

    def acks(self) -> list[tuple[int, bool]]:
        """The acks to write: each is a tag, and whether it covers all before it."""
        acked, self._acked = sorted(self._acked), {}
        first = next(iter(self._open), None)
        last = len(acked) if first is None else sum(1 for tag in acked if tag < first)
        together = [(acked[last - 1], last > 1)] if last else []
        return together + [(tag, False) for tag in acked[last:]]

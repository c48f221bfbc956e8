"""Which publishings of a channel the broker has still to confirm, and which deliveries are still to be settled."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from coordinator.errors import BrokerUnavailableError, CoordinatorError, QueueFullError, UnroutableError

Address = tuple[str, str, str]
"""Exchange, routing key and message id: by these a message that comes back is known again."""


@dataclass(slots=True)
class _Pending:
    future: asyncio.Future[None]
    since: float
    address: Address | None


class Confirms:
    """The publishings of one channel, numbered from 1 as the broker numbers them."""

    def __init__(self) -> None:
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        self._mandatory: defaultdict[Address, deque[int]] = defaultdict(deque)

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody waits for an answer."""
        return next(self._waiting(), None) is not None

    def add(self, address: Address | None, now: float) -> asyncio.Future[None]:
        """Number a publishing; the future is done once the broker has answered for it.

        Args:
            address: of one that may come back. Two with the same address are the same message in the same place,
                so it does not matter which of them is told so.
            now: by the event loop's clock.
        """
        self._number += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = _Pending(future, now, address)
        if address is not None:
            self._mandatory[address].append(self._number)
        return future

    def answered(self, number: int, *, multiple: bool, good: bool) -> None:
        """The broker has confirmed or refused a publishing, or all up to it."""
        numbers = list(takewhile(lambda one: one <= number, self._pending)) if multiple else [number]
        for one in numbers:
            pending = self._pop(one)
            if pending is None or pending.future.done():
                continue
            if good:
                pending.future.set_result(None)
            else:
                pending.future.set_exception(
                    QueueFullError("the broker refused a message: its queue is full, or is without a leader now")
                )

    def returned(self, address: Address) -> None:
        """A message came back: no queue takes it. Its confirm will follow, and says nothing more."""
        for number in self._mandatory.get(address, ()):
            future = self._pending[number].future
            if not future.done():
                exchange, key, _ = address
                where = f"the exchange {exchange!r}" if exchange else "the default exchange"
                future.set_exception(UnroutableError(f"no queue takes what {where} is given with the key {key!r}"))
                return

    def fail(self, error: CoordinatorError) -> None:
        """No answer comes any more."""
        for number in list(self._pending):
            pending = self._pop(number)
            if pending is not None and not pending.future.done():
                pending.future.set_exception(error)

    def overdue(self, before: float) -> bool:
        """Whether any answer has been awaited since before this moment."""
        return any(pending.since < before for pending in self._waiting())

    def give_up(self, before: float) -> None:
        """Wait no longer for the answers that have been awaited since before this moment."""
        for pending in self._waiting():
            if pending.since < before:
                pending.future.set_exception(BrokerUnavailableError("the broker did not confirm in time"))

    def be_patient(self, now: float) -> None:
        """Let all that waits wait from now on."""
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
    """The deliveries of one channel that are not settled, and the acks that are still to be written.

    Acks are written together: one for all deliveries up to a tag, as far as all of those are done with.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._acked: dict[int, None] = {}

    @property
    def has_acks(self) -> bool:
        """Whether acks are to be written."""
        return bool(self._acked)

    def delivered(self, tag: int) -> None:
        """A delivery came; tags rise."""
        self._open[tag] = None

    def settled(self, tag: int, *, ack: bool) -> bool:
        """A delivery is done with; False when it was before, and the broker must not hear of it again."""
        if tag not in self._open:
            return False
        del self._open[tag]
        if ack:
            self._acked[tag] = None
        return True

    def acks(self) -> list[tuple[int, bool]]:
        """The acks to be written: each a tag, and whether it stands for all before it."""
        acked, self._acked = sorted(self._acked), {}
        first = next(iter(self._open), None)
        last = len(acked) if first is None else sum(1 for tag in acked if tag < first)
        together = [(acked[last - 1], last > 1)] if last else []
        return together + [(tag, False) for tag in acked[last:]]

"""What a release or a drain would do now, in numbers: each effect is what it concerns, and what becomes of that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from coordinator.models import HeldBatch, Transport

UNREPORTED: Final = 5.0
"""Seconds in which a worker may not have reported a batch yet: workers report every two."""

Effect = tuple[str, str]


def release_seed(
    *,
    available: int,
    queued: int,
    epoch: int,
    held: Sequence[tuple[str | None, HeldBatch]],
    transports: Mapping[str, Transport],
    now: dt.datetime,
) -> Iterator[Effect]:
    """The effects of the release of a seed.

    Args:
        available: items that are available.
        queued: items in batches that no worker has.
        epoch: the seed's epoch.
        held: its batches that are delivered and not acked, each with the worker that reported it, if one did.
        transports: how each worker speaks.
        now: the time; it tells a batch that was just delivered from a batch of a client that does not report.
    """
    yield f"{_items(available)} available:", "no worker gets items of this seed until the seed is resumed."
    if queued:
        yield f"{_items(queued)} in batches that no worker has", "become available again, with no attempt counted."
    kinds: dict[str, list[HeldBatch]] = {kind: [] for kind in _OF_HELD}
    for worker, batch in held:
        kinds[_kind(worker, batch, transports, now)].append(batch)
    yield from ((f"{_batches(batches)} {kind}", _OF_HELD[kind]) for kind, batches in kinds.items() if batches)
    yield f"Epoch {epoch} becomes {epoch + 1}:", "no worker gets a batch of an older epoch again."


_OF_HELD: Final = {
    "held over HTTP": "are taken back. A late ack is refused, so work that was done on them may be done again.",
    "waiting at AMQP workers": "are given back, because no worker has begun them.",
    "in hand at AMQP workers": "are given back after the item in hand is finished.",
    "delivered just now": "are with workers that have not reported yet whether they have begun.",
    "with other AMQP clients": "stay with them: a client that does not report keeps what it holds.",
}
"""What becomes of a seed's held batches, by who holds them and how."""


def _kind(worker: str | None, batch: HeldBatch, transports: Mapping[str, Transport], now: dt.datetime) -> str:
    if worker is None:
        age = (now - dt.datetime.fromisoformat(batch.since)).total_seconds()
        return "delivered just now" if age < UNREPORTED else "with other AMQP clients"
    if transports.get(worker) == "http":
        return "held over HTTP"
    return "in hand at AMQP workers" if batch.begun else "waiting at AMQP workers"


def release_worker(held: Sequence[HeldBatch], transport: Transport) -> Iterator[Effect]:
    """The effects of the release of a worker that holds these batches."""
    begun = [batch for batch in held if batch.begun]
    if held:
        seeds = len({batch.seed for batch in held})
        yield (
            f"{_batches(held)} of {seeds:,} seed{'s' * (seeds != 1)}",
            "go to other workers at once. The attempt of each rises by one.",
        )
    else:
        yield "No known batch:", "what the worker holds without reporting it goes to other workers too."
    if begun:
        yield f"{_batches(begun)} of these", "may be begun. Work that was done on them is done again."
    if transport == "http":
        yield "It speaks HTTP:", "its handles end, so a late ack is refused. Its next fetch is served again."
    else:
        yield (
            "It speaks AMQP:",
            ("its connections are closed and its own broker user is deleted. It comes back when it registers again."),
        )


def drain_worker(held: Sequence[HeldBatch]) -> Iterator[Effect]:
    """The effects of the drain of a worker that holds these batches."""
    yield (_batches(held), "are finished and acked by the worker.") if held else ("It holds nothing:", "it is done.")
    yield "No new batch", "goes to the worker from then on. No work is done twice."


def _items(count: int) -> str:
    return f"{count:,} item{'s' * (count != 1)}"


def _batches(batches: Sequence[HeldBatch]) -> str:
    return f"{len(batches):,} batch{'es' * (len(batches) != 1)} ({_items(sum(one.count for one in batches))})"

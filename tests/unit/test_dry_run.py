"""What a release or a drain would do: by what becomes of each batch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from coordinator.domain.dry_run import Effect, drain_worker, release_seed, release_worker
from coordinator.models import HeldBatch, Transport

NOW = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
SINCE = "2026-01-01T11:00:00Z"
TRANSPORTS: dict[str, Transport] = {"h": "http", "a": "amqp"}


def batch(*, begun: bool | None = None, since: str = SINCE) -> HeldBatch:
    """A batch of ten that is held."""
    return HeldBatch(batch="b", seed="s", count=10, since=since, begun=begun)


def released(available: int, queued: int, held: Sequence[tuple[str | None, HeldBatch]]) -> list[Effect]:
    """The effects of the release of a seed with these items and batches."""
    return list(
        release_seed(available=available, queued=queued, epoch=3, held=held, transports=TRANSPORTS, now=NOW),
    )


def test_the_release_of_a_seed_by_what_becomes_of_each_batch() -> None:
    """Each batch is counted once, and a kind without batches is left out."""
    held: list[tuple[str | None, HeldBatch]] = [
        ("h", batch(begun=True)),
        ("a", batch(begun=True)),
        ("a", batch(begun=False)),
        ("a", batch(begun=False)),
        (None, batch()),
        (None, batch(since="2026-01-01T11:59:58Z")),
    ]
    assert [what for what, _ in released(1000, 200, held)] == [
        "1,000 items available:",
        "200 items in batches that no worker has",
        "1 batch (10 items) held over HTTP",
        "2 batches (20 items) waiting at AMQP workers",
        "1 batch (10 items) in hand at AMQP workers",
        "1 batch (10 items) delivered just now",
        "1 batch (10 items) with other AMQP clients",
        "Epoch 3 becomes 4:",
    ]
    assert [what for what, _ in released(0, 0, [])] == ["0 items available:", "Epoch 3 becomes 4:"]


def test_the_release_of_a_worker() -> None:
    """What it holds, what of it is begun, and what becomes of the worker itself."""
    held, begun, rest = release_worker([batch(begun=True), batch(begun=False)], "amqp")
    assert held == ("2 batches (20 items) of 1 seed", "go to other workers at once. The attempt of each rises by one.")
    assert begun[0] == "1 batch (10 items) of these"
    assert "broker user is deleted" in rest[1]
    nothing, handles = release_worker([], "http")
    assert nothing[0] == "No known batch:"
    assert "a late ack is refused" in handles[1]


def test_the_drain_of_a_worker() -> None:
    """It finishes what it holds, if it holds anything."""
    assert next(drain_worker([batch(begun=True)])) == ("1 batch (10 items)", "are finished and acked by the worker.")
    assert next(drain_worker([])) == ("It holds nothing:", "it is done.")

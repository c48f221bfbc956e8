"""What a release or a drain is said to do: by what becomes of each batch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from coordinator.answers import Counts, Holding, Progress, SeedAnswer, WorkerAnswer
from coordinator.cli.forecast import drain_worker, release_seed, release_worker
from coordinator.models import HeldBatch, Transport

NOW = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
SINCE = "2026-01-01T11:00:00Z"
TRANSPORTS: dict[str, Transport] = {"h": "http", "a": "amqp"}


def seed(*, available: int = 0, queued: int = 0) -> SeedAnswer:
    """A seed."""
    return SeedAnswer(
        id="s",
        state="running",
        epoch=3,
        priority="medium",
        policies=[],
        batch_size=100,
        owner="c",
        counts=Counts(available=available, queued=queued, sent=0, taken=0, exact=True),
        since=SINCE,
        rate=0,
        progress=Progress(drained=False, in_hand=0),
        why=None,
    )


def holding(worker: str | None, *, begun: bool | None = None, since: str = SINCE) -> Holding:
    """A batch of ten that is held."""
    return Holding(worker=worker, batch="b", seed="s", count=10, since=since, begun=begun)


def worker(transport: Transport, begun: Sequence[bool] = ()) -> WorkerAnswer:
    """A worker with a batch of ten for each of `begun`."""
    return WorkerAnswer(
        id="w",
        tags=[],
        transport=transport,
        callback=None,
        registered=True,
        connected=True,
        capacity=4,
        last_seen=SINCE,
        held=[HeldBatch(batch=f"b{at}", seed="s", count=10, since=SINCE, begun=one) for at, one in enumerate(begun)],
        state="live",
    )


def test_the_release_of_a_seed_by_what_becomes_of_each_batch() -> None:
    """Nothing is counted twice, and what nobody holds is not mentioned."""
    held = [
        holding("h", begun=True),
        holding("a", begun=True),
        holding("a", begun=False),
        holding("a", begun=False),
        holding(None),
        holding(None, since="2026-01-01T11:59:58Z"),
    ]
    told = list(release_seed(seed(available=1000, queued=200), held, TRANSPORTS, NOW))
    assert [line.partition(":")[0] for line in told] == [
        "1,000 items available",
        "200 items in unsent batches",
        "1 batch (10 items) held over HTTP",
        "2 batches (20 items) waiting at AMQP workers",
        "1 batch (10 items) in hand at AMQP workers",
        "1 batch (10 items) handed out just now",
        "1 batch (10 items) with other AMQP clients",
        "epoch 3 becomes 4",
    ]
    assert [line.partition(":")[0] for line in release_seed(seed(), [], {}, NOW)] == [
        "0 items available",
        "epoch 3 becomes 4",
    ]


def test_the_release_of_a_worker() -> None:
    """What it holds, what of it is begun, and what becomes of the worker itself."""
    held, begun, rest = release_worker(worker("amqp", [True, False]))
    assert held.startswith("2 batches (20 items): to other workers at once")
    assert begun.startswith("1 batch (10 items) of these may be begun")
    assert "broker user is deleted" in rest
    nothing, handles = release_worker(worker("http"))
    assert nothing.startswith("it holds nothing that is known")
    assert "a late ack is refused" in handles


def test_the_drain_of_a_worker() -> None:
    """It finishes what it holds, if it holds anything."""
    assert next(drain_worker(worker("amqp", [True]))) == "1 batch (10 items): finished and acked by it"
    assert next(drain_worker(worker("amqp"))) == "it holds nothing: done at once"

"""Publishing a batch ends in one outcome, and a batch that is not published goes back to its seed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator.domain.counters import Counters
from coordinator.domain.ledger import Ledger
from coordinator.errors import BrokerUnavailableError, CoordinatorError, QueueFullError, QueueSilentError
from coordinator.models import Batch
from coordinator.node.work_queues.in_flight import InFlight
from coordinator.node.work_queues.outcome import Outcome
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.work_queues.queue_channels import OnEnd

BATCH = Batch(
    id="b", seed="s", epoch=1, attempt=1, tags=(), created="2026-01-01T00:00:00.000Z", count=2, items=b"[1,2]"
)


@dataclass
class Parts:
    """A publisher whose work queue ends each publication with `error`; `stale` is what the registry says."""

    error: CoordinatorError | None = None
    stale: bool = False
    seeds: frozenset[str] = frozenset({"s"})
    put: list[tuple[str, bool]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    in_flight: InFlight = field(default_factory=InFlight)

    @property
    def publisher(self) -> Publisher:
        """The publisher, with everything that would reach the broker replaced."""
        counters = Counters()

        async def put_batch(batch: Batch, *, redelivered: bool) -> None:
            self.put.append((batch.id, redelivered))

        def try_publish(_queue: str, _message: object, on_end: OnEnd) -> bool:
            asyncio.get_running_loop().call_soon(on_end, self.error)
            return True

        state = SimpleNamespace(is_stale=lambda *_: self.stale, seeds=self.seeds)
        parts: dict[str, Any] = {
            "registry": SimpleNamespace(state=state),
            "seed_queues": SimpleNamespace(put_batch=put_batch),
            "channels": SimpleNamespace(try_publish=try_publish),
            "depth": SimpleNamespace(published=lambda _: None, refused=self.refused.append),
            "peer_loads": SimpleNamespace(published=lambda _: 0.0),
            "rpc": None,
            "events": SimpleNamespace(batch=lambda *_: None),
        }
        return Publisher(in_flight=self.in_flight, ledger=Ledger(counters), counters=counters, **parts)


async def test_a_published_batch_is_accounted_for_and_no_longer_in_flight() -> None:
    """The publication that the caller gets is the one in the ledger."""
    parts = Parts()
    publisher = parts.publisher
    publishing = await publisher.publish_or_put_back(BATCH)
    assert publishing.outcome is Outcome.PUBLISHED
    assert publisher.ledger.is_out(publishing.publication)
    assert (publisher.counters.published, publisher.counters.published_items) == (1, 2)
    assert not parts.put
    assert not parts.in_flight


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QueueFullError("full"), Outcome.FULL),
        (QueueSilentError("silent"), Outcome.SILENT),
        (None, Outcome.STALE),
    ],
)
async def test_a_batch_that_is_not_published_goes_back(error: CoordinatorError | None, outcome: Outcome) -> None:
    """Marked where it was marked before, or where it may have arrived."""
    parts = Parts(error, stale=outcome is Outcome.STALE)
    publisher = parts.publisher
    assert (await publisher.publish_or_put_back(BATCH)).outcome is outcome
    await publisher.publish_or_put_back(BATCH, redelivered=True)
    assert parts.put == [("b", outcome is Outcome.SILENT), ("b", True)]
    assert bool(parts.refused) == (outcome is Outcome.FULL)
    assert publisher.ledger.is_empty
    assert not parts.in_flight


async def test_a_stale_batch_of_a_purged_seed_is_discarded() -> None:
    """Its seed has no queue any more."""
    parts = Parts(stale=True, seeds=frozenset())
    assert (await parts.publisher.publish_or_put_back(BATCH)).outcome is Outcome.STALE
    assert not parts.put


async def test_a_lost_connection_is_raised() -> None:
    """Nothing is put back: the broker redelivers what was not acked."""
    parts = Parts(BrokerUnavailableError("gone"))
    with pytest.raises(BrokerUnavailableError):
        await parts.publisher.publish_or_put_back(BATCH)
    assert not parts.put
    assert not parts.in_flight


async def test_the_outcome_of_a_planned_batch_comes_in_the_step_in_which_it_ends() -> None:
    """Else a seed could be let go after the batch has ended and before its pages are back in the buffer."""
    parts, came = Parts(QueueFullError("full")), asyncio.Event()
    planned = parts.in_flight.begin("s", "work", object())

    def on_outcome(outcome: Outcome, _: CoordinatorError | None) -> None:
        assert outcome is Outcome.FULL
        assert not parts.in_flight
        came.set()

    assert parts.publisher.start(BATCH, on_outcome, planned=planned) is planned
    assert parts.in_flight.in_queue("work") == 1
    await asyncio.wait_for(came.wait(), 5)

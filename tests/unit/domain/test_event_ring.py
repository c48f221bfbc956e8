"""What happened is kept in order, within bounds, found again, and told once."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.domain.event_ring import KINDS, Entry, EventRing, Happened, Key, Past, Wanted, entry_of
from coordinator.domain.registry import WORKER_MEMORY, State
from coordinator.domain.registry_events import (
    Event,
    Marker,
    SeedCreated,
    SeedPurged,
    SeedReleased,
    SeedResumed,
    SeedSet,
    WorkerDrained,
    WorkerDraining,
    WorkerRegistered,
    WorkerReleased,
    WorkerRemoved,
    WorkerSeen,
)
from coordinator.errors import InvalidInputError
from coordinator.models import SeedSpec, WorkerSpec

AT = 1_767_225_600.25


def ring_of(count: int, limit: int = 100) -> EventRing:
    """A ring to which so many entries were added, a second apart, of two seeds by turns."""
    ring = EventRing("r1", limit)
    for number in range(count):
        ring.add(Entry(AT + number, "batch.sent", "ab"[number % 2], batch=f"b{number}", by="c1"))
    return ring


def found_in(
    ring: EventRing, wanted: Wanted | None = None, after: Key | None = None, limit: int = 100
) -> list[Happened]:
    """What is found in a ring."""
    found, total = ring.find(wanted or Wanted(), after, limit)
    assert len(found) == min(total, limit)
    return found


def test_a_ring_keeps_the_last() -> None:
    """Older entries go, but the numbers of the others stay."""
    ring = ring_of(10, limit=4)
    assert [one.entry.batch for one in found_in(ring)] == ["b6", "b7", "b8", "b9"]
    assert [one.key.number for one in ring.since(8)] == [8, 9]
    assert len(ring.since(0)) == 4
    assert ring.since(10) == ring.since(11) == []
    assert found_in(EventRing("none", 0)) == []


def test_what_the_registry_tells_has_the_same_place_at_each_coordinator() -> None:
    """Also where one has replayed it from a later head; events of the same moment are told apart."""
    entries = [Entry(AT + number // 2, "seed.created", "ab"[number % 2]) for number in range(6)]
    whole, cut = Past(100), Past(100)
    for entry in entries:
        whole.add(entry)
    for entry in entries[3:]:
        cut.add(entry)
    ids = [str(one.key) for one in found_in(whole)]
    assert [str(one.key) for one in found_in(cut)] == ids[3:]
    assert len(set(ids)) == 6


def test_what_comes_after_a_place() -> None:
    """The id of an event is its place; what follows on it does so without a gap."""
    found = found_in(ring_of(6))
    after = Key.parse(found[2].view()["id"])
    assert found_in(ring_of(6), after=after) == found[3:]
    assert found_in(ring_of(6), after=after, limit=2) == found[3:5]
    assert found_in(ring_of(6), limit=2) == found[4:]
    assert ring_of(6).find(Wanted(seed="a"), after, 1) == ([found[4]], 1)
    assert [str(Key.parse(str(one.key))) for one in found] == [str(one.key) for one in found]


@pytest.mark.parametrize("text", ["", "x", "1-2", "1-r-2-3", "g-r-1", "1-r-g"])
def test_what_is_no_id(text: str) -> None:
    """It is named."""
    with pytest.raises(InvalidInputError, match="after"):
        Key.parse(text)


def test_an_event_tells_what_applies() -> None:
    """What does not is left out."""
    [told] = [one.view() for one in found_in(ring_of(1))]
    assert told == {
        "id": told["id"],
        "at": "2026-01-01T00:00:00.250Z",
        "kind": "batch.sent",
        "seed": "a",
        "batch": "b0",
        "coordinator": "c1",
    }


def test_what_is_wanted() -> None:
    """By seed, worker, batch and kinds, all of which must hold; a group stands for its kinds."""
    entry = Entry(AT, "batch.held", "s", "w", "b")
    assert Wanted.of("", None, None, "").takes(entry)
    assert Wanted.of("s", "w", "b", "batch").takes(entry)
    assert Wanted.of(None, None, None, "seed,batch.held").takes(entry)
    for other in (Wanted("t"), Wanted(worker="x"), Wanted(batch="c"), Wanted.of(None, None, None, "seed")):
        assert not other.takes(entry)
    with pytest.raises(InvalidInputError, match="kind"):
        Wanted.of(None, None, None, "batch,bath")


def said(*events: Event) -> list[str | None]:
    """The kinds that these events of the registry tell, one after another."""
    state, kinds = State(), []
    for offset, event in enumerate(events):
        entry = entry_of(event, state)
        kinds.append(entry.kind if entry else None)
        state.fold(offset, event)
    assert {kind for kind in kinds if kind} <= set(KINDS)
    return kinds


def test_what_the_registry_tells_of_seeds() -> None:
    """Each change once: what changes nothing is nothing."""
    one: dict[str, Any] = {"id": "e", "at": AT, "by": "c1", "seed": "s"}
    released, created = SeedReleased(**one), SeedCreated(**one)
    changed = SeedSet(**one, spec=SeedSpec())
    resumed, purged = SeedResumed(**one), SeedPurged(**one)
    assert said(released, created, created, changed, released, resumed, purged, purged, changed) == [
        None,
        "seed.created",
        None,
        "seed.changed",
        "seed.released",
        "seed.resumed",
        "seed.purged",
        None,
        "seed.created",
    ]
    assert entry_of(created, State()) == Entry(AT, "seed.created", "s", by="c1")
    assert entry_of(Marker(id="e", at=AT), State()) is None


def test_what_the_registry_tells_of_workers() -> None:
    """That one is seen is told the first time, after a week of silence, and when it is back; so is what was done."""
    one: dict[str, Any] = {"id": "e", "at": AT, "worker": "w"}
    seen = WorkerSeen(**one)
    late = seen.model_copy(update={"at": AT + WORKER_MEMORY + 1})
    assert said(seen, seen, seen.model_copy(update={"back": True}), late) == [
        "worker.seen",
        None,
        "worker.seen",
        "worker.seen",
    ]
    assert said(
        WorkerRegistered(**one, spec=WorkerSpec()),
        WorkerReleased(**one),
        WorkerReleased(**one, fenced=True),
        WorkerDraining(**one),
        WorkerDrained(**one),
        WorkerRemoved(**one),
    ) == [
        "worker.registered",
        "worker.released",
        "worker.fenced",
        "worker.draining",
        "worker.drained",
        "worker.removed",
    ]

"""Rings of what happened, the places of events, filters, and what the registry's entries tell."""

from __future__ import annotations

import pytest

from coordinator.domain.entries import SeedCreated, SeedReleased, SeedSet, WorkerReleased, WorkerSeen
from coordinator.domain.history import Entry, Happened, Key, Ring, Wanted, entry_of
from coordinator.domain.registry import State
from coordinator.errors import InvalidInputError
from coordinator.models import SeedSpec

ALL = Wanted()


def filled(count: int, limit: int = 100) -> Ring:
    """A ring to which so many entries of batches were added, one a second."""
    ring = Ring("one", limit)
    for number in range(count):
        ring.add(Entry(float(number), "batch.sent", seed=f"s{number % 2}", batch=str(number), by="one"))
    return ring


def batches(found: list[Happened]) -> list[str | None]:
    """The batches that events tell of."""
    return [one.entry.batch for one in found]


def test_a_ring_keeps_the_last() -> None:
    """Older entries give way, and the numbers of the others stay as they were."""
    ring = filled(5, limit=3)
    found = ring.find(ALL)
    assert batches(found) == ["2", "3", "4"]
    assert [one.key.number for one in found] == [2, 3, 4]
    assert batches(ring.since(4)) == ["4"]
    assert batches(ring.since(0)) == ["2", "3", "4"]
    assert ring.since(5) == []


def test_a_ring_of_no_length() -> None:
    """It keeps nothing, and breaks nothing."""
    ring = filled(3, limit=0)
    assert (ring.find(ALL), ring.since(0), ring.added) == ([], [], 3)


def test_what_came_after() -> None:
    """Only what stands behind the event with this id."""
    ring = filled(4)
    second = ring.find(ALL)[1]
    assert batches(ring.find(ALL, Key.parse(str(second.key)))) == ["2", "3"]


def test_an_id_is_read_back() -> None:
    """Places sort by time, whoever noted them."""
    early, late = Key(255, "two", 9), Key(256, "one", 0)
    assert str(early) == "ff-two-9"
    assert Key.parse(str(early)) == early
    assert early < late


@pytest.mark.parametrize("text", ["", "x", "1-2", "1-a-b-2", "g-one-1"])
def test_what_is_no_id(text: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidInputError, match="after"):
        Key.parse(text)


def test_filters() -> None:
    """All that are given must fit; a group stands for its kinds."""
    ring = filled(4)
    ring.add(Entry(9.0, "seed.released", seed="s1"))
    assert batches(ring.find(Wanted.of("s1", None, None, "batch"))) == ["1", "3"]
    assert batches(ring.find(Wanted.of("s1", None, "3", None))) == ["3"]
    assert len(ring.find(Wanted.of(None, None, None, "batch.sent,seed"))) == 5
    assert ring.find(Wanted.of(None, "w", None, None)) == []
    with pytest.raises(InvalidInputError, match="kind"):
        Wanted.of(None, None, None, "batch.lost")


def test_the_view_leaves_out_what_does_not_apply() -> None:
    """No empty fields; the time as RFC 3339."""
    [one] = filled(1).find(ALL)
    assert one.view() == {
        "id": "0-one-0",
        "at": "1970-01-01T00:00:00.000Z",
        "kind": "batch.sent",
        "seed": "s0",
        "batch": "0",
        "coordinator": "one",
    }


def test_what_the_registry_tells() -> None:
    """What changes nothing is no event: a seed made twice, a sign of life of a worker that is known."""
    state = State()
    created = SeedCreated(id="a", at=1.0, seed="s")
    assert entry_of(created, state) == Entry(1.0, "seed.created", "s")
    state.fold(0, created)
    assert entry_of(created, state) is None
    changed = entry_of(SeedSet(id="b", at=2.0, seed="s", spec=SeedSpec()), state)
    assert changed is not None
    assert changed.kind == "seed.changed"
    released = entry_of(SeedReleased(id="c", at=3.0, seed="s"), state)
    assert released is not None
    assert (released.kind, released.reason) == ("seed.released", "epoch 2")
    assert entry_of(SeedReleased(id="c", at=3.0, seed="other"), state) is None
    seen = WorkerSeen(id="d", at=4.0, worker="w")
    assert entry_of(seen, state) == Entry(4.0, "worker.seen", worker="w")
    state.fold(1, seen)
    assert entry_of(seen, state) is None
    fenced = entry_of(WorkerReleased(id="e", at=5.0, worker="w", fenced=True), state)
    assert fenced is not None
    assert fenced.kind == "worker.fenced"

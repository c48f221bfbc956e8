"""The registry: whatever of its stream is read, and however often, the state is the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.registry import FORGOTTEN_SEEDS, WORKER_MEMORY, Seed, State, Worker
from coordinator.domain.registry_events import (
    EVENT,
    Event,
    Marker,
    SeedCreated,
    SeedPurged,
    SeedReleased,
    SeedResumed,
    SeedSet,
    SeedsSpent,
    Snapshot,
    WorkerRegistered,
    WorkerRemoved,
    WorkerSeen,
)
from coordinator.models import Route, SeedSpec, Throttle, WorkerSpec

NOW = 1_700_000_000.0
DAY = 86_400.0
POLICIES = [
    *(Route(type="route", route_to=tag) for tag in "xy"),
    Throttle(type="throttle", period="second", value=3),
    Throttle(type="throttle", period="minute", value=5),
    Throttle(type="throttle", period="day", value=9),
]
SPECS = st.lists(st.sampled_from(POLICIES), max_size=2).map(lambda policies: SeedSpec(policies=tuple(policies)))
IDS = st.sampled_from("ab")
WORKERS = st.sampled_from("vw")
E: dict[str, st.SearchStrategy[Any]] = {"id": st.just("e"), "at": st.just(0.0)}
EVENTS: st.SearchStrategy[Event] = st.one_of(
    *(st.builds(kind, **E, seed=IDS) for kind in (SeedCreated, SeedReleased, SeedResumed, SeedPurged)),
    st.builds(SeedSet, **E, seed=IDS, spec=SPECS),
    st.builds(SeedsSpent, **E, items=st.dictionaries(IDS, st.integers(1, 9), min_size=1)),
    st.builds(WorkerSeen, **E, worker=WORKERS, tags=st.sampled_from([(), ("x",)])),
    st.builds(
        WorkerRegistered,
        **E,
        worker=WORKERS,
        spec=st.sampled_from([WorkerSpec(), WorkerSpec(tags=("y",))]),
        user=st.sampled_from([None, "user"]),
        address=st.sampled_from([None, "127.0.0.1"]),
    ),
    st.builds(WorkerRemoved, **E, worker=WORKERS),
    st.builds(Marker, **E),
)
GAPS = st.sampled_from([0.0, 1.0, 60.0, DAY, 4 * DAY])


def in_time(steps: list[tuple[float, Event]]) -> list[Event]:
    """The events, each the given gap later than the one before."""
    times = accumulate((gap for gap, _ in steps), initial=NOW)
    return [event.model_copy(update={"at": at}) for at, (_, event) in zip(times, steps, strict=False)]


HISTORIES = st.lists(st.tuples(GAPS, EVENTS), max_size=25).map(in_time)


def fold(history: list[Event], start: int = 0, state: State | None = None) -> State:
    """The state after these events, the first of which has the offset `start`."""
    state = state or State()
    for offset, event in enumerate(history, start):
        state.fold(offset, event)
    return state


def stored(event: Event) -> Event:
    """The event as it comes back from the stream."""
    return EVENT.validate_json(EVENT.dump_json(event))


def content(state: State, now: float) -> object:
    """All that a state says at a time."""
    workers = [state.worker(ident, now) for ident in sorted(state.workers)]
    return state.seeds, [one for one in workers if one], state.tag_sets, list(state.forgotten.items()), state.offset


def happened(*happenings: Event) -> State:
    """The state after these events."""
    return fold(list(happenings))


def created(seed: str = "s") -> Event:
    """A seed came into being."""
    return SeedCreated(id="e", at=NOW, seed=seed)


def released(seed: str = "s") -> Event:
    """A seed was released."""
    return SeedReleased(id="e", at=NOW, seed=seed)


def purged(seed: str = "s") -> Event:
    """A seed was purged."""
    return SeedPurged(id="e", at=NOW, seed=seed)


def limited(seed: str = "s") -> Event:
    """A seed got a throttle."""
    spec = SeedSpec(policies=(Throttle(type="throttle", period="minute", value=5),))
    return SeedSet(id="e", at=NOW, seed=seed, spec=spec)


def spent(at: float, items: int) -> Event:
    """So many items of the seed `s` went at this time."""
    return SeedsSpent(id="e", at=at, items={"s": items})


@given(HISTORIES, st.data())
def test_folding_twice_changes_nothing(history: list[Event], data: st.DataObject) -> None:
    """Events that come again, from anywhere on, are known and change nothing."""
    state = fold(history)
    before = content(state, NOW)
    start = data.draw(st.integers(0, len(history)))
    assert not any(state.fold(offset, event) for offset, event in enumerate(history[start:], start))
    assert content(state, NOW) == before


@given(HISTORIES)
def test_events_survive_the_stream(history: list[Event]) -> None:
    """An event is the same after it was written and read."""
    assert [stored(event) for event in history] == history


@given(HISTORIES, st.data())
def test_a_replay_from_a_snapshot_is_the_full_replay(history: list[Event], data: st.DataObject) -> None:
    """Whoever starts in the middle knows the same, also of what lies between a snapshot and what it covers."""
    upto = data.draw(st.integers(-1, len(history) - 1))
    place = data.draw(st.integers(upto + 1, len(history)))
    start = data.draw(st.integers(0, upto + 1))
    at = history[upto].at if upto >= 0 else NOW
    stream = [*history[:place], stored(fold(history[: upto + 1]).snapshot("e", at)), *history[place:]]
    whole = fold(stream)
    part = fold(stream[start:], start)
    assert part.is_complete
    now = stream[-1].at
    assert content(part, now) == content(whole, now)


@given(HISTORIES, st.data())
def test_a_snapshot_changes_nothing_for_who_knows_all(history: list[Event], data: st.DataObject) -> None:
    """A state that is complete takes nothing from a snapshot, whatever that holds."""
    place = data.draw(st.integers(0, len(history)))
    other = State().snapshot("e", NOW)
    state = fold([*history[:place], other, *history[place:]])
    expected = fold(history)
    expected.offset += 1
    assert content(state, NOW) == content(expected, NOW)


def test_a_stream_without_head_or_snapshot_is_not_complete() -> None:
    """Nothing is known before offset 0 or a snapshot has come."""
    assert not State().is_complete
    state = fold([created(), released()], start=5)
    assert not state.is_complete
    assert state.seeds == {}
    assert happened(created()).is_complete


def test_a_snapshot_that_misses_what_was_cut_off_does_not_do() -> None:
    """Events between a snapshot and the first that is there are lost: only a later snapshot makes it whole."""
    old = Snapshot(id="e", at=NOW, upto=3, seeds=(), workers=(), tag_sets=(), forgotten={})
    assert not fold([created(), old], start=5).is_complete
    assert not fold([old], start=5).is_complete, "offset 4 was cut off"
    assert fold([old], start=4).is_complete
    assert fold([created(), old], start=4).seeds == {"s": Seed("s", since=NOW)}


def test_what_came_before_a_useless_snapshot_still_counts() -> None:
    """Events that an unusable snapshot does not cover are kept for one that is usable."""
    useless = Snapshot(id="e", at=NOW, upto=3, seeds=(), workers=(), tag_sets=(), forgotten={})
    usable = useless.model_copy(update={"upto": 4})
    state = fold([created(), useless, usable], start=5)
    assert state.is_complete
    assert state.seeds == {"s": Seed("s", since=NOW)}
    assert not fold([useless, useless.model_copy(update={"upto": 2})], start=5).is_complete


def test_events_since_the_last_snapshot_are_counted() -> None:
    """The count tells when the next snapshot is due; that of another coordinator counts as well."""
    state = happened(created(), released(), created("other"))
    assert state.since_snapshot == 3
    state.fold(3, state.snapshot("e", NOW))
    assert state.since_snapshot == 0


def test_a_release_raises_the_epoch() -> None:
    """Each release makes all batches before it stale; a resume lets the seed run under the new epoch."""
    state = happened(created())
    assert not state.is_stale("s", 1)
    state.fold(1, released())
    assert (state.seeds["s"].state, state.seeds["s"].epoch) == ("released", 2)
    assert state.is_stale("s", 1)
    assert state.is_stale("s", 2), "nothing of a released seed is handed out"
    state.fold(2, SeedResumed(id="e", at=NOW, seed="s"))
    assert state.seeds["s"] == Seed("s", epoch=2, since=NOW)
    assert state.is_stale("s", 1)
    assert not state.is_stale("s", 2)
    state.fold(3, released())
    state.fold(4, released())
    assert state.seeds["s"].epoch == 4


def test_a_purge_remembers_the_epoch() -> None:
    """A purged seed is not known, all its batches are stale, and made anew it continues above its last epoch."""
    state = happened(limited(), released(), purged())
    assert state.seeds == {}
    assert state.is_stale("s", 2)
    state.fold(3, created())
    assert state.seeds == {"s": Seed("s", epoch=3, since=NOW)}
    assert state.is_stale("s", 2)
    assert not state.is_stale("s", 3)
    state.fold(4, purged())
    state.fold(5, limited())
    assert state.seeds["s"].epoch == 4


def test_only_so_many_purged_seeds_are_remembered() -> None:
    """The epochs of the seeds purged longest ago are forgotten first."""
    state = State()
    for number in range(FORGOTTEN_SEEDS + 1):
        state.fold(2 * number, created(str(number)))
        state.fold(2 * number + 1, purged(str(number)))
    assert len(state.forgotten) == FORGOTTEN_SEEDS
    assert "0" not in state.forgotten
    assert str(FORGOTTEN_SEEDS) in state.forgotten


@pytest.mark.parametrize("event", [released(), purged(), SeedResumed(id="e", at=NOW, seed="s"), spent(NOW, 5)])
def test_what_is_said_of_an_unknown_seed_makes_none(event: Event) -> None:
    """Only a creation or a setting brings a seed into being."""
    assert happened(event).seeds == {}
    assert happened(event).forgotten == {}


def test_a_seed_is_created_once() -> None:
    """A second creation, as when two coordinators see a new seed at once, changes nothing."""
    before = happened(limited(), released())
    after = happened(limited(), released(), created())
    assert after.seeds == before.seeds


def test_setting_replaces_all_policies_and_nothing_else() -> None:
    """Policies are replaced whole; state, epoch and what was spent stay."""
    state = happened(limited(), spent(NOW, 3), released(), limited())
    assert state.seeds["s"].spent == ((NOW, 3),)
    assert (state.seeds["s"].state, state.seeds["s"].epoch) == ("released", 2)
    state.fold(4, SeedSet(id="e", at=NOW, seed="s", spec=SeedSpec()))
    assert state.seeds["s"].spec == SeedSpec()
    assert state.seeds["s"].epoch == 2


def test_tag_sets_are_never_forgotten() -> None:
    """A work queue may hold batches with tags that no seed has any more; the untagged one is always known."""
    assert State().tag_sets == {()}
    routed = SeedSpec(policies=(Route(type="route", route_to="b"), Route(type="route", route_to="a")))
    state = happened(SeedSet(id="e", at=NOW, seed="s", spec=routed), purged())
    assert state.tag_sets == {(), ("a", "b")}


def test_spending_is_kept_as_long_as_a_window_sees_it() -> None:
    """What was spent is remembered for the longest throttle, not at all without one or under one of a second."""
    state = happened(limited(), spent(NOW, 3), spent(NOW + 30, 2), spent(NOW + 60, 1))
    assert state.seeds["s"].spent == ((NOW + 30, 2), (NOW + 60, 1))
    assert happened(created(), spent(NOW, 3)).seeds["s"].spent == ()
    brief = SeedSpec(policies=(Throttle(type="throttle", period="second", value=5),))
    assert happened(SeedSet(id="e", at=NOW, seed="s", spec=brief), spent(NOW, 3)).seeds["s"].spent == ()


def test_a_worker_is_known_for_a_week() -> None:
    """Seven days after its last sign of life a worker is not known any more, nor is a later snapshot aware of it."""
    state = happened(WorkerSeen(id="e", at=NOW, worker="w", tags=("x",)))
    assert state.worker("w", NOW + 7 * DAY - 1) == Worker("w", spec=WorkerSpec(tags=("x",)), seen=NOW)
    assert state.worker("w", NOW + 7 * DAY) is None
    assert state.worker("other", NOW) is None
    assert len(state.snapshot("e", NOW + 7 * DAY - 1).workers) == 1
    assert state.snapshot("e", NOW + 7 * DAY).workers == ()
    state.fold(1, WorkerSeen(id="e", at=NOW + DAY, worker="w"))
    assert state.worker("w", NOW + 7 * DAY) is not None


def test_a_worker_that_was_silent_for_a_week_begins_anew() -> None:
    """What it registered with is forgotten then, whether or not a snapshot was written in between."""
    registered = WorkerRegistered(id="e", at=NOW, worker="w", spec=WorkerSpec(tags=("x",)), user="u")
    seen = WorkerSeen(id="e", at=NOW + WORKER_MEMORY, worker="w")
    assert happened(registered, seen).workers == {"w": Worker("w", seen=seen.at)}
    soon = seen.model_copy(update={"at": seen.at - 1})
    assert happened(registered, soon).workers["w"].registered


def test_a_registration_outweighs_signs_of_life() -> None:
    """Presence tells an unregistered worker's tags; a registered one has those that it registered with."""
    state = happened(WorkerSeen(id="e", at=NOW, worker="w", tags=("x",), transport="http"))
    assert state.workers["w"].spec == WorkerSpec(tags=("x",), transport="http")
    state.fold(1, WorkerRegistered(id="e", at=NOW + 1, worker="w", spec=WorkerSpec(tags=("y",)), user="u"))
    state.fold(2, WorkerSeen(id="e", at=NOW + 2, worker="w", tags=("x",)))
    known = Worker("w", spec=WorkerSpec(tags=("y",)), user="u", registered=True, seen=NOW + 2)
    assert state.workers["w"] == known
    state.fold(3, WorkerSeen(id="e", at=NOW, worker="w"))
    assert state.workers["w"] == known, "an older sign of life makes nobody older"


def test_a_removed_worker_is_not_known() -> None:
    """A removal is forgotten with the worker; removing it again does nothing, and a sign of life makes it anew."""
    gone = WorkerRemoved(id="e", at=NOW, worker="w")
    registered = WorkerRegistered(id="e", at=NOW, worker="w", spec=WorkerSpec(tags=("x",)), user="u")
    state = happened(registered, gone, gone)
    assert state.workers == {}
    state.fold(3, WorkerSeen(id="e", at=NOW + 1, worker="w"))
    assert state.workers["w"] == replace(Worker("w"), seen=NOW + 1)

"""Messages of replicas: what is on the wire, and how other versions of it are read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from coordinator.domain.seed_traffic import Traffic
from coordinator.node.replicas import messages, topics
from coordinator.node.replicas.arrays import Array, ObstacleArray, QueueLoad, SeedShare
from coordinator.node.replicas.messages import Content, Envelope, HeldRow, ReplicaHeartbeat

SHARE = [3, 2, 1, 10, True, 1, [4, 40, 2, 20], 5, 1.5, False, [12.5, True]]
HELD = {"batch": "b", "seed": "s", "count": 1, "since": "2026-01-01T00:00:00.000Z", "begun": None, "worker": "w"}

WIRE: list[tuple[Content, dict[str, Any]]] = [
    (
        messages.FindEvents(limit=5),
        {"wanted": dict.fromkeys(("seed", "worker", "batch")) | {"kinds": []}, "after": None, "limit": 5},
    ),
    (messages.FoundEvents(events=({"id": "1-a-1"},), total=7), {"events": [{"id": "1-a-1"}], "total": 7}),
    (messages.EventsSince(since={"a": 1}), {"since": {"a": 1}, "wanted": []}),
    (messages.NewEvents(upto=4), {"events": [], "upto": 4, "left_out": 0}),
    (messages.SeedList(seeds=("s",)), {"seeds": ["s"]}),
    (
        messages.HeldHere(leases=(HeldRow.model_validate(HELD),), called={"w": 1.5}),
        {"leases": [HELD], "sent": [], "called": {"w": 1.5}},
    ),
    (messages.SettleLeases(handles=("a.1",), how="ack"), {"handles": ["a.1"], "how": "ack", "worker": None}),
    (messages.SettledLeases(found=("a.1",)), {"found": ["a.1"]}),
    (messages.StopSeed(seed="s", offset=9), {"seed": "s", "offset": 9}),
    (
        messages.SeedItems(items=3, batches=("b",), traffic=Traffic(1, 2, 3, 4)),
        {"items": 3, "batches": ["b"], "traffic": [1, 2, 3, 4]},
    ),
    (messages.OneSeed(seed="s"), {"seed": "s"}),
    (messages.OnePublication(publication="p"), {"publication": "p"}),
    (messages.WasAlone(alone=True), {"alone": True}),
    (messages.PauseDispatch(seconds=5.0), {"seconds": 5.0}),
    (messages.DispatchState(quiet=True, leaving=False), {"quiet": True, "leaving": False}),
    (messages.DispatchPause(owed=2.0), {"paused": False, "owed": 2.0}),
    (messages.OneWorker(worker="w"), {"worker": "w"}),
    (messages.ReleasedLeases(leases=2), {"leases": 2}),
    (messages.Settled(publication="p", taken=True), {"publication": "p", "taken": True}),
    (messages.Empty(), {}),
]


@pytest.mark.parametrize(("content", "expected"), WIRE, ids=lambda one: type(one).__name__)
def test_names_on_the_wire_stay(content: Content, expected: dict[str, Any]) -> None:
    """Replicas of the version before read and write these names; unknown ones of a later version are ignored."""
    assert orjson.loads(content.model_dump_json()) == expected
    assert type(content).model_validate(expected) == content
    assert type(content).model_validate(expected | {"of a later version": 1}) == content


def test_a_share_of_a_seed_is_an_array_of_eleven_values() -> None:
    """The version before reads exactly so many, in this order."""
    share = SeedShare.model_validate(SHARE)
    assert (share.at_hand, share.taken, share.traffic) == (3, 10, Traffic(4, 40, 2, 20))
    assert share.obstacle == ObstacleArray(throttled_until=12.5, is_full=True)
    assert orjson.loads(share.model_dump_json()) == SHARE
    answer = messages.SeedShares(seeds={"s": share}, callers={"w": 1})
    assert orjson.loads(answer.model_dump_json()) == {"seeds": {"s": SHARE}, "callers": {"w": 1}}
    assert messages.SeedShares.model_validate({"seeds": {"s": SHARE}, "callers": {"w": 1}}) == answer


def test_a_heartbeat_is_read_and_written_as_before() -> None:
    """Load by work queue is an array; what a replica is, an object."""
    description = {"instance": "a", "version": "1", "host": "h", "since": "2026", "seeds": 2, "lag": 0.1}
    body = {"leaving": False, "greeting": True, "work": {"work": [0.5, 2.5, 7, 3, 1]}, "coordinator": description}
    heartbeat = ReplicaHeartbeat.model_validate(body)
    assert heartbeat.work == {"work": QueueLoad(demand=0.5, rate=2.5, published=7, queued=3, sent=1)}
    assert orjson.loads(heartbeat.model_dump_json()) == body


@pytest.mark.parametrize(
    ("model", "array", "expected"),
    [
        (QueueLoad, [0.5, 2.5, 7, 3, 1, "later", {}], QueueLoad(demand=0.5, rate=2.5, published=7, queued=3, sent=1)),
        (QueueLoad, [0.5], QueueLoad(demand=0.5)),
        (SeedShare, [], SeedShare()),
        (SeedShare, [*SHARE, "later"], SeedShare.model_validate(SHARE)),
        (SeedShare, [0, 0, 0, 0, True, 0, [1]], SeedShare(exact=True, traffic=Traffic(1))),
        (SeedShare, [0, 0, 0, 0, True, 0, [1, 2, 3, 4, 5]], SeedShare(exact=True, traffic=Traffic(1, 2, 3, 4))),
    ],
)
def test_an_array_of_another_length_is_read(model: type[Array], array: list[Any], expected: Array) -> None:
    """What comes after the known values is ignored, and missing values are defaults."""
    assert model.model_validate(array) == expected


def test_what_is_missing_promises_least() -> None:
    """A replica that does not say so is not quiet, not exact and not alone."""
    assert messages.DispatchState.model_validate({}) == messages.DispatchState(quiet=False, leaving=True)
    assert not SeedShare.model_validate([]).exact
    assert not messages.WasAlone.model_validate({}).alone
    for topic in vars(topics).values():
        if isinstance(topic, topics.Topic):
            topic.answer.model_validate({})


def test_an_envelope_says_its_version() -> None:
    """A message without a version is of version 0; unknown fields and versions are no reason not to read it."""
    assert Envelope.model_validate({"type": "beat", "sender": "a"}).version == 0
    later = Envelope.model_validate({"type": "wave", "sender": "a", "version": 99, "route": "x"})
    assert (later.type, later.version) == ("wave", 99)

"""What is taken to be acked: noted after a while, not at all if it came back, and later if a worker holds it."""

from __future__ import annotations

from coordinator.domain.ledger import PublishedBatch
from coordinator.domain.presumed_acks import GRACE, PresumedAcks


def sending(batch: str) -> PublishedBatch:
    """A sending of a batch."""
    return PublishedBatch(f"publication of {batch}", batch, "s", 10, 1, 0.0)


def test_what_nobody_contradicts_is_certain_once() -> None:
    """Not before its time, and then with the moment at which it became so."""
    hunches = PresumedAcks()
    hunches.suppose([sending("a")], 100.0)
    hunches.suppose([sending("b")], 101.0)
    assert list(hunches.certain(100.0 + GRACE - 0.1, set)) == []
    assert list(hunches.certain(100.0 + GRACE, set)) == [(100.0 + GRACE, sending("a"))]
    assert list(hunches.certain(200.0, set)) == [(101.0 + GRACE, sending("b"))]
    assert list(hunches.certain(300.0, set)) == []


def test_what_a_worker_holds_is_not_acked() -> None:
    """It is certain only some time after the worker has stopped saying that it holds it."""
    hunches = PresumedAcks()
    hunches.suppose([sending("a"), sending("b")], 100.0)
    assert [one.batch for _, one in hunches.certain(110.0, lambda: {"a"})] == ["b"]
    assert list(hunches.certain(110.0 + GRACE, lambda: {"a"})) == []
    assert list(hunches.certain(110.0 + 2 * GRACE, set)) == [(110.0 + 2 * GRACE, sending("a"))]


def test_what_came_back_was_not_acked() -> None:
    """Nothing is told of it; to drop what is not there is no fault."""
    hunches = PresumedAcks()
    hunches.suppose([sending("a")], 100.0)
    hunches.drop("a")
    hunches.drop("b")
    assert list(hunches.certain(200.0, set)) == []


def test_who_holds_what_is_asked_only_where_it_matters() -> None:
    """To know it costs more than a look at the clock."""
    hunches = PresumedAcks()
    hunches.suppose([sending("a")], 100.0)
    asked: list[int] = []

    def held() -> set[str]:
        asked.append(1)
        return set()

    assert list(hunches.certain(100.0, held)) == []
    assert not asked
    assert len(list(hunches.certain(200.0, held))) == len(asked) == 1

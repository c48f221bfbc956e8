"""The health of queues: unknown, alive, silent or broken, and for how long each is left alone."""

from __future__ import annotations

import pytest

from coordinator.broker.queue_health import (
    FIRST_BREAK,
    FIRST_SILENCE,
    LONGEST_BREAK,
    LONGEST_SILENCE,
    Pauses,
    QueueHealth,
)


@pytest.fixture
def health() -> QueueHealth:
    """The health of queues of which nothing is known."""
    return QueueHealth()


def state(health: QueueHealth, queue: str, now: float) -> str:
    """The state of a queue in one word."""
    if health.is_broken(queue, now):
        return "broken"
    if health.is_silent(queue):
        return "silent"
    return "alive" if health.is_alive(queue) else "unknown"


def test_a_pause_ends() -> None:
    """A pause concerns one queue, and ends by itself."""
    pauses = Pauses()
    assert pauses.begin("work.a", 100.0) == FIRST_BREAK
    assert pauses.left("work.a", 101.0) == FIRST_BREAK - 1.0
    assert pauses.left("work.a", 100.0 + FIRST_BREAK) == 0.0
    assert pauses.left("work.a", 101.0 + FIRST_BREAK) == 0.0
    assert pauses.left("work", 100.0) == 0.0


def test_each_pause_is_twice_as_long() -> None:
    """A pause doubles up to the longest; after a reset it is the first again."""
    pauses = Pauses()
    seconds = [pauses.begin("work", 0.0) for _ in range(8)]
    assert seconds[:3] == [FIRST_BREAK, 2 * FIRST_BREAK, 4 * FIRST_BREAK]
    assert seconds[-1] == LONGEST_BREAK
    pauses.reset("work")
    assert pauses.left("work", 0.0) == LONGEST_BREAK
    assert pauses.begin("work", 0.0) == FIRST_BREAK


def test_a_queue_without_failures_for_long_starts_again() -> None:
    """A failure weeks ago does not lengthen a pause."""
    pauses = Pauses()
    pauses.begin("work", 0.0)
    assert pauses.begin("work", FIRST_BREAK + LONGEST_BREAK - 0.1) == 2 * FIRST_BREAK
    assert pauses.begin("work", FIRST_BREAK + LONGEST_BREAK + 2 * FIRST_BREAK + LONGEST_BREAK + 0.1) == FIRST_BREAK


@pytest.mark.parametrize("sign", [QueueHealth.showed_life, QueueHealth.confirmed])
def test_a_sign_of_life(health: QueueHealth, sign: object) -> None:
    """A queue is unknown until it shows life, and alive from then on."""
    assert state(health, "work", 0.0) == "unknown"
    assert callable(sign)
    sign(health, "work")
    assert state(health, "work", 0.0) == "alive"
    assert state(health, "other", 0.0) == "unknown"


def test_an_answer_is_no_sign_of_life(health: QueueHealth) -> None:
    """The broker says of a queue without a leader that it is empty, and a get finds nothing."""
    health.answered("work", 0.0)
    health.gave_message("work")
    health.can_be_consumed("work")
    assert state(health, "work", 0.0) == "unknown"


def test_a_silent_queue(health: QueueHealth) -> None:
    """It is silent since its first failure, until it answers; it is left alone longer each time."""
    assert health.gave_no_answer("work", 10.0) == FIRST_SILENCE
    assert health.silence_left("work", 10.25) == FIRST_SILENCE - 0.25
    assert health.silence_left("work", 10.0 + FIRST_SILENCE) == 0.0
    assert health.gave_no_answer("work", 12.0) == 2 * FIRST_SILENCE
    assert (state(health, "work", 15.0), health.silent_for("work", 15.0)) == ("silent", 5.0)
    assert not health.is_broken("work", 12.0)
    health.answered("work", 15.0)
    assert (health.is_silent("work"), health.silent_for("work", 16.0)) == (False, 0.0)


def test_only_a_queue_that_can_be_consumed_starts_with_a_short_pause_again(health: QueueHealth) -> None:
    """A queue without a leader answers that it is empty, and fails again when it is consumed."""
    health.gave_no_answer("seed.a", 0.0)
    health.answered("seed.a", 1.0)
    assert health.gave_no_answer("seed.a", 1.0) == 2 * FIRST_SILENCE
    for _ in range(8):
        health.gave_no_answer("seed.a", 1.0)
    assert health.silence_left("seed.a", 1.0) == LONGEST_SILENCE
    health.can_be_consumed("seed.a")
    assert health.gave_no_answer("seed.a", 1.0) == FIRST_SILENCE


def test_silence_does_not_end_trust(health: QueueHealth) -> None:
    """A queue that elects a leader is silent for a moment, and is still the queue that was alive."""
    health.showed_life("work")
    health.gave_no_answer("work", 0.0)
    assert (state(health, "work", 0.0), health.is_alive("work")) == ("silent", True)
    health.answered("work", 1.0)
    assert state(health, "work", 1.0) == "alive"


def test_each_silence_is_new_once(health: QueueHealth) -> None:
    """One line in the log for each silence, not for each question."""
    health.gave_no_answer("work", 0.0)
    assert [health.is_new_silence("work") for _ in range(3)] == [True, False, False]
    health.gave_no_answer("work", 1.0)
    assert not health.is_new_silence("work")
    health.answered("work", 2.0)
    health.gave_no_answer("work", 3.0)
    assert health.is_new_silence("work")


def test_a_broken_queue(health: QueueHealth) -> None:
    """It must not be used for a while, and its depth proves nothing meanwhile."""
    health.confirmed("work")
    assert health.broke("work", 0.0) == FIRST_BREAK
    assert (state(health, "work", 1.0), health.is_alive("work")) == ("broken", False)
    health.answered("work", 1.0)
    assert health.silent_for("work", 2.0) == 2.0
    assert state(health, "work", FIRST_BREAK) == "silent"
    health.answered("work", FIRST_BREAK)
    assert state(health, "work", FIRST_BREAK) == "unknown"
    assert health.broke("work", FIRST_BREAK) == 2 * FIRST_BREAK


@pytest.mark.parametrize("sign", [QueueHealth.gave_message, QueueHealth.confirmed])
def test_a_queue_that_works_starts_with_a_short_break_again(health: QueueHealth, sign: object) -> None:
    """A message that it gives or confirms ends the row of failures."""
    health.broke("work", 0.0)
    assert callable(sign)
    sign(health, "work")
    assert health.broke("work", FIRST_BREAK) == FIRST_BREAK


def test_the_next_session_leaves_broken_queues_alone() -> None:
    """A broken queue may have ended the session; what else was known ends with it."""
    broken = Pauses()
    first = QueueHealth(broken)
    first.broke("work", 0.0)
    first.gave_no_answer("seed.a", 0.0)
    second = QueueHealth(broken)
    assert (second.is_broken("work", 1.0), second.silence_left("seed.a", 0.5)) == (True, 0.0)
    assert second.broke("work", FIRST_BREAK) == 2 * FIRST_BREAK


def test_a_queue_that_was_deleted_must_show_life_again(health: QueueHealth) -> None:
    """The next queue of its name is another one."""
    health.confirmed("work")
    health.went_missing("work")
    assert state(health, "work", 0.0) == "unknown"


def test_queues_that_cannot_be_consumed_are_counted(health: QueueHealth) -> None:
    """Those with the prefix count until they can be consumed; an answer about the depth changes nothing."""
    for queue in ("seed.a", "seed.b", "work"):
        health.cannot_be_consumed(queue)
    health.answered("seed.a", 0.0)
    assert health.count_not_consumable("seed.") == 2
    health.can_be_consumed("seed.a")
    assert health.count_not_consumable("seed.") == 1

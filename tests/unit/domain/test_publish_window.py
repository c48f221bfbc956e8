"""The window of a work queue: room, what it probably holds, and how long it is left alone."""

from __future__ import annotations

from coordinator.domain.publish_window import LEAST, LONGEST_LOOK, LONGEST_REFUSAL, Window


def test_what_is_planned_uses_room_up_and_what_is_fetched_makes_room() -> None:
    """A planned batch uses room up; a fetched one makes room."""
    window = Window(0, 0, 0.0, begun=10)
    assert window.room(begun=10) == LEAST
    assert window.room(begun=13) == LEAST - 3
    window.fetched += 2
    assert (window.room(begun=13), window.likely(begun=13)) == (LEAST - 1, 1)


def test_a_look_begins_the_count_anew_and_measures_what_was_drained() -> None:
    """A look measures what was drained and starts the count again."""
    window = Window(0, 0, 0.0)
    window.saw(waiting=2, consumers=1, begun=6, now=1.0)
    window.allow(5, begun=6)
    assert (window.rate, window.room(begun=6), window.likely(begun=7)) == (4.0, 5, 3)


def test_a_queue_that_refuses_gets_nothing_for_longer_and_longer_until_it_confirms() -> None:
    """Each refusal makes the pause longer, up to a limit; a confirm ends it."""
    window, pauses = Window(0, 0, 0.0), []
    for now in range(6):
        window.allow(1, begun=0)
        window.refused(begun=3, now=float(now))
        assert window.room(begun=3) == 0
        pauses.append(window.pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_REFUSAL
    window.confirmed()
    assert window.refused_for == 0.0


def test_a_silent_queue_has_no_room() -> None:
    """A silent queue gets no batch before the next look, which comes after the longest pause."""
    window = Window(5, 1, 0.0)
    window.went_silent(begun=0, now=3.0)
    assert (window.room(begun=0), window.at, window.pause) == (0, 3.0, LONGEST_LOOK)

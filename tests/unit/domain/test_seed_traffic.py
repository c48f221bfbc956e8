"""How many items wait in a queue of which only the messages are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.seed_traffic import Pages, Traffic

SIZES = st.lists(st.integers(1, 1000), max_size=30)


@given(SIZES, st.integers(0, 30), st.integers(1, 3))
def test_exact_where_coordinators_put_all(sizes: list[int], taken: int, coordinators: int) -> None:
    """Whichever coordinator put or took a page: together they know how many items wait."""
    parts = [Pages() for _ in range(coordinators)]
    for number, size in enumerate(sizes):
        parts[number % coordinators].put("s", size)
    for number, size in enumerate(sizes[:taken]):
        parts[(number + 1) % coordinators].took("s", size)
    left = sizes[taken:]
    assert sum((part.of("s") for part in parts), Traffic()).waiting(len(left)) == (sum(left), True)


def test_what_others_put_is_as_large_as_what_was_read() -> None:
    """Pages that nobody has counted are estimated by those that were read."""
    pages = Pages()
    assert pages.of("s").waiting(5) == (5, False)
    pages.took("s", 40)
    pages.took("s", 60)
    assert pages.of("s").waiting(3) == (150, False)
    pages.put("s", 7)
    assert pages.of("s").waiting(4) == (157, False)


def test_nothing_waits_in_an_empty_queue() -> None:
    """Whatever was noted: where no page is, no item is."""
    pages = Pages()
    pages.put("s", 7)
    assert pages.of("s").waiting(0) == (0, True)


def test_the_broker_may_not_tell_of_a_page_yet() -> None:
    """Where fewer pages are told of than were put and not taken, some are missing; what others put is not known."""
    pages = Pages()
    pages.put("s", 7)
    pages.put("s", 7)
    assert [pages.of("s").misses(told) for told in (0, 1, 2, 3)] == [True, True, False, False]
    for _ in range(3):
        pages.took("s", 7)
    assert not pages.of("s").misses(0)


def test_a_page_that_was_not_published_and_a_seed_forgotten() -> None:
    """Neither leaves a trace."""
    pages = Pages()
    pages.put("s", 7)
    pages.failed("s", 7)
    assert pages.of("s") == Traffic()
    pages.put("s", 7)
    pages.forget("s")
    assert pages.of("s") == Traffic()

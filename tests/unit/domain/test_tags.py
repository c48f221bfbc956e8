"""Who may get what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.tags import eligible

TAGS = st.frozensets(st.sampled_from("abcd"))


@given(TAGS, st.sets(TAGS))
def test_a_worker_may_serve_what_it_has_all_tags_of(worker: frozenset[str], sets: set[frozenset[str]]) -> None:
    """Exactly the sets within the worker's tags, each once, whatever further tags it has."""
    given_sets = [tuple(sorted(tags)) for tags in sets]
    found = eligible(worker, given_sets)
    assert sorted(found) == sorted(tags for tags in given_sets if set(tags) <= worker)


@given(TAGS, st.sets(TAGS))
def test_the_most_demanding_come_first(worker: frozenset[str], sets: set[frozenset[str]]) -> None:
    """Those with more tags come first, and the order does not depend on that of the question."""
    given_sets = [tuple(sorted(tags)) for tags in sets]
    found = eligible(worker, given_sets)
    assert [len(tags) for tags in found] == sorted((len(tags) for tags in found), reverse=True)
    assert eligible(worker, reversed(given_sets)) == found


def test_untagged_batches_go_to_any_worker() -> None:
    """A worker without tags gets untagged batches and no others; one with tags gets those as well, last."""
    sets = [(), ("a",), ("a", "b"), ("b",)]
    assert eligible(frozenset(), sets) == [()]
    assert eligible(frozenset("c"), sets) == [()]
    assert eligible(frozenset("ab"), sets) == [("a", "b"), ("a",), ("b",), ()]

"""Names on the broker: what they are made of can be read from them again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InvalidInputError
from coordinator.topology import (
    EXCHANGES,
    MAX_QUEUE_NAME,
    QUEUES,
    REGISTRY,
    RETURNS,
    UNLIMITED_DELIVERIES,
    seed_queue,
    seed_queue_name,
    tags_of_work_queue,
    work_queue,
    work_queue_name,
)

TAG = st.one_of(
    st.sampled_from(["a", "a+b", "+", "%", "%2B", ".", "a.b", "work.a", "é", " ", "&=/?#", "~_-"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=","), min_size=1, max_size=8),
)


@given(st.frozensets(TAG, max_size=3))
def test_a_work_queues_name_tells_its_tags(tags: frozenset[str]) -> None:
    """Whatever characters tags hold, the queue's name is ASCII, the same for any order, and tells them again."""
    name = work_queue_name(tags)
    assert name.isascii()
    assert name == work_queue_name(tuple(sorted(tags, reverse=True)))
    assert tags_of_work_queue(name) == tuple(sorted(tags))


@given(st.frozensets(TAG, max_size=3), st.frozensets(TAG, max_size=3))
def test_other_tags_other_queue(one: frozenset[str], other: frozenset[str]) -> None:
    """Two sets of tags share a queue only when they are the same."""
    assert (work_queue_name(one) == work_queue_name(other)) is (one == other)


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ((), "work"),
        (("gpu",), "work.gpu"),
        (("b", "a"), "work.a+b"),
        (("a+b",), "work.a%2Bb"),
        (("a%b", "é"), "work.a%25b+%C3%A9"),
    ],
)
def test_names_of_work_queues(tags: tuple[str, ...], name: str) -> None:
    """The names are those that clients without a library are told: sorted, each tag percent-encoded."""
    assert work_queue_name(tags) == name


@pytest.mark.parametrize("tags", [("x" * 64, "y" * 64, "z" * 64, "u" * 56), ("é" * 64,)])
def test_tags_that_make_too_long_a_name(tags: tuple[str, ...]) -> None:
    """Tags whose queue the broker could not declare are refused as input; what just fits is not."""
    with pytest.raises(InvalidInputError) as caught:
        work_queue_name(tags)
    assert [field for field, _ in caught.value.problems] == ["policies"]
    fitting = ("x" * 64, "y" * 64, "z" * 64, "u" * 55)
    assert len(work_queue_name(fitting)) == MAX_QUEUE_NAME


def test_a_seeds_queue_is_bound_to_its_items() -> None:
    """The longest seed id still makes a queue, with one active consumer, to which its items are routed."""
    seed = "é" * 100
    queue = seed_queue(seed)
    assert queue.name == seed_queue_name(seed) == f"seed.{seed}"
    assert len(queue.name.encode()) <= MAX_QUEUE_NAME
    assert queue.bindings == (("items", seed),)
    assert queue.arguments["x-single-active-consumer"] is True


def test_every_queue_that_holds_items_says_its_own_limits() -> None:
    """Each is a quorum queue that says how often it delivers: a broker's default may drop what was delivered often."""
    queues = [queue for queue in QUEUES if queue.name != REGISTRY] + [seed_queue("s")]
    assert all(queue.arguments["x-queue-type"] == "quorum" for queue in queues)
    assert all(queue.arguments["x-delivery-limit"] == UNLIMITED_DELIVERIES for queue in queues)


def test_what_fails_in_a_work_queue_goes_to_returns() -> None:
    """After the first failed delivery a batch is dead-lettered at least once, and a full queue refuses, not drops."""
    arguments = work_queue(("a",)).arguments
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-delivery-limit"] == 0
    assert arguments["x-dead-letter-exchange"] == RETURNS
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_bindings_name_exchanges_that_there_are() -> None:
    """Every exchange and queue has one name, and what is bound is bound to an exchange of ours."""
    exchanges = {exchange.name for exchange in EXCHANGES}
    assert len(exchanges) == len(EXCHANGES)
    assert len({queue.name for queue in QUEUES}) == len(QUEUES)
    assert {exchange for queue in QUEUES for exchange, _ in queue.bindings} <= exchanges

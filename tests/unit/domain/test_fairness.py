"""Fair turns: shares in items, nobody starved, nothing saved up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.fairness import NEWCOMERS, QUANTUM, WEIGHTS, Turns

SEEDS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(st.integers(1, 1000), st.sampled_from(sorted(WEIGHTS.values()))),
    min_size=1,
    max_size=8,
)
"""Seeds with the size of their batches and their weights."""


def ring(*seeds: str) -> Turns:
    """A ring of these seeds."""
    turns = Turns()
    for seed in seeds:
        turns.add(seed)
    return turns


@given(SEEDS)
def test_shares_are_those_of_the_weights_in_items(seeds: dict[str, tuple[int, int]]) -> None:
    """With everybody backlogged each seed gets its share of items, whatever the size of its batches."""
    turns = ring(*seeds)
    got: Counter[str] = Counter()
    rounds = 200
    goal = rounds * QUANTUM * sum(weight for _, weight in seeds.values())
    while sum(got.values()) < goal:
        seed = turns.next(lambda seed: seeds[seed][0], lambda seed: seeds[seed][1])
        assert seed is not None
        got[seed] += seeds[seed][0]
    largest = max(size for size, _ in seeds.values())
    heaviest = max(WEIGHTS.values()) * QUANTUM
    for seed, (_, weight) in seeds.items():
        fair = rounds * QUANTUM * weight
        assert abs(got[seed] - fair) <= len(seeds) * (largest + heaviest)


def test_priorities_share_1_4_16() -> None:
    """Over a long run low, medium and high seeds get items at 1 : 4 : 16."""
    turns = ring(*WEIGHTS)
    got: Counter[str] = Counter()
    sizes = {"low": 100, "medium": 37, "high": 250}
    shares = {str(name): weight for name, weight in WEIGHTS.items()}
    while sum(got.values()) < 21 * 20_000:
        seed = turns.next(sizes.__getitem__, shares.__getitem__)
        assert seed is not None
        got[seed] += sizes[seed]
    for name, weight in {"low": 1, "medium": 4, "high": 16}.items():
        assert abs(got[name] / 20_000 - weight) < 0.03 * weight


@given(SEEDS)
def test_nobody_starves(seeds: dict[str, tuple[int, int]]) -> None:
    """Between two turns of a seed, the others get no more than their weights give them in the rounds it needs."""
    turns = ring(*seeds)
    for waiting, (size, weight) in seeds.items():
        others = 0
        while (seed := turns.next(lambda seed: seeds[seed][0], lambda seed: seeds[seed][1])) != waiting:
            assert seed is not None
            others += seeds[seed][0]
        rounds = -(-size // (QUANTUM * weight)) + 1
        bound = sum(rounds * QUANTUM * mass + largest for largest, mass in seeds.values())
        assert others <= bound


def test_one_that_cannot_send_earns_no_credit() -> None:
    """A seed that was idle or held back for long gets no more afterwards than one that was not."""
    turns = ring("busy", "idle")
    for _ in range(100):
        assert turns.next(lambda seed: 10 if seed == "busy" else 0, lambda _: 4) == "busy"
    got = Counter(turns.next(lambda _: 10, lambda _: 4) for _ in range(40))
    assert abs(got["idle"] - got["busy"]) * 10 <= 2 * 4 * QUANTUM


def test_one_that_cannot_send_loses_the_credit_it_had() -> None:
    """Credit is for the current turn: whoever has nothing more to send when asked begins again from none."""
    turns = ring("a")
    assert turns.next(lambda _: 1, lambda _: 16) == "a"
    assert turns.next(lambda _: 0, lambda _: 16) is None
    turns.add("b")
    assert turns.next(lambda _: 1, lambda seed: 16 if seed == "b" else 1) == "b", "who is new goes first"
    while turns.next(lambda _: 1, lambda seed: 16 if seed == "b" else 1) == "b":
        pass
    served = 1
    while turns.next(lambda _: 1, lambda seed: 16 if seed == "b" else 1) == "a":
        served += 1
    assert served == QUANTUM


@given(st.integers(1, 5))
def test_shares_hold_where_places_get_free_one_by_one(places: int) -> None:
    """However few batches there is room for at a time, equal seeds get equal shares."""
    turns = ring("a", "b", "c")
    got: Counter[str | None] = Counter()
    for _ in range(300):
        room = places
        while (seed := turns.next(lambda _, free=room: 20 if free else None, lambda _: 4)) is not None:  # type: ignore[misc]
            got[seed] += 1
            room -= 1
    assert max(got.values()) - min(got.values()) <= 2 * 4 * QUANTUM / 20, got


@given(st.integers(0, NEWCOMERS))
def test_it_ends_when_nobody_can_go(count: int) -> None:
    """With an empty ring, or nobody who can send, the answer is None, and all keep their places."""
    turns = ring(*(str(number) for number in range(count)))
    asked: Counter[str] = Counter()

    def cost(seed: str) -> int:
        asked[seed] += 1
        return 0

    assert turns.next(cost, lambda _: 1) is None
    assert asked == Counter(str(number) for number in range(count))
    assert len(turns) == count
    order = [turns.next(lambda _: QUANTUM, lambda _: 1) for _ in range(count)]
    assert order == [str(number) for number in range(count)]


def test_it_ends_for_the_largest_batch_of_the_lightest() -> None:
    """A batch of many turns' credit goes all the same."""
    assert ring("s").next(lambda _: 1000, lambda _: 1) == "s"


def test_adding_twice_is_one_place() -> None:
    """A seed that is added again has one place, and keeps its credit."""
    turns = ring("a", "a", "b")
    assert len(turns) == 2
    assert [turns.next(lambda _: 60, lambda _: 4) for _ in range(2)] == ["a", "b"]
    turns.add("a")
    assert turns.next(lambda _: 40, lambda _: 4) == "a"


def test_one_that_left_comes_back_at_the_end_without_credit() -> None:
    """Leaving takes the credit along, and a removal of one that is not there does nothing."""
    turns = ring("a", "b", "c")
    assert [turns.next(lambda _: QUANTUM, lambda _: 1) for _ in range(3)] == ["a", "b", "c"]
    assert turns.next(lambda _: QUANTUM, lambda _: 1) == "a"
    turns.remove("a")
    turns.remove("a")
    turns.add("a")
    order = [turns.next(lambda _: QUANTUM, lambda _: 1) for _ in range(5)]
    assert order == ["b", "c", "b", "c", "a"]


@given(st.integers(1, 500))
def test_a_newcomer_goes_first_however_many_wait(large: int) -> None:
    """A small seed is not made to wait until each large one had its turn."""
    names = [f"large-{number}" for number in range(large)]
    turns = ring(*names)
    for _ in range(3 * large):
        turns.next(lambda _: 100, lambda _: 4)
    turns.add("small")
    assert turns.next(lambda seed: 10 if seed == "small" else 100, lambda _: 4) == "small"


def test_leaving_and_coming_back_gains_nothing() -> None:
    """A seed whose items come one batch at a time gets no more than those that have plenty."""
    names = [f"large-{number}" for number in range(20)]
    turns = ring(*names, "drip")
    got: Counter[str | None] = Counter()
    for _ in range(2100):
        turns.add("drip")
        seed = turns.next(lambda _: 100, lambda _: 4)
        got[seed] += 1
        if seed == "drip":
            turns.remove("drip")
    assert got["drip"] <= got["large-0"] + 2, got


def test_newcomers_without_end_leave_the_others_a_part() -> None:
    """Each turn a seed comes that is new: the one that was there before gets a fifth all the same."""
    turns = ring("old")
    turns.next(lambda _: 100, lambda _: 4)
    got: Counter[str | None] = Counter()
    for number in range(1000):
        turns.add(f"new-{number}")
        seed = turns.next(lambda _: 100, lambda _: 4)
        got[seed] += 1
        if seed is not None and seed != "old":
            turns.remove(seed)
    assert got["old"] >= 1000 / (NEWCOMERS + 1) - 1

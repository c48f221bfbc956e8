"""Who of several does what, and whose silence means something."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.membership import Silence, owner, share

NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=6)


@given(st.text(), NAMES, st.text(min_size=1, max_size=8))
def test_only_the_keys_of_one_that_comes_or_goes_change_hands(key: str, members: set[str], other: str) -> None:
    """With one more member a key stays where it was, or goes to that one; the order of members is nothing."""
    before, after = owner(key, members), owner(key, {*members, other})
    assert after in {before, other}
    assert owner(key, sorted(members, reverse=True)) == owner(key, sorted(members)) == before


def test_each_has_about_as_many_keys() -> None:
    """Of three thousand keys each of three members has a thousand, give or take some."""
    counts = Counter(owner(f"seed-{number}", ["a", "b", "c"]) for number in range(3000))
    assert all(850 < counts[member] < 1150 for member in "abc"), counts


def test_keys_without_members() -> None:
    """Nobody owns anything where nobody is."""
    with pytest.raises(ValueError, match="empty"):
        owner("x", [])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_shares_make_up_the_whole(demands: list[float]) -> None:
    """What is due to all who want something is all there is; where nobody does, each may have it."""
    parts = [share(one, demands[:at] + demands[at + 1 :]) for at, one in enumerate(demands)]
    if sum(demands):
        assert sum(parts) == pytest.approx(1.0)
    else:
        assert set(parts) == {1.0}


def test_silence_is_counted_only_while_it_could_be_broken() -> None:
    """It grows with the time that is told, ends with a sign of life, and is nobody's who is not expected."""
    silence = Silence()
    silence.heard("a")
    silence.passed(2.0)
    silence.heard("b")
    silence.passed(1.5)
    assert silence.longer_than(3.0) == ["a"]
    assert silence.longer_than(1.0) == ["a", "b"]
    silence.heard("a")
    silence.forget("b")
    assert silence.longer_than(0.0) == []
    silence.passed(1.0)
    assert silence.longer_than(0.5) == ["a"]

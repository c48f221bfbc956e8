"""How much longer the demo's workers take over the items of a small tree."""

from __future__ import annotations

import pytest

from coordinator.demo.pace import pace


@pytest.mark.parametrize(("entries", "seconds"), [(1, 36), (5_000, 0.0072), (35_999, 0.001), (36_000, 0), (10**6, 0)])
def test_a_small_tree_lasts_twelve_seconds(entries: int, seconds: float) -> None:
    """Three workers share its items; a tree that takes so long anyway is crawled as fast as it goes."""
    assert pace(entries, 3) == pytest.approx(seconds, rel=0.01)

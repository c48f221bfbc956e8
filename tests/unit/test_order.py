"""The order and the groups in which the suite runs."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.order import ALONE, LONGEST, group_of, rank

ROOT = Path(__file__).parents[2]


def test_faults_are_one_group_and_other_files_are_their_own() -> None:
    """Tests that break brokers run one at a time, whichever file they are in."""
    assert group_of("tests/faults/test_a.py::test_x") == group_of("tests/faults/test_b.py::test_y") == "tests/faults/"
    assert group_of("tests/integration/test_a.py::test_x[a::b]") == "tests/integration/test_a.py"


def test_the_longest_begin_first_and_unit_tests_last() -> None:
    """A long group that began last would run alone at the end."""
    wanted = [
        "tests/faults/test_a.py::test_x",
        "tests/chaos/test_short.py::test_x",
        f"{LONGEST[0]}::test_x",
        f"{LONGEST[-1]}::test_x",
        "tests/browser/test_tokens.py::test_x",
        "tests/unit/test_order.py::test_x",
    ]
    assert [rank(one) for one in wanted] == sorted({rank(one) for one in wanted})


def test_all_that_is_named_exists() -> None:
    """A file that was renamed would lose its place without notice."""
    assert [name for name in (*ALONE, *LONGEST) if not (ROOT / name).exists()] == []

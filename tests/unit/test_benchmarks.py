"""The harness of the benchmarks: what it compares, refuses and states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks import payload, profiles
from tests.benchmarks.harness import Run, Runs, Terms, UnequalTermsError, WrongResultError, in_turns
from tests.benchmarks.report import Goal, Outcome, page

TERMS = Terms("quorum", durable=True, confirmed=True, unacked=0, items=100, payload=16_000)


@pytest.mark.parametrize(
    "change",
    [
        {"queue_type": "classic"},
        {"durable": False},
        {"confirmed": False},
        {"unacked": 5},
        {"items": 1},
        {"payload": 160},
    ],
)
async def test_a_contender_on_other_terms_is_refused_by_what_differs(change: dict[str, object]) -> None:
    """No figure is made of runs that had different conditions."""

    async def ours() -> Run:
        return Run(2.0, TERMS)

    async def other() -> Run:
        return Run(1.0, replace(TERMS, **change))  # type: ignore[arg-type]

    with pytest.raises(UnequalTermsError, match=f"ours and other: {next(iter(change))}"):
        await in_turns({"ours": ours, "other": other}, 1, lambda _: None)


async def test_contenders_take_turns() -> None:
    """A B A B, so that a machine that slows down slows both down."""
    order: list[str] = []

    def contender(name: str, rates: list[float]) -> object:
        async def run() -> Run:
            order.append(name)
            return Run(rates.pop(0), TERMS)

        return run

    contenders = {"a": contender("a", [4.0, 6.0, 8.0]), "b": contender("b", [2.0, 2.0, 8.0])}
    runs = await in_turns(contenders, 3, lambda _: None)  # type: ignore[arg-type]
    assert order == ["a", "b"] * 3
    assert runs.ratio("a", "b") == (3.0, [2.0, 3.0, 1.0]), "of the medians, and turn by turn"
    assert runs.best(["a", "b"]) == "a"


async def test_a_peer_whose_run_is_wrong_is_left_out_and_named_but_ours_is_an_error() -> None:
    """A wrong run makes no figure."""

    async def right() -> Run:
        return Run(2.0, TERMS)

    async def wrong() -> Run:
        raise WrongResultError("an item is missing")

    runs = await in_turns({"ours": right, "peer": wrong}, 2, lambda _: None, ["peer"])
    assert runs.left_out == {"peer": "an item is missing"}
    assert runs.rates("ours") == [2.0, 2.0]
    assert "peer" not in runs.figures()
    with pytest.raises(WrongResultError):
        await in_turns({"ours": wrong}, 1, lambda _: None)


def test_a_missed_goal_is_on_the_page() -> None:
    """The page states each ratio beside its goal, and whether it is met."""
    runs = Runs({"ours": [Run(1.0)], "other": [Run(2.0)]})
    missed = Outcome.of_pair(runs, "ours ÷ other", "ours", "other", Goal(0.6), "batches/s")
    quick = Outcome.figure("a wait", [3.0, 5.0], 4.0, Goal(4, at_most=True), "ms")
    about = {"bench": "b", "broker": "RabbitMQ", "cores": 2, "commit": "c", "date": "d", "command": "make bench"}
    entries = [
        {
            "name": one.name,
            "ratio": one.ratio,
            "goal": one.goal,
            "met": one.met,
            "unit": one.unit,
            "lowest": one.lowest,
            "highest": one.highest,
            "figures": one.figures,
            "of": one.of,
            **about,
        }
        for one in (missed, quick)
    ]
    text = page(entries)
    assert "| ours ÷ other | 0.5 | 0.5 to 0.5 | ≥ 0.6 | **no** |" in text
    assert "| a wait | 4 ms | 3 to 5 | ≤ 4 | yes |" in text
    assert "| ours | 1 |" in text


def test_items_are_of_the_stated_size_and_numbered_throughout() -> None:
    """A batch is 100 items of some 16 kB, and what is added up is each item once."""
    pages = [payload.page(number) for number in range(3)]
    assert 15_500 <= len(payload.text(pages[0])) <= 16_500
    assert sum(item["n"] for one in pages for item in one) == payload.sum_of(300)


def test_a_profile_tells_of_what_the_loop_runs() -> None:
    """Imports do not count; a function counts by itself where it is innermost, and with what it calls once a stack."""
    loop = "main (a/cli/main.py:3);Runner.run (b/asyncio/runners.py:118)"
    stacks = [f"{loop};outer (c/x/y.py:1);inner (c/x/y.py:2) 3", f"{loop} 1", "main (a/cli/main.py:1);load (i.py:9) 9"]
    told = [line.split(maxsplit=1) for line in profiles.table(stacks, "title").splitlines() if "%" in line]
    assert told == [
        ["75.0%", "inner (x/y.py)"],
        ["25.0%", "Runner.run (asyncio/runners.py)"],
        ["100.0%", "Runner.run (asyncio/runners.py)"],
        ["75.0%", "outer (x/y.py)"],
        ["75.0%", "inner (x/y.py)"],
    ]

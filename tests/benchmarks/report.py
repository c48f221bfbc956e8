"""What came of it: `results.json`, and a page that states ratios first."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.benchmarks.harness import Runs

RESULTS = "results.json"
PAGE = "README.md"
INTRODUCTION = """\
Made by `make bench`; [tests/benchmarks](../../tests/benchmarks/README.md) tells how it measures and how to add to it.
A ratio is of medians of one run of the program; `range` is from turn to turn, for a figure from least to most.
Each section says on which machine and commit it was measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is aimed at: at least so much, or at most."""

    value: float
    at_most: bool = False

    def met(self, ratio: float) -> bool:
        """Whether it is reached."""
        return ratio <= self.value if self.at_most else ratio >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the results: a ratio, or a figure where `unit` says so, with all that it was made of."""

    name: str
    ratio: float
    goal: str | None
    met: bool | None
    unit: str
    lowest: float
    highest: float
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    of: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_pair(cls, runs: Runs, name: str, ours: str, other: str, goal: Goal | None, unit: str) -> Outcome:
        """One contender's median as a part of another's."""
        ratio, turns = runs.ratio(ours, other)
        return cls(
            name=name,
            ratio=round(ratio, 3),
            goal=str(goal) if goal else None,
            met=goal.met(ratio) if goal else None,
            unit=unit,
            lowest=round(min(turns), 3),
            highest=round(max(turns), 3),
            figures=runs.figures(),
            of=f"{ours} ÷ {other}",
            left_out=runs.left_out,
        )

    @classmethod
    def figure(cls, name: str, values: Sequence[float], value: float, goal: Goal | None, unit: str) -> Outcome:
        """A figure that is compared with its goal as it is, such as milliseconds."""
        return cls(
            name=name,
            ratio=round(value, 3),
            goal=str(goal) if goal else None,
            met=goal.met(value) if goal else None,
            unit=unit,
            lowest=round(min(values), 3),
            highest=round(max(values), 3),
        )


def write(folder: Path, bench: str, outcomes: Sequence[Outcome], broker: str, command: str) -> None:
    """Put a benchmark's outcomes in place of its earlier ones, and write the page anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS
    known: list[dict[str, Any]] = orjson.loads(path.read_bytes()) if path.exists() else []
    about = {
        "bench": bench,
        "broker": f"RabbitMQ {broker}",
        "cores": os.cpu_count(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": command,
    }
    mine = [{**asdict(outcome), **about} for outcome in outcomes]
    results = sorted([one for one in known if one["bench"] != bench] + mine, key=lambda one: str(one["bench"]))
    path.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    (folder / PAGE).write_text(page(results))


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The page: ratios against goals, then what they were made of."""
    lines = [
        "# Benchmarks",
        "",
        INTRODUCTION,
        "",
        "| what | ratio or figure | range | goal | met |",
        "|---|---|---|---|---|",
    ]
    marks = {True: "yes", False: "**no**", None: ""}
    for one in results:
        unit = "" if one["of"] else f" {one['unit']}"
        lines.append(
            f"| {one['name']} | {one['ratio']:g}{unit} | {one['lowest']:g} to {one['highest']:g} "
            f"| {one['goal'] or ''} | {marks[one['met']]} |"
        )
    for bench in dict.fromkeys(str(one["bench"]) for one in results):
        lines += ["", *_section(bench, [one for one in results if one["bench"] == bench])]
    return "\n".join(lines) + "\n"


def _section(bench: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    first = results[0]
    figures = {name: figure for one in results for name, figure in one["figures"].items()}
    lines = [
        f"## {bench}",
        "",
        f"{first['broker']}, {first['cores']} cores, commit {first['commit']}, {first['date']}: `{first['command']}`",
    ]
    left_out = {name: why for one in results for name, why in one.get("left_out", {}).items()}
    lines += ["", *(f"Left out: {name}: {why}." for name, why in left_out.items())] if left_out else []
    if figures:
        unit = next(one["unit"] for one in results if one["figures"])
        further = list(dict.fromkeys(key for figure in figures.values() for key in list(figure)[4:]))
        lines += [
            "",
            f"![{bench}]({bench}.svg)",
            "",
            f"| contender | median {unit} | range | runs |{''.join(f' {key} |' for key in further)}",
            f"|---|---|---|---|{'---|' * len(further)}",
        ]
        for name, figure in figures.items():
            rest = "".join(f" {figure[key]:,.1f} |" if key in figure else " |" for key in further)
            spread = f"{figure['lowest']:,.0f} to {figure['highest']:,.0f}"
            lines.append(f"| {name} | {figure['median']:,.0f} | {spread} | {figure['runs']} |{rest}")
    return lines


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - ours
    return done.stdout.strip()

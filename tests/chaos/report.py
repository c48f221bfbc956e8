"""The report on a run: figures, violations with the history of what they concern, and the verdict in the last line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from tests.chaos import history
from tests.chaos.checker import Violation, check
from tests.chaos.history import Event
from tests.chaos.measures import Figures, measure, starved, too_few
from tests.chaos.story import Limits, Story

SHOWN = 3
LONGEST_HISTORY = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found in a run."""

    story: Story
    figures: Figures
    violations: list[Violation]

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept, and enough was tried."""
        return not self.violations

    @property
    def rules(self) -> Counter[str]:
        """How often each rule was violated."""
        return Counter(one.rule for one in self.violations)


def judge(folder: Path, limits: Limits, wanted: list[str]) -> Verdict:
    """Read a history and check it; `wanted` are the kinds of fault that must have struck."""
    story = Story(history.read(folder))
    figures = measure(story)
    violations = [*check(story, limits), *starved(story, limits), *too_few(figures, wanted, limits.strikes)]
    return Verdict(story, figures, violations)


def lines(verdict: Verdict, seed: int, repeat: str) -> Iterator[str]:
    """The report, line by line; the last one is the verdict.

    Args:
        verdict: what was found.
        seed: of the run's random choices.
        repeat: the command that makes the same choices again.
    """
    yield from _figures(verdict.figures)
    for rule in verdict.rules:
        yield from _violations(verdict, [one for one in verdict.violations if one.rule == rule])
    counts = ", ".join(f"{count} {rule}" for rule, count in verdict.rules.most_common())
    if verdict.is_good:
        figures = verdict.figures
        yield f"PASSED: seed {seed}, {figures.items} items, {figures.repeats} repeats, all marked; no violation"
    else:
        yield f"to repeat: {repeat}"
        yield f"FAILED: seed {seed}: {counts}"


def _figures(figures: Figures) -> Iterator[str]:
    yield f"items confirmed {figures.items}, of unknown outcome {figures.unknown}, dead batches {figures.dead}"
    yield f"deliveries {figures.deliveries}, items in them {figures.delivered_items}, repeats {figures.repeats}"
    yield "batches marked by " + ", ".join(f"{name}: {count}" for name, count in figures.marked_by.items())
    yield "commands: " + ", ".join(f"{name}: {count}" for name, count in figures.commands.items())
    if figures.releases:
        middle, worst = median(figures.releases), max(figures.releases)
        yield f"after a worker's release its batches were with others in {middle:.3f} s (worst {worst:.3f})"
    yield "longest wait for a turn: " + ", ".join(f"{seed} {gap:.1f} s" for seed, gap in figures.gaps.items())
    if figures.faults:
        yield f"{'fault':<24}{'caused':>8}{'struck':>8}{'stall s':>10}{'a seed s':>10}{'rehold s':>10}"
    for name, one in figures.faults.items():
        rehold = "" if one.rehold is None else f"{one.rehold:.2f}"
        yield f"{name:<24}{one.faults:>8}{one.struck:>8}{one.stall:>10.2f}{one.seed_stall:>10.2f}{rehold:>10}"


def _violations(verdict: Verdict, found: list[Violation]) -> Iterator[str]:
    for one in found[:SHOWN]:
        yield f"VIOLATION {one.rule}: {one.subject}: {one.text}"
    if len(found) > SHOWN:
        yield f"… and {len(found) - SHOWN} more of {found[0].rule}"
    told = list(verdict.story.about(found[0].subject))
    if told:
        yield f"  the history of {found[0].subject}:"
    yield from (f"  {describe(event)}" for event in told[:LONGEST_HISTORY])


def describe(event: Event) -> str:
    """An event in one line; long lists of items are cut."""
    parts = []
    for one in fields(event):
        value = getattr(event, one.name)
        if one.name in {"at", "party"} or value in ("", (), {}):
            continue
        if isinstance(value, tuple) and len(value) > 2:
            value = f"{value[0]}…{value[-1]} ({len(value)})"
        parts.append(f"{one.name}={value:.3f}" if isinstance(value, float) else f"{one.name}={value}")
    return f"{event.at:.3f} {event.party} {event.kind}: {' '.join(parts)}"

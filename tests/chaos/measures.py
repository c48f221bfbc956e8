"""What a history says in figures: how often faults struck, repeats, how long work stood still, who was starved."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from coordinator.topology import seed_queue
from tests.chaos.checker import Violation
from tests.chaos.history import Command, Produced, of
from tests.chaos.story import Hold, Limits, Story, Strike

LOOK_AFTER = 25.0
"""Seconds after a fault's end for which a stall counts as its own, unless the next fault begins."""
SLACK = 0.05


@dataclass(slots=True)
class FaultFigures:
    """What one kind of fault did.

    Attributes:
        faults: how often it was caused.
        struck: how often work was in flight where it struck.
        stall: the longest time without any delivery while items waited, in seconds.
        seed_stall: the same of a single seed.
        rehold: the longest until all that its target held was with others, in seconds; None where nothing was.
    """

    faults: int = 0
    struck: int = 0
    stall: float = 0.0
    seed_stall: float = 0.0
    rehold: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a whole run came to."""

    items: int
    unknown: int
    deliveries: int
    delivered_items: int
    repeats: int
    marked_by: dict[str, int]
    commands: dict[str, int]
    faults: dict[str, FaultFigures]
    dead: int
    gaps: dict[str, float]
    releases: list[float]


class Backlog:
    """How many items of each seed waited at any time for their first delivery, while the seed ran."""

    def __init__(self, story: Story) -> None:
        self._waiting = {seed: list(_waits(story, seed)) for seed in story.seeds}
        self._ends = {seed: [end for _, end, _ in waits] for seed, waits in self._waiting.items()}

    def waits(self, seed: str) -> list[tuple[float, float, float]]:
        """The times in which a seed waited for a delivery, as (from, to, seconds)."""
        return self._waiting[seed]

    def longest(self, begin: float, end: float) -> float:
        """The longest wait of any seed that falls between these times, as far as it does, in seconds."""
        longest = 0.0
        for seed, waits in self._waiting.items():
            first = bisect_right(self._ends[seed], begin)  # of one seed they never overlap
            for low, high, _ in islice(waits, first, None):
                if low >= end:
                    break
                longest = max(longest, min(high, end) - max(low, begin))
        return longest


def _waits(story: Story, seed: str) -> Iterator[tuple[float, float, float]]:
    """Stretches in which a seed ran and had items, and none of it was delivered."""
    waiting, is_resting, since = 0, False, math.inf
    for at, what, count in sorted(_steps(story, seed)):
        if what in {"less", "rest"} and since < at:
            yield (since, at, at - since)
            since = math.inf
        waiting += count if what == "more" else -count
        is_resting = what == "rest" or (is_resting and what != "run")
        since = min(since, at) if waiting > 0 and not is_resting else math.inf
    if since < story.end:
        yield (since, story.end, story.end - since)


def _steps(story: Story, seed: str) -> Iterator[tuple[float, str, int]]:
    """What changes whether a seed waits: items more and less, its rests and their ends, as (when, what, items)."""
    is_left = seed_queue(seed).name in story.left
    for produced in of(Produced, story.events):
        if produced.seed == seed and produced.outcome == "confirmed":
            # What never came was purged, say, unless messages are left in its seed's queue.
            yield produced.at, "more", sum(1 for item in produced.items if is_left or story.by_item.get(item))
    firsts = Counter(holds[0].delivered.hold for holds in story.by_item.values())
    for hold in story.holds:
        if hold.delivered.seed == seed:
            yield hold.start, "less", firsts[hold.delivered.hold]
    is_open = False  # a release that nobody answered may come late, but not behind what follows it in its queue
    for one in story.seed_commands(seed, "release.seed", "resume.seed", "purge.seed"):
        if one.name == "release.seed":
            yield one.begun, "rest", 0
            is_open |= one.status == 0 and one.via == "amqp"
        elif one.status == 200 and (one.via == "amqp" or not is_open):  # one without an answer is repeated
            yield one.at, "run", 0
            is_open = False


def starved(story: Story, limits: Limits) -> Iterator[Violation]:
    """A seed that runs and has items is served within its bound, and the time of faults of what serves it."""
    backlog = Backlog(story)
    for seed, plan in story.seeds.items():
        for begin, end, seconds in backlog.waits(seed):
            excused = _disturbed(story, begin, end, limits)
            if seconds - min(excused, limits.starved_cap) > plan.bound:
                text = f"waited {seconds:.1f} s for a turn, {excused:.1f} s of them disturbed by faults"
                yield Violation("starved", seed, text)
                break


def _disturbed(story: Story, begin: float, end: float, limits: Limits) -> float:
    """How much of this time faults may have kept seeds from their turns."""
    spans = sorted((max(begin, one.begun), min(end, one.ended + limits.aftermath)) for one in story.strikes)
    covered, reached = 0.0, begin
    for low, high in spans:
        if high > max(low, reached):
            covered += high - max(low, reached)
            reached = high
    return covered


def measure(story: Story) -> Figures:
    """All figures of a history."""
    backlog = Backlog(story)
    faults: defaultdict[str, FaultFigures] = defaultdict(FaultFigures)
    for index, strike in enumerate(story.strikes):
        figures = faults[strike.name]
        figures.faults += 1
        figures.struck += is_struck(story, strike)
        following = [one.begun for one in story.strikes[index + 1 :] if one.begun > strike.begun]
        until = min(strike.ended + LOOK_AFTER, max(strike.ended, min(following, default=math.inf)), story.end)
        figures.seed_stall = max(figures.seed_stall, backlog.longest(strike.begun, until))
        figures.stall = max(figures.stall, _standstill(story, backlog, strike.begun, until))
        _add_rehold(story, strike, figures)
    marks = _marks(story)
    return Figures(
        items=sum(1 for one in story.produced.values() if one.outcome == "confirmed"),
        unknown=sum(1 for one in story.produced.values() if one.outcome == "unknown"),
        deliveries=len(story.holds),
        delivered_items=sum(len(holds) for holds in story.by_item.values()),
        repeats=sum(len(holds) - 1 for holds in story.by_item.values()),
        marked_by=marks,
        commands=_commands(story),
        faults=dict(sorted(faults.items())),
        dead=len(story.dead),
        gaps={seed: max((wait[2] for wait in backlog.waits(seed)), default=0.0) for seed in story.seeds},
        releases=list(_release_times(story)),
    )


def is_struck(story: Story, strike: Strike) -> bool:
    """Whether work was in flight where a fault struck: at its worker, or anywhere if it concerns all."""
    if strike.name == "queue-deleted":
        return not strike.detail.endswith(" 0")
    holds = story.by_worker[strike.target] if strike.is_of_worker else story.holds
    # From the last on: mostly one of the latest is still held.
    return any(hold.start <= strike.begun <= hold.end + SLACK for hold in reversed(holds))


def too_few(figures: Figures, wanted: list[str], least: int) -> Iterator[Violation]:
    """Each kind of fault that was asked for must have struck work in flight often enough to prove something."""
    for name in wanted:
        struck = figures.faults[name].struck if name in figures.faults else 0
        if struck < least:
            yield Violation("too few", name, f"struck work in flight {struck} times, of {least} wanted")


def _standstill(story: Story, backlog: Backlog, begin: float, end: float) -> float:
    """The longest time without any delivery between these times, while a seed waited throughout."""
    starts = story.starts
    marks = [begin, *starts[bisect_left(starts, begin) : bisect_right(starts, end)], end]
    longest = 0.0
    for low, high in pairwise(marks):
        if high - low > longest:
            longest = max(longest, backlog.longest(low, high))
    return longest


def _add_rehold(story: Story, strike: Strike, figures: FaultFigures) -> None:
    """How long it took until what the target held unsettled was delivered to somebody."""
    if not strike.is_of_worker:
        return
    for hold in story.by_worker[strike.target]:
        if not hold.start <= strike.begun <= hold.end + SLACK:
            continue
        later = _next_delivery(story, hold, strike.begun)
        if later is not None:
            figures.rehold = max(figures.rehold or 0.0, later - strike.begun)


def _next_delivery(story: Story, hold: Hold, since: float) -> float | None:
    """When another got what was held; None where nobody did, or where the holder itself took it all the same."""
    item = hold.delivered.items[0]
    if hold.taken(item) is not None:
        return None
    return next((one.start for one in story.by_item[item] if one.start > since and one is not hold), None)


def _release_times(story: Story) -> Iterator[float]:
    """Seconds from a worker's release by command until each batch that it held was with another."""
    releases = [one for one in of(Command, story.events) if one.name == "release.worker" and one.status == 200]
    for release in releases:
        for hold in story.by_worker[release.target]:
            if hold.start < release.begun <= hold.end:
                later = _next_delivery(story, hold, release.begun)
                if later is not None:
                    yield later - release.begun


def _marks(story: Story) -> dict[str, int]:
    marks: defaultdict[str, int] = defaultdict(int)
    for hold in story.holds:
        marks["attempt"] += hold.delivered.attempt > 1
        marks["flag"] += hold.delivered.flag and hold.delivered.attempt == 1
        marks["header"] += hold.delivered.header
    return dict(marks)


def _commands(story: Story) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for one in of(Command, story.events):
        counts[f"{one.name} {one.status or 'no answer'}"] += 1
    return dict(sorted(counts.items()))

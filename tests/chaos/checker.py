"""The checker: pure functions from a history to what is wrong with it, one for each promise."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.chaos.handler import POISON
from tests.chaos.history import Command, Crashed, Delivered, of
from tests.chaos.story import Hold, Limits, Story

RELEASES, ENDS_OF_REST = ("release.seed",), ("resume.seed", "purge.seed", "set.seed")


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: which one, in one word or two.
        subject: an item's id, or a seed's, batch's or process's where it is no single item.
        text: what is wrong, in one sentence.
    """

    rule: str
    subject: str
    text: str


def check(story: Story, limits: Limits) -> list[Violation]:
    """All that is wrong."""
    rules: tuple[Callable[[Story, Limits], Iterator[Violation]], ...] = (
        lost,
        phantoms,
        stale,
        at_once,
        unmarked,
        attempts,
        dead,
        purges,
        crashes,
    )
    return [violation for rule in rules for violation in rule(story, limits)]


def lost(story: Story, limits: Limits) -> Iterator[Violation]:
    """Each confirmed item was acked by somebody, is a dead letter, or was purged or struck with its queue."""
    dead_items = {item for one in story.dead for item in one.items}
    for item, produced in story.produced.items():
        if produced.outcome != "confirmed" or story.is_taken(item) or item in dead_items:
            continue
        if may_be_purged(story, item) or _struck_with_queue(story, item, limits):
            continue
        holds = story.by_item.get(item, [])
        seen = f"delivered {len(holds)} times and never acked" if holds else "never delivered"
        if story.left:
            yield Violation("stuck", item, f"confirmed, {seen}, and messages are left in {story.left}")
        else:
            yield Violation("lost", item, f"confirmed, {seen}, and no queue holds it")


def phantoms(story: Story, _: Limits) -> Iterator[Violation]:
    """Nothing is delivered that nobody sent, or that was refused."""
    for item, holds in story.by_item.items():
        produced = story.produced.get(item)
        if item.startswith(POISON) or (produced is not None and produced.outcome != "refused"):
            continue
        if produced is None and ">" in item:
            continue  # discovered by a worker that was killed before it could say so
        what = "nobody sent it" if produced is None else "its producer was told that nothing was done"
        yield Violation("phantom", item, f"delivered to {holds[0].worker}, though {what}")


def stale(story: Story, limits: Limits) -> Iterator[Violation]:
    """After the reply to a release, nothing older than its epoch is handed out, nor anything until it is resumed."""
    for seed in story.seeds:
        deliveries = sorted(
            (hold.delivered for hold in story.holds if hold.delivered.seed == seed), key=lambda one: one.at
        )
        for release in story.seed_commands(seed, *RELEASES):
            if release.status == 200:
                yield from _after_release(story, limits, seed, release, deliveries)
        for purge in story.seed_commands(seed, "purge.seed"):
            if purge.status == 200:
                yield from _after_purge(story, limits, seed, purge)


def _after_release(
    story: Story, limits: Limits, seed: str, release: Command, deliveries: list[Delivered]
) -> Iterator[Violation]:
    epoch, held = release.numbers.get("epoch", 0), release.numbers.get("held", 0)
    rest_ends = _end_of_rest(story, seed, release)
    for one in deliveries:
        if one.at <= release.at + limits.grace or _was_on_its_way(story, one, release.at):
            continue
        if len(one.items) <= held and _was_delayed_by_broker(story, one, release.at):
            held -= len(one.items)  # the reply counts it as sent: a broken broker was about to deliver it
            continue
        told = (
            f"batch {one.batch} of epoch {one.epoch} came to {one.worker} {one.at - release.at:.2f} s after the reply"
        )
        if one.epoch < epoch:
            yield Violation("stale", one.items[0], f"{told} that released {seed!r} to epoch {epoch}")
        elif one.at < rest_ends:
            yield Violation("stale", one.items[0], f"{told} to a release of {seed!r}, which nobody has resumed since")


def _end_of_rest(story: Story, seed: str, release: Command) -> float:
    """The first moment at which somebody may have made a released seed run again."""
    others = [one for one in story.seed_commands(seed, *ENDS_OF_REST) if one.at >= release.begun or one.status == 0]
    return min((max(one.begun, release.begun) for one in others), default=math.inf)


def _was_on_its_way(story: Story, one: Delivered, since: float) -> bool:
    """Whether its worker, or the coordinator that answers it over HTTP, was held up so that it saw it late."""
    for strike in story.strikes:
        mine = strike.is_of_worker and strike.target == one.worker
        shim = one.transport == "http" and strike.is_of_coordinator
        if (mine or shim) and strike.touches(since, one.at, after=5.0):
            return True
    return False


def _was_delayed_by_broker(story: Story, one: Delivered, since: float) -> bool:
    return any(strike.is_of_broker and strike.touches(since, one.at, after=0.0) for strike in story.strikes)


def _after_purge(story: Story, limits: Limits, seed: str, purge: Command) -> Iterator[Violation]:
    for item, holds in story.by_item.items():
        produced = story.produced.get(item)
        if produced is None or produced.seed != seed or produced.at > purge.begun:
            continue
        first = holds[0]
        if first.start > purge.at + limits.grace and not _was_on_its_way(story, first.delivered, purge.at):
            late = first.start - purge.at
            yield Violation("stale", item, f"came to {first.worker} {late:.2f} s after the reply that purged {seed!r}")


def at_once(story: Story, limits: Limits) -> Iterator[Violation]:
    """Two workers hold the same item at once only after a fault that explains it."""
    for item, holds in story.by_item.items():
        for first, second in itertools.combinations(holds, 2):
            if second.start >= first.end or first.worker == second.worker:
                continue
            if not _may_overlap(story, limits, item, first, second):
                text = f"{second.worker} got it while {first.worker} held it, and nothing had failed"
                yield Violation("at once", item, text)
                break


def _may_overlap(story: Story, limits: Limits, item: str, first: Hold, second: Hold) -> bool:
    if failed(story, limits, first, second.start):
        return True
    produced = story.produced.get(item)
    since = produced.begun if produced else 0.0
    is_marked = first.is_marked or second.is_marked
    return is_marked and any(not one.is_of_worker for one in story.causes(since, second.start, limits))


def failed(story: Story, limits: Limits, hold: Hold, until: float) -> bool:
    """Whether something that the history records may have ended this hold before `until`."""
    if hold.rejected() or story.released_worker(hold.worker, hold.start - limits.grace, until):
        return True
    if hold.delivered.transport == "http" and until - hold.start >= limits.ack_timeout - limits.grace:
        return True
    if taken_back(story, hold, until):
        return True
    for strike in story.causes(hold.start, until, limits):
        if not strike.is_of_worker or strike.target == hold.worker:
            return True
    return False


def taken_back(story: Story, hold: Hold, until: float) -> bool:
    """Whether it was held over HTTP and its seed was released meanwhile: then it has not begun, by the contract."""
    if hold.delivered.transport != "http":
        return False
    commands = story.seed_commands(hold.delivered.seed, "release.seed", "purge.seed")
    return any(one.begun <= until and (one.at >= hold.start or one.status == 0) for one in commands)


def unmarked(story: Story, limits: Limits) -> Iterator[Violation]:
    """Of all deliveries of an item that were not given back, at most one, the first, says not that it is a repeat."""
    for item, holds in story.by_item.items():
        fresh: list[Hold] = []
        for hold in holds:
            counting = [one for one in fresh if not one.given_back(item) and not taken_back(story, one, hold.start)]
            if not hold.is_marked:
                if counting:
                    text = f"came again to {hold.worker} as batch {hold.delivered.batch}, and nothing marks it"
                    yield Violation("unmarked", item, text)
                    break
                fresh.append(hold)
        marked_first = bool(fresh) and any(hold.is_marked and hold.start < fresh[0].start for hold in holds)
        if marked_first and not (
            _may_be_overtaken(story, limits, item, fresh[0]) or _was_held_up(story, item, fresh[0])
        ):
            yield Violation("unmarked", item, f"came to {fresh[0].worker} unmarked after a delivery that was marked")


def _may_be_overtaken(story: Story, limits: Limits, item: str, late: Hold) -> bool:
    """After a fault of a coordinator or the broker two copies may be on their way, and the marked one be faster."""
    produced = story.produced.get(item)
    return any(not one.is_of_worker for one in story.causes(produced.begun if produced else 0.0, late.start, limits))


def _was_held_up(story: Story, item: str, late: Hold) -> bool:
    """Whether its worker stood still meanwhile: then it saw late what had been sent to it first."""
    since = story.produced[item].begun if item in story.produced else 0.0
    mine = (one for one in story.strikes if one.is_of_worker and one.target == late.worker)
    return any(one.touches(since, late.start) for one in mine)


def attempts(story: Story, limits: Limits) -> Iterator[Violation]:
    """The attempt of a batch rises only when a delivery of it failed."""
    for batch, holds in story.by_batch.items():
        for index, hold in enumerate(holds):
            attempt = hold.delivered.attempt
            if attempt == 1:
                continue
            before = _holds_before(story, batch, holds[:index], attempt)
            if before and any(failed(story, limits, one, hold.start) for one in before):
                continue
            # Two copies may be under way after a fault of a coordinator or the broker: then what was seen of this
            # batch may be of the one, while the other failed unseen.
            if _anything_failed(story, limits, hold, copies_only=bool(before)):
                continue
            text = f"batch {batch} came to {hold.worker} with attempt {attempt}, and no delivery of it had failed"
            yield Violation("attempt", hold.delivered.items[0], text)
            break


def _holds_before(story: Story, batch: str, holds: list[Hold], attempt: int) -> list[Hold]:
    """The deliveries one attempt lower; the rest of a batch that was given back in part goes on with its attempt."""
    before = [one for one in holds if one.delivered.attempt == attempt - 1]
    whole, mark, _ = batch.rpartition("-")
    if before or not mark:
        return before
    return [one for one in story.by_batch.get(whole, ()) if one.delivered.attempt == attempt - 1]


def _anything_failed(story: Story, limits: Limits, hold: Hold, *, copies_only: bool) -> bool:
    """Whether a delivery that no worker came to see may have failed."""
    produced = story.produced.get(hold.delivered.items[0])
    since = produced.begun if produced else 0.0
    if any(not (copies_only and one.is_of_worker) for one in story.causes(since, hold.start, limits)):
        return True
    if copies_only:
        return False
    return any(story.released_worker(worker, since, hold.start) for worker in list(story.by_worker))


def dead(story: Story, limits: Limits) -> Iterator[Violation]:
    """Only a batch that reached the attempt limit and failed alone is dead, and nothing dies that is no batch."""
    for one in story.dead:
        subject = one.items[0] if one.items else one.batch
        if one.what != "batch":
            yield Violation("dead", subject, f"a {one.what} is among the dead letters: {one.reason}")
            continue
        if one.attempt <= limits.attempt_limit or len(one.history) <= limits.attempt_limit:
            text = f"batch {one.batch} is dead at attempt {one.attempt}, with {len(one.history)} failures on record"
            yield Violation("dead", subject, text)
        holds = story.by_batch.get(one.batch, [])
        last = holds[-1] if holds else None
        beside = [hold for hold in story.holds if last is not None and _is_beside(hold, last)]
        if beside:
            text = f"batch {one.batch} died at {beside[0].worker}, which held {beside[0].delivered.batch} beside it"
            yield Violation("dead", subject, text)
        innocent = [item for item in one.items if not item.startswith(POISON)]
        if innocent and not _failed_often(story, limits, holds):
            yield Violation("dead", innocent[0], f"batch {one.batch} is dead, and its deliveries had not failed")


def _is_beside(hold: Hold, last: Hold) -> bool:
    """Whether one process held this, too, when it was offered the last time."""
    same = hold.delivered.hold.rpartition(".")[0] == last.delivered.hold.rpartition(".")[0]
    return same and hold is not last and hold.start <= last.end and hold.end >= last.end and hold.end > last.start


def _failed_often(story: Story, limits: Limits, holds: list[Hold]) -> bool:
    """Whether each delivery that was seen failed for a reason on record."""
    return bool(holds) and all(failed(story, limits, hold, hold.start + 60.0) for hold in holds)


def purges(story: Story, _: Limits) -> Iterator[Violation]:
    """What a purge says that it discarded is what is missing, as far as nobody held it."""
    for seed in story.seeds:
        commands = story.seed_commands(seed, "purge.seed")
        # One without an answer may have discarded anything, but for what the purges before it had discarded.
        answered = list(itertools.takewhile(lambda one: one.status in {200, 404}, commands))
        done = [one for one in answered if one.status == 200]
        if not done:
            continue
        until = math.inf if answered == commands else done[-1].begun
        told = sum(one.numbers.get("purged", 0) for one in answered)
        mine = {item: one for item, one in story.produced.items() if one.seed == seed and one.outcome != "refused"}
        gone = [item for item in mine if not story.is_taken(item)]
        sure = [
            item
            for item in gone
            if mine[item].outcome == "confirmed" and mine[item].at <= until and not story.by_item.get(item)
        ]
        if len(sure) > told:
            yield Violation("purge", seed, f"{len(sure)} items are gone unseen, and the purges told of {told}")
        taken_twice = Counter(item for item in mine for _ in story.by_item.get(item, ()))
        most = len(gone) + sum(count - 1 for count in taken_twice.values() if count > 1)
        if told > most:
            yield Violation("purge", seed, f"the purges told of {told} items, and at most {most} can have been there")


def may_be_purged(story: Story, item: str) -> bool:
    """Whether a purge of its seed may have discarded this item."""
    produced = story.produced[item]
    commands = story.seed_commands(produced.seed, "purge.seed")
    return any(one.status != 404 and (one.at >= produced.begun or one.status == 0) for one in commands)


def _struck_with_queue(story: Story, item: str, limits: Limits) -> bool:
    """Whether a fault that truly loses what it strikes may have struck this item."""
    produced = story.produced[item]
    seed = story.seeds.get(produced.seed)
    kinds = seed.may_lose if seed else ()
    return any(one.name in kinds and one.touches(produced.begun, story.end, limits.grace) for one in story.strikes)


def crashes(story: Story, _: Limits) -> Iterator[Violation]:
    """No process of ours ends by itself."""
    by_process: defaultdict[str, list[Crashed]] = defaultdict(list)
    for one in of(Crashed, story.events):
        by_process[one.process].append(one)
    for process, ends in by_process.items():
        first = ends[0]
        yield Violation("crash", process, f"ended {len(ends)} times by itself, code {first.code}: {first.detail}")

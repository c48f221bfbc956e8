"""The checker of histories: each rule finds its violation, and lets pass what a fault on record explains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.history import (
    Command,
    Crashed,
    Dead,
    Delivered,
    Event,
    Fault,
    How,
    Left,
    Outcome,
    Produced,
    Recorder,
    Seed,
    Settled,
    read,
)
from tests.chaos.measures import measure, starved, too_few
from tests.chaos.report import Verdict, lines
from tests.chaos.story import Limits, Story

LIMITS = Limits(grace=1.0, aftermath=10.0, ack_timeout=10.0, attempt_limit=5, strikes=1)
NUMBERS = itertools.count()


def produced(at: float, *items: str, outcome: Outcome = "confirmed", seed: str = "s") -> Produced:
    """Items that a producer sent in a moment."""
    return Produced(at=at, party="p", seed=seed, items=items, begun=at, outcome=outcome, via="amqp")


def delivered(
    at: float,
    worker: str,
    *items: str,
    hold: str,
    batch: str = "b",
    attempt: int = 1,
    epoch: int = 1,
    flag: bool = False,
    transport: str = "amqp",
    seed: str = "s",
) -> Delivered:
    """A delivery to a worker's only process."""
    return Delivered(
        at=at,
        party=worker,
        hold=f"{worker}.1.{hold}",
        worker=worker,
        transport=transport,
        batch=batch,
        seed=seed,
        epoch=epoch,
        attempt=attempt,
        flag=flag,
        header=False,
        items=items,
    )


def settled(at: float, worker: str, hold: str, how: How = "acking", *items: str) -> Settled:
    """What a worker did with a delivery."""
    return Settled(at=at, party=worker, hold=f"{worker}.1.{hold}", how=how, items=items)


def fault(name: str, target: str, begun: float, ended: float) -> list[Event]:
    """A fault from its beginning to its end."""
    number = next(NUMBERS)
    return [
        Fault(at=begun, party="f", number=number, name=name, target=target, phase="begun"),
        Fault(at=ended, party="f", number=number, name=name, target=target, phase="ended"),
    ]


def command(at: float, name: str, target: str, status: int = 200, **numbers: int) -> Command:
    """A command that was answered after 0.1 s."""
    return Command(at=at, party="m", name=name, target=target, begun=at - 0.1, status=status, numbers=numbers)


def rules(*events: Event | Sequence[Event]) -> list[str]:
    """The rules that this history violates."""
    flat = [event for one in events for event in (one if isinstance(one, Sequence) else [one])]
    flat.append(Seed(at=0.0, party="m", seed="s", bound=5.0, may_lose=("queue-deleted",)))
    return [one.rule for one in check(Story(sorted(flat, key=lambda event: event.at)), LIMITS)]


TAKEN = [produced(1, "i"), delivered(2, "w", "i", hold="1"), settled(3, "w", "1")]


def test_nothing_is_wrong_with_an_item_that_was_taken() -> None:
    """Produced, delivered, acked."""
    assert rules(TAKEN) == []


@pytest.mark.parametrize(
    "events",
    [
        [produced(1, "i")],
        [produced(1, "i"), delivered(2, "w", "i", hold="1")],
        [produced(1, "i"), delivered(2, "w", "i", hold="1"), settled(3, "w", "1", "rejected")],
        [*TAKEN, settled(4, "w", "1", "given back", "i")],
        [*TAKEN, Settled(at=4, party="w", hold="w.spool", how="given back", items=("i",))],
    ],
    ids=["never delivered", "never acked", "rejected at last", "taken and given back", "given back from the spool"],
)
def test_a_confirmed_item_that_nobody_keeps_is_lost(events: list[Event]) -> None:
    """Whatever the last thing is that is known of it."""
    assert rules(events) == ["lost"]


def test_what_a_worker_was_about_to_give_back_and_found_again_in_its_spool_is_not_lost() -> None:
    """It was killed in between: its next process has the item; but if that gives it back too, nobody has."""
    found = Settled(at=5, party="w", hold="w.spool", how="acked", items=("i",))
    given = Settled(at=6, party="w", hold="w.spool", how="given back", items=("i",))
    assert rules(TAKEN, settled(4, "w", "1", "given back", "i"), found) == []
    assert rules(TAKEN, settled(4, "w", "1", "given back", "i"), found, given) == ["lost"]


def test_an_item_is_not_lost_that_is_dead_purged_struck_or_was_never_confirmed() -> None:
    """Each of these ends an item rightly, or it never began."""
    failures = ("a", "b", "c", "d", "e", "f")
    holds = [
        event
        for attempt in range(1, 7)
        for event in (
            delivered(attempt, "w", "i", hold=str(attempt), attempt=attempt),
            settled(attempt + 0.5, "w", str(attempt), "rejected"),
        )
    ]
    letter = Dead(at=9, batch="b", seed="s", what="batch", reason="", attempt=7, history=failures, items=("i",))
    assert rules(produced(0.5, "i"), holds, letter) == []
    assert rules(produced(1, "i"), command(2, "purge.seed", "s", purged=1)) == []
    assert rules(produced(1, "i"), fault("queue-deleted", "work", 2, 2)) == []
    assert rules(produced(1, "i", outcome="unknown")) == []


def test_an_item_that_still_waits_somewhere_is_stuck() -> None:
    """It is not lost, but nobody got it in all the time there was."""
    assert rules(produced(1, "i"), Left(at=9, queue="seed.s", messages=1)) == ["stuck"]


def test_what_nobody_sent_must_not_come() -> None:
    """Neither what is unknown, nor what a producer was told is not there."""
    delivery = [delivered(2, "w", "i", hold="1"), settled(3, "w", "1")]
    assert rules(delivery) == ["phantom"]
    assert rules(produced(1, "i", outcome="refused"), delivery) == ["phantom"]


def test_what_is_older_than_a_release_must_not_come_after_its_reply() -> None:
    """Not under the old epoch, however long after, and under no epoch until somebody resumes the seed."""
    end = settled(7, "w", "1")
    release = command(2, "release.seed", "s", epoch=2)
    resume = command(4, "resume.seed", "s")
    old, new = delivered(6, "w", "i", hold="1"), delivered(6, "w", "i", hold="1", epoch=2)
    assert rules(produced(1, "i"), release, resume, old, end) == ["stale"]
    assert rules(produced(1, "i"), release, resume, new, end) == []
    assert rules(produced(1, "i"), release, new, end) == ["stale"]
    held_up = fault("worker-stop", "w", 1.9, 5.9)
    assert rules(produced(1, "i"), release, resume, old, end, held_up) == []


def test_what_was_purged_must_not_come() -> None:
    """What was confirmed before a purge began is discarded by the time of its reply."""
    purge = command(2, "purge.seed", "s", purged=0)
    assert rules(produced(1, "i"), purge, delivered(4, "w", "i", hold="1"), settled(5, "w", "1")) == ["stale"]


AT_ONCE = [
    produced(1, "i"),
    delivered(2, "w", "i", hold="1"),
    delivered(3, "v", "i", hold="1", attempt=2),
    settled(4, "v", "1"),
    settled(5, "w", "1"),
]


def test_two_workers_hold_an_item_only_after_a_fault() -> None:
    """Of the worker that had it first, or of a coordinator or the broker."""
    assert rules(AT_ONCE) == ["at once", "attempt"]
    assert rules(AT_ONCE, fault("worker-stop", "w", 2.5, 4)) == []
    assert rules(AT_ONCE, fault("worker-stop", "v", 2.5, 4)) == ["at once", "attempt"]
    assert rules(AT_ONCE, command(2.6, "release.worker", "w")) == []
    assert rules(AT_ONCE, fault("coordinator-kill", "c", 1.5, 2)) == []
    assert rules(AT_ONCE, fault("memory-alarm", "node 0", 1.5, 2)) == ["at once", "attempt"]


def again(worker: str = "v", **told: bool) -> list[Event]:
    """The same item once more, after it was taken."""
    return [delivered(5, worker, "i", hold="9", **told), settled(6, worker, "9")]  # type: ignore[arg-type]


def test_a_repeat_must_be_marked() -> None:
    """Whatever went before; what was given back without fault is no repeat."""
    killed = fault("coordinator-kill", "c", 2, 3)
    assert rules(TAKEN, killed, again()) == ["unmarked"]
    assert rules(TAKEN, killed, again(flag=True)) == []
    given_back = [produced(1, "i"), delivered(2, "w", "i", hold="1"), settled(3, "w", "1", "given back", "i")]
    assert rules(given_back, again()) == []


def test_a_marked_copy_may_overtake_the_first_only_after_a_fault() -> None:
    """After one, two copies may be under way; without one there are no two. A worker that stands still sees late."""
    copies = [
        produced(1, "i"),
        delivered(2, "w", "i", hold="1", flag=True),
        settled(3, "w", "1"),
        delivered(5, "v", "i", hold="1"),
        settled(6, "v", "1"),
    ]
    assert rules(copies) == ["unmarked"]
    assert rules(copies, fault("coordinator-kill", "c", 1.5, 2)) == []
    assert rules(copies, fault("worker-stop", "v", 1.5, 4)) == []
    assert rules(copies, fault("worker-stop", "w", 1.5, 4)) == ["unmarked"]


def test_http_holds_end_by_themselves() -> None:
    """By their time-out, and by a release of their seed, which takes them back unbegun."""

    def twice(second: float, **told: int) -> list[Event]:
        return [
            produced(1, "i"),
            delivered(2, "w", "i", hold="1", transport="http"),
            delivered(second, "v", "i", hold="1", **told),  # type: ignore[arg-type]
            settled(second + 1, "v", "1"),
        ]

    assert rules(twice(12.0, attempt=2)) == []
    assert rules(twice(5.0, attempt=2)) == ["at once", "attempt"]
    released = [command(3, "release.seed", "s", epoch=2), command(3.5, "resume.seed", "s")]
    assert rules(twice(5.0, epoch=2), released) == []


def test_an_attempt_rises_only_by_a_failure() -> None:
    """Given back is none; the rest of a batch goes on with its attempt."""
    back = [produced(1, "i", "j"), delivered(2, "w", "i", "j", hold="1"), settled(3, "w", "1", "given back", "i", "j")]
    second = [delivered(4, "v", "i", "j", hold="1", attempt=2), settled(5, "v", "1")]
    assert rules(back, second) == ["attempt"]
    assert rules(back[:2], settled(3, "w", "1", "rejected"), second) == []
    rest = [
        produced(1, "i", "j"),
        delivered(2, "w", "i", "j", hold="1"),
        settled(2.5, "w", "1", "rejected"),
        delivered(3, "w", "i", "j", hold="2", attempt=2),
        settled(4, "w", "2", "acking", "i"),
        settled(4, "w", "2", "given back", "j"),
        delivered(5, "v", "j", hold="1", batch="b-1", attempt=2),
        settled(6, "v", "1"),
    ]
    assert rules(rest) == []


def test_only_what_failed_alone_and_often_is_dead() -> None:
    """The attempt limit, its history, and nothing beside it at the last offer."""
    early = Dead(at=9, batch="b", seed="s", what="batch", reason="", attempt=2, history=("a",), items=("poison",))
    assert rules(early) == ["dead"]
    stranger = Dead(at=9, batch="x", seed="s", what="page", reason="", attempt=0, history=(), items=())
    assert rules(stranger) == ["dead"]
    letter = Dead(
        at=9, batch="b", seed="s", what="batch", reason="", attempt=7, history=tuple("abcdef"), items=("poison",)
    )
    last = [
        produced(1, "poison"),
        delivered(6, "w", "poison", hold="1", attempt=6),
        *fault("poison", "w", 6.5, 6.5),
    ]
    beside = [produced(1, "i"), delivered(6.2, "w", "i", hold="2", batch="c"), *again(flag=True)]
    causes = fault("coordinator-kill", "c", 1, 2)
    assert rules(last, letter, causes) == []
    assert "dead" in rules(last, letter, causes, beside)


def test_purges_must_tell_how_much_they_discarded() -> None:
    """Neither less than is missing, nor more than there was."""
    assert rules(produced(1, "i", "j"), command(2, "purge.seed", "s", purged=1)) == ["purge"]
    assert rules(TAKEN, command(4, "purge.seed", "s", purged=1)) == ["purge"]
    assert rules(produced(1, "i", "j"), command(2, "purge.seed", "s", purged=2)) == []
    no_answer = command(3, "purge.seed", "s", status=0)
    assert rules(produced(1, "i", "j"), command(2, "purge.seed", "s", purged=1), no_answer) == ["purge"]
    later = produced(2.5, "k")
    assert rules(produced(1, "i", "j"), command(2, "purge.seed", "s", purged=2), later, no_answer) == []


def test_a_process_that_ends_by_itself_is_told() -> None:
    """However often, once."""
    assert rules(TAKEN, Crashed(at=4, process="c", code=1), Crashed(at=5, process="c", code=1)) == ["crash"]


def test_a_seed_that_waits_beyond_its_bound_is_starved() -> None:
    """Unless it rests, or a fault kept it from its turn."""

    def waits(*events: Event | Sequence[Event]) -> list[str]:
        flat = [event for one in events for event in (one if isinstance(one, Sequence) else [one])]
        flat += [produced(1, "i"), delivered(9, "w", "i", hold="1"), Seed(at=0.0, seed="s", bound=5.0)]
        return [one.rule for one in starved(Story(sorted(flat, key=lambda event: event.at)), LIMITS)]

    assert waits() == ["starved"]
    rest = [command(1.5, "release.seed", "s"), command(8, "resume.seed", "s")]
    assert waits(rest) == []
    assert waits(rest[0], command(3, "resume.seed", "s", status=0), rest[1]) == [], "nobody knows that it runs"
    never = [produced(8.5, "j"), delivered(20, "w", "k", hold="2", seed="other")]
    assert waits(rest, never) == [], "it may have been purged"
    assert waits(rest, never, Left(at=20, queue="seed.s", messages=1)) == ["starved"]
    assert waits(fault("coordinator-stop", "c", 2, 3)) == []


def test_figures_count_strikes_repeats_and_stalls() -> None:
    """A fault has struck when its target held something; a stall counts while something waits."""
    events = [
        Seed(at=0.0, seed="s", bound=5.0),
        produced(1, "i", "j"),
        delivered(2, "w", "i", hold="1"),
        *fault("worker-kill", "w", 3, 3),
        *fault("worker-cut", "v", 3.5, 3.5),
        delivered(6, "v", "i", hold="1", attempt=2),
        delivered(6.5, "v", "j", hold="2", batch="c"),
    ]
    figures = measure(Story(sorted(events, key=lambda event: event.at)))
    assert (figures.items, figures.repeats, figures.marked_by["attempt"]) == (2, 1, 1)
    kill, cut = figures.faults["worker-kill"], figures.faults["worker-cut"]
    assert (kill.struck, cut.struck) == (1, 0)
    assert kill.rehold == pytest.approx(3)
    assert cut.stall == pytest.approx(2.5)
    assert [one.subject for one in too_few(figures, ["worker-kill", "worker-cut", "broker-kill"], 1)] == [
        "worker-cut",
        "broker-kill",
    ]


def test_the_last_line_of_the_report_is_the_verdict() -> None:
    """With what repeats a run that failed, and the history of what it failed by."""
    story = Story([produced(1, "i")])
    violations = check(story, LIMITS)
    told = list(lines(Verdict(story, measure(story), violations), 7, "make chaos SEED=7"))
    assert told[-1] == "FAILED: seed 7: 1 lost"
    assert "to repeat: make chaos SEED=7" in told
    assert any("produced" in line and "items=('i',)" in line for line in told)
    good = Story(list(TAKEN))
    assert list(lines(Verdict(good, measure(good), []), 7, ""))[-1].startswith("PASSED: seed 7, 1 items")


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """In the order of time, whoever wrote it; a last line that a kill cut off is left out."""
    one, other = Recorder(tmp_path, "one"), Recorder(tmp_path, "other")
    other.write(Seed(at=2.0, seed="s", bound=1.0, may_lose=("x",)))
    one.write(Command(at=1.0, name="release.seed", target="s", begun=0.5, status=200, numbers={"epoch": 2}))
    one.write(Left(at=3.0, queue="q", messages=1))
    one.close()
    other.close()
    [path] = tmp_path.glob("one.*")
    path.write_bytes(path.read_bytes()[:-5])
    assert read(tmp_path) == [
        Command(at=1.0, party="one", name="release.seed", target="s", begun=0.5, status=200, numbers={"epoch": 2}),
        Seed(at=2.0, party="other", seed="s", bound=1.0, may_lose=("x",)),
    ]


def test_a_history_with_a_line_that_is_none_is_refused(tmp_path: Path) -> None:
    """Naming the file and the line."""
    (tmp_path / "x.jsonl").write_text('{"kind": "nothing"}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 1"):
        read(tmp_path)


def test_of_two_copies_one_may_have_failed_unseen() -> None:
    """After a fault of a coordinator, but not after one of some worker, the attempt may rise beside what was seen."""
    copies = [
        produced(1, "i"),
        delivered(6, "w", "i", hold="1", attempt=2, flag=True),
        settled(7, "w", "1"),
        delivered(8, "v", "i", hold="1", attempt=3, flag=True),
        settled(9, "v", "1"),
    ]
    assert rules(copies, fault("coordinator-kill", "c", 2, 3)) == []
    assert rules(copies, fault("worker-kill", "u", 2, 3)) == ["attempt"]

"""`python -m tests.chaos.prove`: plant each kind of violation in the coordinators, and see the checker catch it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from coordinator import logs
from tests.chaos import faults as kinds
from tests.chaos.broker import Broker
from tests.chaos.load import SEEDS, SMALL, SeedPlan
from tests.chaos.plants import STARVED
from tests.chaos.report import Verdict, describe, judge
from tests.chaos.run import run
from tests.chaos.story import Limits
from tests.chaos.world import Plan

SEED = 11


@dataclass(frozen=True, slots=True)
class Proof:
    """A planted violation, and what it takes to be seen.

    Attributes:
        name: of the proof.
        plant: what `plants.py` calls it; several with commas between.
        rules: each of these must be found violated.
        faults: without which it does not show.
        seconds: of load.
        commands: seconds between two commands.
        rejects: the share of batches that workers reject.
        busy: how much of their time the workers need for the load.
        rest: seconds that a released seed rests, at most.
        drain: seconds in which all must be worked off.
        seeds: which there are.
    """

    name: str
    plant: str
    rules: tuple[str, ...]
    faults: str = "none"
    seconds: float = 8.0
    commands: float = 0.0
    rejects: float = 0.0
    busy: float = 0.7
    rest: float = 1.5
    drain: float = 40.0
    seeds: tuple[SeedPlan, ...] = SEEDS


FEW = (SeedPlan("one", SMALL, share=4), SeedPlan("two", SMALL, commands=()))
PURGED = (SeedPlan("one", SMALL, commands=("purge.seed",)), SeedPlan("two", SMALL, commands=()))
IMPATIENT = (SeedPlan(STARVED, SMALL, bound=4.0, commands=()), SeedPlan("one", SMALL))

PROOFS = (
    Proof("nothing", "", ()),
    Proof("lose", "lose", ("lost",)),
    Proof("stale", "stale", ("stale",), commands=0.5, rest=4, seeds=FEW),
    Proof("twice", "twice", ("unmarked", "at once"), busy=2),
    Proof("unmarked", "unmarked", ("unmarked",), faults="kill-confirm-ack", seconds=12),
    Proof("attempts", "attempts", ("attempt",), commands=0.3),
    Proof("bury", "bury", ("dead",), rejects=0.05),
    Proof("starve", "starve", ("starved",), drain=4, seeds=IMPATIENT),
    Proof("purge", "purge", ("purge",), commands=0.5, busy=2, seeds=PURGED),
    Proof("resume", "resume", ("stale",), commands=0.3, busy=2, rest=4, seeds=FEW),
    Proof(
        "several",
        "lose,twice,attempts,bury",
        ("lost", "unmarked", "attempt", "dead"),
        seconds=5,
        commands=0.3,
        rejects=0.05,
        busy=1,
        seeds=FEW,
    ),
)


async def prove(proof: Proof, broker: Broker, folder: Path) -> Verdict:
    """Run with a planted violation and judge the history; the plan has few workers and no other fault."""
    limits = Limits(strikes=0)
    plan = Plan(
        folder=folder / proof.name,
        duration=proof.seconds,
        seed=SEED,
        coordinators=1,
        workers=5,
        rate=400,
        pause=1.0,
        commands=proof.commands,
        rejects=proof.rejects,
        plant=proof.plant,
        busy=proof.busy,
        rest=proof.rest,
        drain=proof.drain,
        seeds=proof.seeds,
        limits=limits,
    )
    await run(plan, kinds.chosen(proof.faults, len(broker)), broker, f"proof-{proof.name}")
    return judge(plan.folder / "history", limits, [])


async def prove_all(folder: Path, proofs: tuple[Proof, ...]) -> bool:
    """Prove each, tell of it in a line, and say whether all were caught."""
    is_good = True
    async with Broker() as broker:
        for proof in proofs:
            verdict = await prove(proof, broker, folder)
            is_proven = set(proof.rules) <= set(verdict.rules) if proof.plant else verdict.is_good
            is_good = is_good and is_proven
            found = {one.rule: one.text for one in reversed(verdict.violations) if one.rule in proof.rules}
            typer.echo(f"{'caught' if is_proven else 'MISSED'} {proof.name}: {found or dict(verdict.rules)}")
            if not is_proven:
                for one in verdict.violations[:3]:
                    typer.echo(f"  {one}")
                    for event in list(verdict.story.about(one.subject))[:30]:
                        typer.echo(f"    {describe(event)}")
    return is_good


def main(plants: str = "", folder: Path = Path(".cache/chaos/proofs")) -> None:
    """Prove that the checker catches each planted violation, and finds nothing where nothing is planted."""
    logs.configure("warning")
    wanted = plants.split(",") if plants else [proof.name for proof in PROOFS]
    chosen = tuple(proof for proof in PROOFS if proof.name in wanted)
    is_good = asyncio.run(prove_all(folder.resolve(), chosen))
    typer.echo("PROVEN: each planted violation was caught" if is_good else "FAILED: not all was caught")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    typer.run(main)

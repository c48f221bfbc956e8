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
from tests.chaos.report import Verdict, describe, judge
from tests.chaos.run import run
from tests.chaos.story import Limits
from tests.chaos.world import Plan

SEED = 11


@dataclass(frozen=True, slots=True)
class Proof:
    """A planted violation, and what it takes to be seen.

    Attributes:
        plant: its name in `plants.py`.
        rules: one of these must be found.
        faults: without which it does not show.
        seconds: of load.
        commands: seconds between two commands.
        rejects: the share of batches that workers reject.
        busy: how much of their time the workers need for the load.
        rest: seconds that a released seed rests, at most.
        drain: seconds in which all must be worked off.
        seeds: which there are.
    """

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

PROOFS = (
    Proof("", ()),
    Proof("lose", ("lost",)),
    Proof("stale", ("stale",), commands=1.5, busy=3, rest=4, seeds=FEW),
    Proof("twice", ("unmarked", "at once")),
    Proof("unmarked", ("unmarked",), faults="kill-confirm-ack", seconds=12),
    Proof("attempts", ("attempt",), commands=0.3),
    Proof("bury", ("dead",), rejects=0.05),
    Proof("starve", ("starved", "stuck"), drain=6),
    Proof("purge", ("purge",), commands=0.5, busy=2, seeds=PURGED),
    Proof("resume", ("stale",), commands=0.3, busy=2, rest=4, seeds=FEW),
)


async def prove(proof: Proof, broker: Broker, folder: Path) -> Verdict:
    """Run with a planted violation and judge the history; the plan has few workers and no other fault."""
    name = proof.plant or "nothing"
    limits = Limits(strikes=0)
    plan = Plan(
        folder=folder / name,
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
    await run(plan, kinds.chosen(proof.faults, len(broker)), broker, f"proof-{name}")
    return judge(plan.folder / "history", limits, [])


async def prove_all(folder: Path, proofs: tuple[Proof, ...]) -> bool:
    """Prove each, tell of it in a line, and say whether all were caught."""
    is_good = True
    async with Broker() as broker:
        for proof in proofs:
            verdict = await prove(proof, broker, folder)
            caught = [one for one in verdict.violations if one.rule in proof.rules]
            is_proven = bool(caught) if proof.plant else verdict.is_good
            is_good = is_good and is_proven
            found = f"{caught[0].rule}: {caught[0].subject}: {caught[0].text}" if caught else dict(verdict.rules)
            typer.echo(f"{'caught' if is_proven else 'MISSED'} {proof.plant or 'nothing planted'}: {found}")
            if not is_proven:
                for one in verdict.violations[:3]:
                    typer.echo(f"  {one}")
                    for event in list(verdict.story.about(one.subject))[:30]:
                        typer.echo(f"    {describe(event)}")
    return is_good


def main(plants: str = "", folder: Path = Path(".cache/chaos/proofs")) -> None:
    """Prove that the checker catches each planted violation, and finds nothing where nothing is planted."""
    logs.configure("warning")
    wanted = plants.split(",") if plants else [proof.plant for proof in PROOFS]
    chosen = tuple(proof for proof in PROOFS if proof.plant in wanted)
    is_good = asyncio.run(prove_all(folder.resolve(), chosen))
    typer.echo("PROVEN: each planted violation was caught" if is_good else "FAILED: not all was caught")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    typer.run(main)

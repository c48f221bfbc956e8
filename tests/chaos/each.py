"""`python -m tests.chaos.each`: each kind of fault alone, one after the other, and a table of what it did."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from coordinator import logs
from tests.chaos import faults as kinds
from tests.chaos.broker import Broker
from tests.chaos.report import Verdict, judge, lines
from tests.chaos.run import run
from tests.chaos.story import Limits
from tests.chaos.world import Plan

HEAD = (
    "| fault | nodes | items | repeats | caused | struck | stall | a seed | rehold | verdict |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def row(fault: kinds.Fault, nodes: int, verdict: Verdict) -> str:
    """A line of the table, in Markdown; the columns are those of a run's report."""
    figures = verdict.figures
    cells = [f"`{fault.name}`", nodes, f"{figures.items:,}", f"{figures.repeats:,}"]
    if one := figures.faults.get(fault.name):
        rehold = "" if one.rehold is None else f"{one.rehold:.2f}"
        cells += [one.faults, one.struck, f"{one.stall:.2f}", f"{one.seed_stall:.2f}", rehold]
    else:
        cells += [0, 0, "", "", ""]
    rules = ", ".join(f"{count} {rule}" for rule, count in verdict.rules.most_common())
    return f"| {' | '.join(str(cell) for cell in (*cells, rules or 'passed'))} |"


async def cause(fault: kinds.Fault, broker: Broker, plan: Plan) -> Verdict:
    """Run with one kind of fault, and judge the history."""
    await run(plan, [fault], broker, f"each-{fault.name}")
    return judge(plan.folder / "history", plan.limits, [fault.name])


async def cause_each(faults: list[kinds.Fault], folder: Path, duration: float, seed: int, limits: Limits) -> bool:
    """Cause each alone, those that need no cluster on one node; print the table, and say whether all passed."""
    typer.echo("\n".join(HEAD))
    failed: list[tuple[str, Verdict]] = []
    for nodes in sorted({fault.nodes for fault in faults}):
        async with Broker(nodes) as broker:
            for fault in [one for one in faults if one.nodes == nodes]:
                plan = Plan(folder=folder / fault.name, duration=duration, seed=seed, limits=limits)
                verdict = await cause(fault, broker, plan)
                typer.echo(row(fault, nodes, verdict))
                if not verdict.is_good:
                    failed.append((fault.name, verdict))
    for name, verdict in failed:
        for line in lines(verdict, seed, f"python -m tests.chaos.each --faults {name} --seed {seed}"):
            typer.echo(line)
    return not failed


def main(
    *,
    duration: Annotated[float, typer.Option(help="Seconds of load for each kind.")] = 75.0,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 7,
    faults: Annotated[str, typer.Option(help="all, a lane, or kinds with commas between.")] = "all",
    strikes: Annotated[int, typer.Option(help="How often each must strike.")] = 3,
    folder: Annotated[Path, typer.Option(help="Takes histories and logs.")] = Path(".cache/chaos/each"),
) -> None:
    """Cause each kind of fault alone, and say of each how long work stood still."""
    logs.configure("warning")
    try:
        chosen = kinds.chosen(faults, nodes=3)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    is_good = asyncio.run(cause_each(chosen, folder.resolve(), duration, seed, Limits(strikes=strikes)))
    typer.echo("PASSED: each kind of fault alone" if is_good else "FAILED")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    typer.run(main)

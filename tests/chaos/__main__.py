"""`python -m tests.chaos`: one run, its report, and its verdict as the last line and the exit code."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from coordinator import logs
from tests.chaos import faults as kinds
from tests.chaos import plants, series
from tests.chaos.broker import Broker
from tests.chaos.report import judge, lines
from tests.chaos.run import run
from tests.chaos.story import Limits
from tests.chaos.world import Plan

ROWS = 60
"""Rows of the series, over the whole run."""
FULL = 300.0
"""A run of so many seconds or more must strike with each fault as often as a full one."""


def main(  # noqa: PLR0913 - the options
    *,
    duration: Annotated[float, typer.Option(help="Seconds of load and faults.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 7,
    faults: Annotated[str, typer.Option(help="all, none, a lane, or kinds with commas between.")] = "all",
    nodes: Annotated[int, typer.Option(help="Broker nodes: 1 or 3.")] = 1,
    coordinators: Annotated[int, typer.Option(min=1)] = 3,
    workers: Annotated[int, typer.Option(min=1)] = 8,
    rate: Annotated[float, typer.Option(help="Items a second.")] = 600.0,
    busy: Annotated[
        float, typer.Option(help="The share of their time that workers need; above 1 they fall behind.")
    ] = 0.7,
    pause: Annotated[
        float, typer.Option(help="Seconds between two faults of a lane, the broker's six times longer.")
    ] = 1.0,
    sure: Annotated[str, typer.Option(help="The faults that must strike; all that are caused, if none is named.")] = "",
    strikes: Annotated[int, typer.Option(help="How often each fault must strike; -1: 5 in a full run.")] = -1,
    poison: Annotated[int, typer.Option(help="Deadly items; -1: as many as there is time for.")] = -1,
    plant: Annotated[str, typer.Option(help="Have the coordinators commit this violation.")] = "",
    folder: Annotated[Path, typer.Option(help="Takes history and logs; emptied first.")] = Path(".cache/chaos"),
) -> None:
    """Load a coordinator's whole system, break it, and check that every promise was kept."""
    logs.configure("info")
    try:
        meant = kinds.chosen(faults, nodes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if plant and plant not in plants.PLANTS:
        raise typer.BadParameter(f"there are {', '.join(plants.PLANTS)}")
    least = strikes if strikes >= 0 else (5 if duration >= FULL else 1)
    plan = Plan(
        folder=folder.resolve() / str(seed),
        duration=duration,
        seed=seed,
        coordinators=coordinators,
        workers=workers,
        rate=rate,
        busy=busy,
        pause=pause,
        poison=poison if poison >= 0 else int(duration // 120),
        plant=plant,
        limits=Limits(strikes=least),
    )
    asyncio.run(_run(plan, meant, nodes))
    verdict = judge(plan.folder / "history", plan.limits, sure.split(",") if sure else [fault.name for fault in meant])
    table = list(series.rows(verdict.story.events, duration / ROWS))
    (plan.folder / "series.csv").write_text(series.to_csv(table))
    typer.echo("use: " + (", ".join(series.growth(table)) or "too short a run to tell"))
    for line in lines(verdict, seed, "python " + shlex.join(["-m", "tests.chaos", *sys.argv[1:]])):
        typer.echo(line)
    raise typer.Exit(0 if verdict.is_good else 1)


async def _run(plan: Plan, faults: list[kinds.Fault], nodes: int) -> None:
    async with Broker(nodes) as broker:
        await run(plan, faults, broker, "chaos")


if __name__ == "__main__":
    typer.run(main)

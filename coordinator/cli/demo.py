"""`coordinator demo`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coordinator.cli.common import examples
from coordinator.demo.crawl import default_root, run_demo, show_ledger
from coordinator.demo.crew import DemoFailedError

app = typer.Typer()


@app.command(epilog=examples("coordinator demo", "coordinator demo ~/Documents"))
def demo(
    path: Annotated[
        Path | None,
        typer.Argument(help="The folder to crawl. The default is a large folder of this machine."),
    ] = None,
) -> None:
    """Crawl a real folder, kill a worker and release the seed meanwhile, and account for every item."""
    if path is not None and not path.exists():
        raise typer.BadParameter(f"{path} does not exist")
    console = Console(highlight=False)
    root = default_root() if path is None else str(path.resolve())
    ledger = asyncio.run(run_demo(root, console))
    show_ledger(ledger, console)
    if not ledger.is_clean:
        raise DemoFailedError("the ledger does not balance")

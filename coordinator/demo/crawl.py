"""The demo from start to end."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from coordinator.demo.broker import a_broker
from coordinator.demo.crew import Crew, DemoFailedError, coordinating, insist, listening
from coordinator.demo.ledger import Entry, Ledger, Outcome, balance, hash_anew, list_entries
from coordinator.demo.pace import pace
from coordinator.demo.stages import Report, Stage, kill_a_worker, release_and_resume, serve_a_tag, take_a_fair_turn
from coordinator.local_rabbitmq.config import FIGURES_LAG
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.models import Item, SeedSpec
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from worker_stub.filesystem import item_of, list_tree

LEAST = 10_000
CANDIDATES = ("/usr/share", "/usr/lib", "/usr", "/Library", "/opt")
STALL = 30.0
SAMPLE = 200
WORKERS = 3
SMALL = 10
FEWEST = 300
"""The fewest entries with which the demo shows anything."""
BATCHES = 100
"""The fewest batches of a crawl, so that the workers never hold all of them at the same time."""
TAG = "demo"
MOST_MEDIA = 12


def default_root() -> str:
    """A folder of this machine with ten thousand entries, else the largest of the candidates."""
    sizes: dict[str, int] = {}
    for candidate in filter(os.path.isdir, CANDIDATES):
        sizes[candidate] = sum(1 for _ in islice(list_tree(candidate), LEAST))
        if sizes[candidate] == LEAST:
            break
    return max(sizes, key=sizes.__getitem__, default="/")


async def run_demo(root: str, console: Console) -> Ledger:
    """Crawl a real folder, and kill a worker and release the seed meanwhile.

    Args:
        root: an absolute path.
        console: prints progress and the ledger.

    Raises:
        DemoFailedError: the tree is too small, a stage had no effect, or the crawl stopped.
        PrivateBrokerError: the broker could not be started.
    """
    begun = time.monotonic()

    def report(text: str) -> None:
        console.print(Text(f"[{time.monotonic() - begun:5.1f} s] ").append(text))

    entries = await _list(root, report)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coordinator-demo-")))
        report("starting a broker, a coordinator and three workers")
        settings = _settings(await stack.enter_async_context(a_broker(Settings())), folder)
        node = Coordinator(settings)
        url = await stack.enter_async_context(coordinating(node))
        results = await stack.enter_async_context(listening(settings.amqp_urls()))
        extra = pace(len(entries), WORKERS)
        if extra:
            report(
                f"a small tree: the workers take {extra * 1000:.0f} ms longer for each item, so that the crawl lasts"
            )
        crew = Crew(folder, url, extra)
        stack.push_async_callback(crew.dismiss)
        await crew.hire("worker-1")
        await crew.hire("worker-2", "--ack", "taken")
        await crew.hire("worker-3", "--tags", TAG)
        stage = Stage(node, crew, results, settings.amqp_urls(), root, report)
        await _crawl(stage, entries, console)
    return await asyncio.to_thread(_close_the_books, entries, results.of(root))


async def _list(root: str, report: Report) -> dict[str, Entry]:
    report(f"listing {root}")
    entries = await asyncio.to_thread(list_entries, root)
    files = [entry for entry in entries.values() if entry.is_file]
    report(f"listed {len(entries)} entries, {len(files)} of them files with {decimal(sum(one.size for one in files))}")
    if len(entries) < FEWEST:
        raise DemoFailedError(f"the tree {root} is too small: the demo needs at least {FEWEST} entries")
    return entries


def _settings(urls: BrokerUrls, folder: Path) -> Settings:
    return Settings(
        amqp_url=SecretStr(urls.amqp),
        management_url=SecretStr(urls.management),
        broker_tick=FIGURES_LAG,
        home=folder,
        tokens=SecretStr(""),
        tokens_file=folder / "tokens.json",
    )


async def _crawl(stage: Stage, entries: dict[str, Entry], console: Console) -> None:
    """Submit the root, and run each stage at its point of the crawl."""
    total = len(entries)
    spec = SeedSpec(batch_size=min(SeedSpec().batch_size, total // BATCHES))
    await insist(lambda: stage.node.session.catalog.set(stage.seed, spec), "its batch size is set")
    await stage.submit(stage.seed, [item_of(stage.seed, "scan")])
    stage.report("submitted the root; the workers discover the rest")
    few: list[Item] = [entry.item for entry in islice((one for one in entries.values() if one.is_file), SMALL)]
    columns = (SpinnerColumn(), TextColumn("crawl"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("crawl", total=total)
        watching = asyncio.create_task(_show(stage, progress, bar))
        try:
            await _reach(stage, total // 20)
            await kill_a_worker(stage, "worker-1")
            await _reach(stage, total // 6)
            await take_a_fair_turn(stage, few, "medium")
            await _crew_up(stage)
            await _reach(stage, total // 3)
            await release_and_resume(stage)
            await _reach(stage, total)
        finally:
            watching.cancel()
    stage.report(f"the crawl is finished: {stage.done} of {total} entries")
    await serve_a_tag(stage, few, TAG, "worker-3")


async def _crew_up(stage: Stage) -> None:
    """A new worker takes the place of the one that was killed."""
    await stage.crew.hire("worker-4")
    stage.report("hired worker-4 in its place")


async def _show(stage: Stage, progress: Progress, bar: TaskID) -> None:
    while True:
        progress.update(bar, completed=stage.done)
        await asyncio.sleep(0.1)


async def _reach(stage: Stage, goal: int) -> None:
    """Wait until this many items are done. Stop after half a minute without one: the ledger shows what is missing."""
    seen, at = stage.done, time.monotonic()
    while stage.done < goal:
        if stage.done != seen:
            seen, at = stage.done, time.monotonic()
        if time.monotonic() - at > STALL:
            return
        await asyncio.sleep(0.02)


def _close_the_books(entries: dict[str, Entry], outcomes: dict[str, Outcome]) -> Ledger:
    ledger = balance(entries, outcomes)
    for ident, agrees in hash_anew(entries, outcomes, SAMPLE):
        ledger.hashed += 1
        if not agrees:
            ledger.differing.append(ident)
    return ledger


def show_ledger(ledger: Ledger, console: Console) -> None:
    """Print the account."""
    table = Table(title="Ledger", show_header=True)
    table.add_column("")
    table.add_column("listed", justify="right")
    table.add_column("crawled", justify="right")
    table.add_row("items", f"{ledger.expected}", f"{ledger.done}")
    table.add_row("files", f"{ledger.files_listed}", f"{ledger.files_done}")
    table.add_row("bytes", f"{ledger.bytes_listed}", f"{ledger.bytes_done}")
    console.print(table)
    media = Table(title="By media type")
    media.add_column("type")
    media.add_column("files", justify="right")
    media.add_column("size", justify="right")
    shown = ledger.media.most_common(MOST_MEDIA)
    for name, count in shown:
        media.add_row(name, f"{count}", decimal(ledger.media_bytes[name]))
    rest = ledger.media.total() - sum(count for _, count in shown)
    if rest:
        rest_bytes = ledger.media_bytes.total() - sum(ledger.media_bytes[name] for name, _ in shown)
        media.add_row(f"{len(ledger.media) - len(shown)} others", f"{rest}", decimal(rest_bytes))
    console.print(media)
    console.print(
        f"expected {ledger.expected}, done {ledger.done} ({ledger.failed} of them unreadable or gone), "
        f"lost {len(ledger.lost)}, delivered again {ledger.again}; "
        f"{ledger.hashed} random files hashed again, {len(ledger.differing)} differ"
    )
    for name, idents in (("lost", ledger.lost), ("not listed", ledger.strange), ("differs", ledger.differing)):
        for ident in idents[:MOST_MEDIA]:
            console.print(Text(f"  {name}: {ident}"))

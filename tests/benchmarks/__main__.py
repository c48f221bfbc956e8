"""`make bench`: run the benchmarks, and write what came of it to docs/benchmarks."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from tests.benchmarks import report
from tests.benchmarks.bed import OURS, PEER_PYTHON, ROOT, Bed
from tests.benchmarks.profiles import table

BENCHES = ("dispatch", "worker", "end_to_end", "http", "latency", "releases", "growth", "fairness")


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def measure(name: str, options: argparse.Namespace) -> list[report.Outcome]:
    """Run one benchmark on a broker of its own."""
    say(f"{name}:")
    module = importlib.import_module(f"tests.benchmarks.benches.{name}")
    if options.profile:
        await profile(name, module, options)
        return []
    async with Bed.made() as at:
        outcomes: list[report.Outcome] = await module.run(at, options.rounds, quick=options.quick, say=say)
        quick = " --quick" if options.quick else ""
        command = f"make bench BENCH={name} BENCH_ARGS='--rounds {options.rounds}{quick}'"
        report.write(options.results, name, outcomes, at.version, command)
    return outcomes


async def profile(name: str, module: ModuleType, options: argparse.Namespace) -> None:
    """Run a benchmark once while our programs are sampled; its figures do not count."""
    with tempfile.TemporaryDirectory() as folder:
        async with Bed.made(Path(folder)) as at:
            await module.run(at, 1, quick=True, say=say)
        for program in OURS:
            files = sorted(Path(folder).glob(f"{program}-*.samples"))
            stacks = [line for file in files for line in file.read_text().splitlines()]
            if stacks:
                out = options.results / "profiles" / f"{name}-{program}.txt"
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(table(stacks, f"{name}, {program}"))
                say(f"  wrote {out}")


def main() -> None:
    """Read the arguments, measure, draw."""
    there = [name for name in BENCHES if (Path(__file__).parent / "benches" / f"{name}.py").exists()]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="BENCH", help=f"which; all by default: {', '.join(there)}")
    parser.add_argument("--quick", action="store_true", help="smaller runs, by default of one turn, so without a range")
    parser.add_argument("--rounds", type=int, help="turns of each contender (default 3)")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "benchmarks", help="folder for the results")
    parser.add_argument("--profile", action="store_true", help="sample our programs instead, into profiles/")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    if unknown := set(options.names).difference(there):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # connections are closed on purpose
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in options.names or there:
        for outcome in asyncio.run(measure(name, options)):
            mark = {True: "met", False: "MISSED", None: ""}[outcome.met]
            spread = f"{outcome.lowest:g} to {outcome.highest:g}"
            say(f"{outcome.name}: {outcome.ratio:g} ({spread}) {outcome.goal or ''} {mark}")
    if options.profile:
        return
    plot = [str(PEER_PYTHON / "python"), "-m", "tests.benchmarks.plot", str(options.results)]
    subprocess.run(plot, cwd=ROOT, check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    main()

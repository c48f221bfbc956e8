"""Runs the suite many times while one core is busy, and tells which tests failed, how often, and where their text is.

`make test-repeat` calls this. Nothing is run again because it failed: each run is a run of everything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "test-repeat"
BUSY = """
import os
parent = os.getppid()
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
"""Keeps one core busy until its parent is gone, also where the parent is killed and can end nothing."""

NO_TESTS = 5
"""The exit code of pytest for a run in which no test was found."""


@dataclass(frozen=True)
class Run:
    """What one run of the suite came to."""

    number: int
    passed: int
    failed: tuple[str, ...]
    """The ids of tests."""
    seconds: float
    code: int
    log: Path

    @property
    def is_good(self) -> bool:
        """Return whether everything passed; a run that ended without a report did not."""
        return self.code == 0 and not self.failed


def read_report(text: str) -> tuple[int, tuple[str, ...]]:
    """Return how many tests passed, and the ids of those that failed, of a report in JUnit's format.

    A test that fails and whose teardown fails too is in the report twice; it is one failed test.
    """
    passed: set[str] = set()
    failed: set[str] = set()
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314 - pytest on this machine wrote it
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is None:
            passed.add(name)
    return len(passed - failed), tuple(sorted(failed))


def table(runs: Sequence[Run]) -> str:
    """Return a table of the tests that failed: how often, in which runs, and the logs of these runs."""
    tests = sorted({test for run in runs for test in run.failed})
    lines = ["| test | failed | in runs | logs |", "|---|---|---|---|"]
    for test in tests:
        those = [run for run in runs if test in run.failed]
        numbers = ", ".join(str(run.number) for run in those)
        logs = ", ".join(str(run.log) for run in those)
        lines.append(f"| {test} | {len(those)} of {len(runs)} | {numbers} | {logs} |")
    lines += [
        f"| (the run itself, exit code {run.code}) | 1 of {len(runs)} | {run.number} | {run.log} |"
        for run in runs
        if run.code and not run.failed
    ]
    if len(lines) == 2:
        return f"No test failed in {len(runs)} runs."
    return "\n".join(lines)


@contextlib.contextmanager
def busy_core() -> Iterator[int]:
    """Keep one core busy; gives the process that does so."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:  # noqa: S603 - our own
        try:
            assert busy.stdout is not None
            if busy.stdout.readline() != b"busy\n":
                raise RuntimeError("the process that keeps a core busy did not start")
            yield busy.pid
            if busy.poll() is not None:
                raise RuntimeError(f"the process that keeps a core busy ended by itself, code {busy.returncode}")
        finally:
            busy.kill()


def run_once(number: int, arguments: Sequence[str], folder: Path) -> Run:
    """Run the suite; what it prints, with the text of each failure, is in a log."""
    log, report = folder / f"{number}.log", folder / f"{number}.xml"
    begun = time.monotonic()
    order = [sys.executable, "-m", "pytest", "-q", *arguments, f"--junit-xml={report}"]
    with log.open("wb") as output:
        code = subprocess.run(order, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603 - pytest
    passed, failed = read_report(report.read_text()) if report.exists() else (0, ())
    return Run(number, passed, failed, time.monotonic() - begun, code, log)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite as often as asked, print what came of each run, and the table; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="test-repeat", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how often to run everything")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the logs go; emptied first")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    given = parser.parse_args(arguments)
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    runs: list[Run] = []
    with busy_core() as pid:
        say(f"process {pid} keeps one of {os.cpu_count()} cores busy; logs are in {given.folder}")
        for number in range(1, given.runs + 1):
            run = run_once(number, given.pytest, given.folder)
            runs.append(run)
            ended = f", exit code {run.code}" if run.code not in {0, 1} else ""
            counts = f"{run.passed} passed, {len(run.failed)} failed"
            say(f"run {number} of {given.runs}: {counts}, {run.seconds:.0f} s{ended}")
            if run.code == NO_TESTS:
                break
    say("\n" + table(runs))
    return 0 if all(run.is_good for run in runs) else 1


def say(text: str) -> None:
    """Print a line at once, for a run takes minutes."""
    print(text, flush=True)  # noqa: T201 - the report of this program


if __name__ == "__main__":
    sys.exit(main())

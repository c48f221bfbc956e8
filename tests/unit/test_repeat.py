"""What `make test-repeat` makes of the runs' reports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repeat import ROOT, Run, busy_core, main, read_report, table

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.unit.test_a" name="test_good" time="0.1" />
<testcase classname="tests.unit.test_a" name="test_skipped"><skipped message="no broker" /></testcase>
<testcase classname="tests.unit.test_a" name="test_bad[x-1]"><failure message="m">assert 1 == 2</failure></testcase>
<testcase classname="tests.unit.test_a" name="test_bad[x-1]"><error message="m">teardown too</error></testcase>
<testcase classname="tests.unit.test_b" name="test_setup"><error message="failed on setup">no broker</error></testcase>
</testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def _bare_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a small suite need no plugins, which take longer to load than the suite."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(number: int, *failed: str, code: int | None = None) -> Run:
    """A run in which these tests failed."""
    return Run(number, 7, failed, 1.0, bool(failed) if code is None else code, Path(f"{number}.log"))


def test_a_report_is_read() -> None:
    """A test counts once; what was skipped has neither passed nor failed."""
    wanted = ("tests/unit/test_a.py::test_bad[x-1]", "tests/unit/test_b.py::test_setup")
    assert read_report(REPORT) == (1, wanted)


def test_the_table_tells_how_often_and_where() -> None:
    """Each test that failed has one row, with its runs and their logs."""
    assert table([run(1, "a", "b"), run(2), run(3, "a")]).splitlines()[2:] == [
        "| a | 2 of 3 | 1, 3 | 1.log, 3.log |",
        "| b | 1 of 3 | 1 | 1.log |",
    ]


def test_a_run_that_breaks_off_is_in_the_table() -> None:
    """A run without a report, as when pytest itself is killed, has not passed."""
    assert not run(1, code=-9).is_good
    assert table([run(1, code=-9), run(2)]).splitlines()[2:] == [
        "| (the run itself, exit code -9) | 1 of 2 | 1 | 1.log |"
    ]


def test_nothing_failed() -> None:
    """The table says so in a sentence."""
    assert table([run(1), run(2)]) == "No test failed in 2 runs."


@pytest.mark.parametrize(("body", "code"), [("assert True", 0), ("assert 1 == 2, 'a reason'", 1)])
def test_whole_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, code: int) -> None:
    """Every run is reported; the exit code and the logs tell of failures."""
    suite = tmp_path / "test_it.py"
    suite.write_text(f"def test_it():\n    {body}\n")
    logs = tmp_path / "logs"
    options = ["--folder", str(logs), "--runs", "2", "--", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    assert main([*options, "-c", os.devnull, str(suite)]) == code
    printed = capsys.readouterr().out
    assert f"run 2 of 2: {1 - code} passed, {code} failed" in printed
    assert ("| 2 of 2 | 1, 2 |" in printed) == bool(code)
    assert ("a reason" in (logs / "2.log").read_text()) == bool(code)


def test_a_run_that_finds_no_test_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt TESTS= must not look like twenty good runs."""
    (tmp_path / "test_none.py").write_text("")
    options = ["--folder", str(tmp_path / "logs"), "--", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    assert main([*options, "-c", os.devnull, str(tmp_path)]) == 1
    assert "(the run itself, exit code 5) | 1 of 1" in capsys.readouterr().out


def test_the_core_is_busy_and_the_process_ends() -> None:
    """It runs on one core as long as it is wanted."""
    with busy_core() as pid:
        if hasattr(os, "sched_getaffinity"):
            assert len(os.sched_getaffinity(pid)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_busy_process_ends_with_a_killed_parent() -> None:
    """A core that stayed busy would slow down whatever runs on this machine later."""
    program = (
        "import os, signal\nfrom tests.helpers.repeat import busy_core\n"
        "with busy_core() as pid:\n    print(pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # It holds the pipe of errors too, so this ends only once that process is gone, and fails when its time is up.
    order = [sys.executable, "-c", program]
    ended = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own
    assert (ended.returncode, ended.stdout.strip().isdigit()) == (-signal.SIGKILL, True), ended

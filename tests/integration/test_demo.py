"""The demo, whole, on a tree of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("broker")]

FOLDERS, FILES = 120, 100


async def test_demo(tmp_path: Path) -> None:
    """Each stage has its effect, the ledger balances to the byte, and the exit code says so."""
    tree = tmp_path / "tree"
    for folder in range(FOLDERS):
        (tree / f"{folder:03}").mkdir(parents=True)
        for file in range(FILES):
            (tree / f"{folder:03}" / f"{file}.txt").write_text(f"{folder}-{file}\n" * (file + 1))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coordinator", "demo", str(tree)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", "TMPDIR": str(tmp_path)},
    )
    async with asyncio.timeout(200):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    total = 1 + FOLDERS + FOLDERS * FILES
    assert f"expected {total}, done {total} (0 of them unreadable or gone), lost 0" in output
    assert re.search(r"killed worker-1 \(SIGKILL\).*\n.*worker-1 → worker-\d  attempt 2", output), output
    assert re.search(r"released the seed: [1-9]\d* items taken out of [1-9]\d* unsent batches", output), output
    assert "a small seed of 10 items" in output
    assert "were done by worker-3 alone" in output
    assert "200 random files hashed again, 0 differ" in output
    assert left_in(tmp_path) == ["tree"]


def left_in(folder: Path) -> list[str]:
    """What a folder holds."""
    return [path.name for path in folder.iterdir()]

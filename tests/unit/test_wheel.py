"""The static files: the wheel holds them, and those of others are unchanged."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ("coordinator/http/dashboard/static", "coordinator/http/static")


def test_vendored_files_are_unchanged() -> None:
    """Each file that is not ours has the hash that stands beside it."""
    folder = ROOT / STATIC[1]
    hashes = re.findall(r"^([0-9a-f]{64})  (\S+)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert {name for _, name in hashes} == {one.name for one in folder.glob("swagger-ui*") if one.suffix != ".txt"}
    for digest, name in hashes:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_the_wheel_holds_the_static_files(tmp_path: Path) -> None:
    """Every file that is served is in the wheel that the image is made of."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own program
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in STATIC:
        assert {f"{folder}/{file.name}" for file in (ROOT / folder).iterdir()} <= names

"""What is installed: the dashboard's files are part of it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "coordinator" / "http" / "dashboard" / "static"


def test_the_wheel_holds_the_dashboard(tmp_path: Path) -> None:
    """Every file of the page is in the wheel that the image is made of."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own program
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"coordinator/http/dashboard/static/{file.name}" for file in STATIC.iterdir()} <= names

"""A coordinator as a child of the chaos run: `coordinator serve`, with what the run adds to it from outside.

`python -m tests.chaos.coordinator serve`. Without the variables below it is `python -m coordinator serve`:

CHAOS_TRIGGERS: a folder; a file there, named after a point of `points.py`, kills the first coordinator to pass it,
    and the number in the file `clock` is added to what coordinators take for the time.
CHAOS_HISTORY: the folder of the history, for samples of what the process uses.
CHAOS_NAME: the process's name there.
CHAOS_PLANT: names of violations of `plants.py`, with commas between, that this coordinator shall commit.
"""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.cli import main
from tests.chaos import plants, points, samples
from tests.chaos.history import Recorder


def prepare() -> None:
    """Add what the variables ask for."""
    name, history = os.environ.get("CHAOS_NAME", "coordinator"), os.environ.get("CHAOS_HISTORY")
    recorder = Recorder(Path(history), name) if history else None
    if triggers := os.environ.get("CHAOS_TRIGGERS"):
        points.arm(Path(triggers), recorder, name)
    for plant in filter(None, os.environ.get("CHAOS_PLANT", "").split(",")):
        plants.PLANTS[plant]()
    if recorder is not None:
        samples.begin(recorder, name)


if __name__ == "__main__":
    prepare()
    main()

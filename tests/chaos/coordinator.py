"""A coordinator as a child of the run: `coordinator serve`, with what the run adds to it from outside.

`python -m tests.chaos.coordinator serve`, with in the environment

CHAOS_NAME: the process's name in the history.
CHAOS_HISTORY: the folder of the history, for samples of what the process uses; `accounts` beside it takes its account.
CHAOS_TRIGGERS: a folder; a file there, named after a point of `points.py`, kills the first coordinator to pass it,
    and the number in the file `clock` is added to what coordinators take for the time.
CHAOS_PLANT: names of violations of `plants.py`, with commas between, that this coordinator shall commit.
"""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.cli import main
from tests.chaos import accounts, plants, points, samples
from tests.chaos.history import Recorder
from tests.chaos.points import Triggers


def prepare() -> None:
    """Add what the variables ask for."""
    name = os.environ["CHAOS_NAME"]
    recorder = Recorder(Path(os.environ["CHAOS_HISTORY"]), name)
    points.arm(Triggers(Path(os.environ["CHAOS_TRIGGERS"]), recorder, name))
    for plant in filter(None, os.environ["CHAOS_PLANT"].split(",")):
        plants.PLANTS[plant]()
    accounts.keep(Path(os.environ["CHAOS_HISTORY"]).parent / "accounts", name)
    samples.begin(recorder, name)


if __name__ == "__main__":
    prepare()
    main()

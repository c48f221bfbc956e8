"""How much each worker has in hand at the moment, so that faults come when there is work to strike.

A file for each worker, with a number that it overwrites: the history would tell as much, but has to be read from its
beginning.
"""

from __future__ import annotations

import os
from pathlib import Path

DIGITS = 6


class Hands:
    """What one worker has in hand, as it tells itself."""

    def __init__(self, folder: Path, worker: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / worker, os.O_WRONLY | os.O_CREAT, 0o600)
        self.hold(0)

    def hold(self, batches: int) -> None:
        """Tell how many batches it holds now."""
        os.pwrite(self._file, b"%0*d" % (DIGITS, batches), 0)


def hands_beside(history: Path) -> Path:
    """The folder of these files, for a run whose history is there."""
    return history.parent / "hands"


def in_hand(folder: Path, worker: str) -> int:
    """How many batches a worker holds; 0 where it has told nothing yet."""
    try:
        return int((folder / worker).read_text() or 0)
    except FileNotFoundError:
        return 0

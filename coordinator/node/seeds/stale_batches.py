"""Counts the batches of released and purged seeds that were found outside of their seed's queue."""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.models import Batch


@dataclass(slots=True)
class Swept:
    """What was found of one seed: items made available again, items discarded, and the ids of their batches."""

    returned: int = 0
    discarded: int = 0
    batches: list[str] = field(default_factory=list)

    def add(self, batch: Batch, *, is_kept: bool) -> None:
        """Count a batch that was made available again, or else discarded."""
        if is_kept:
            self.returned += batch.count
        else:
            self.discarded += batch.count
        self.batches.append(batch.id)

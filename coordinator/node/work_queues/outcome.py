"""What became of a batch that was to be published."""

from __future__ import annotations

from enum import Enum, auto

from coordinator.errors import CoordinatorError, QueueFullError, QueueSilentError


class Outcome(Enum):
    """How publishing a batch ended."""

    PUBLISHED = auto()
    """The broker confirmed it into its work queue."""
    STALE = auto()
    """Its seed was released or purged: it was not published."""
    FULL = auto()
    """The work queue refused it."""
    SILENT = auto()
    """The work queue confirms nothing: the batch may have arrived or not."""
    LOST = auto()
    """The connection is gone: the session ends, and the broker redelivers what was not acked."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the batch must be marked as redelivered when it is published again."""
        return self is Outcome.SILENT


def outcome_of(error: CoordinatorError | None) -> Outcome:
    """The outcome that an error of the work queue's channel means; no error means that it confirmed."""
    match error:
        case None:
            return Outcome.PUBLISHED
        case QueueFullError():
            return Outcome.FULL
        case QueueSilentError():
            return Outcome.SILENT
        case _:
            return Outcome.LOST

"""Record which queues are healthy: pure state without a socket or a clock.

A queue is unknown until it gives a sign of life, and alive from then on. It is silent while it gives no answer. That
mostly passes, so a silent queue stays alive. A queue that fails a publish or a get is broken: it is not used for a
while, and must give a sign of life again.

A quorum queue without a leader can hang a channel, or end the connection on which it is used. So every part that talks
to a queue asks here first, and records here what came of it:

- `Connection` asks `silence_left` before it asks the broker about a queue. It records `answered`, `gave_no_answer`,
  `can_be_consumed`, `cannot_be_consumed` and `must_be_declared`.
- `QueueChannels` asks `is_broken` and `is_alive` before it publishes. It records `confirmed`, `broke` and
  `went_missing`.
- `Publisher` asks `is_broken`, `is_alive`, `is_silent`, `silent_for` and `is_new_silence`. It records `showed_life`,
  `gave_message` and, for a queue that hands out no message, `broke`.
- `ConsumerChannels` asks `count_not_consumable`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_SILENCE, LONGEST_SILENCE = 1.0, 10.0
"""First and longest pause, in seconds, before a queue that did not answer is asked again.

Mostly the queue is electing a leader and soon answers. The pause doubles each time, because requests about other queues
wait behind this one."""
FIRST_BREAK, LONGEST_BREAK = 5.0, 60.0
"""First and longest pause, in seconds, before a broken queue is used again. Each try can cost a connection."""


class Pauses:
    """For how long each queue is left alone: twice as long each time it fails."""

    def __init__(self, first: float = FIRST_BREAK, longest: float = LONGEST_BREAK) -> None:
        """Make it without any pause.

        Args:
            first: seconds of a queue's first pause.
            longest: seconds of its longest pause. A queue that has not failed for that long after its last pause starts
                again with the first.
        """
        self._first, self._longest = first, longest
        self._until: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def begin(self, queue: str, now: float) -> float:
        """Leave a queue alone from now on; returns for how many seconds."""
        is_old = now > self._until.get(queue, now) + self._longest
        last = self._seconds.get(queue, self._first / 2)
        self._seconds[queue] = self._first if is_old else min(self._longest, last * 2)
        self._until[queue] = now + self._seconds[queue]
        return self._seconds[queue]

    def reset(self, queue: str) -> None:
        """Start with the first pause again, should the queue fail again. A pause that runs goes on."""
        self._seconds.pop(queue, None)

    def left(self, queue: str, now: float) -> float:
        """Seconds that are left of a queue's pause."""
        return max(0.0, self._until.get(queue, 0.0) - now)


@dataclass(slots=True)
class _Record:
    is_alive: bool = False
    silent_since: float | None = None
    is_silence_known: bool = False
    is_consumable: bool = True


@dataclass(slots=True)
class QueueHealth:
    """The health of every queue, as one session sees it.

    Attributes:
        broken: the pauses of broken queues. Sessions share them: a broken queue may have ended the session before.
    """

    broken: Pauses = field(default_factory=Pauses)
    _silent: Pauses = field(default_factory=lambda: Pauses(FIRST_SILENCE, LONGEST_SILENCE))
    _records: dict[str, _Record] = field(default_factory=dict)

    def is_alive(self, queue: str) -> bool:
        """Whether a queue gave a sign of life, and did not break since. It stays alive while it is only silent."""
        return queue in self._records and self._records[queue].is_alive

    def is_silent(self, queue: str) -> bool:
        """Whether a queue gave no answer when it was last asked."""
        return queue in self._records and self._records[queue].silent_since is not None

    def silent_for(self, queue: str, now: float) -> float:
        """For how many seconds a queue has been silent; 0 if it is not."""
        since = self._records[queue].silent_since if queue in self._records else None
        return 0.0 if since is None else now - since

    def silence_left(self, queue: str, now: float) -> float:
        """Seconds until a queue that gave no answer may be asked again."""
        return self._silent.left(queue, now)

    def is_broken(self, queue: str, now: float) -> bool:
        """Whether a queue broke, and must not be used yet."""
        return self.broken.left(queue, now) > 0

    def is_new_silence(self, queue: str) -> bool:
        """Whether this is the first call since a queue became silent: then it is worth a line in the log."""
        record = self._of(queue)
        is_new, record.is_silence_known = not record.is_silence_known, True
        return is_new

    def count_not_consumable(self, prefix: str) -> int:
        """How many queues whose names begin so could not be consumed when that was last tried."""
        return sum(not one.is_consumable for queue, one in self._records.items() if queue.startswith(prefix))

    def answered(self, queue: str, now: float) -> None:
        """Record that the broker told a queue's depth. A broken queue stays silent: its depth proves nothing."""
        if queue in self._records and not self.is_broken(queue, now):
            record = self._records[queue]
            record.silent_since, record.is_silence_known = None, False

    def gave_no_answer(self, queue: str, now: float) -> float:
        """Record that a queue gave no answer; returns for how many seconds it is not asked again."""
        self._begin_silence(queue, now)
        return self._silent.begin(queue, now)

    def can_be_consumed(self, queue: str) -> None:
        """Record that a queue can be consumed."""
        self._of(queue).is_consumable = True
        self._silent.reset(queue)

    def must_be_declared(self, queue: str) -> None:
        """Record that a queue does not exist yet, so that nothing keeps it from being consumed once it is declared."""
        self._of(queue).is_consumable = True

    def cannot_be_consumed(self, queue: str) -> None:
        """Record that a queue gave no answer when it was to be consumed."""
        self._of(queue).is_consumable = False

    def showed_life(self, queue: str) -> None:
        """Record a sign of life: the queue has messages or consumers. Without a leader it says that it has none."""
        self._of(queue).is_alive = True

    def confirmed(self, queue: str) -> None:
        """Record that a queue confirmed a message."""
        self._of(queue).is_alive = True
        self.broken.reset(queue)

    def gave_message(self, queue: str) -> None:
        """Record that a queue answered when it was asked for a message."""
        self.broken.reset(queue)

    def broke(self, queue: str, now: float) -> float:
        """Record that a queue is broken; returns for how many seconds it must not be used."""
        self._begin_silence(queue, now)
        self._of(queue).is_alive = False
        return self.broken.begin(queue, now)

    def went_missing(self, queue: str) -> None:
        """Record that a queue was deleted: the next queue of this name must show life first."""
        self._of(queue).is_alive = False

    def _begin_silence(self, queue: str, now: float) -> None:
        record = self._of(queue)
        if record.silent_since is None:
            record.silent_since = now

    def _of(self, queue: str) -> _Record:
        return self._records.setdefault(queue, _Record())

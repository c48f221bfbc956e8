"""What the workers of the load do with an item; some items make them fail."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from uuid import uuid4

from coordinator.models import Item
from tests.chaos.history import Fault, Recorder
from worker_stub.handlers import Context, RejectBatch, Result

POISON = "poison"
"""An item whose id begins so kills each worker that begins it."""
CHILDREN = 2
"""Items that one of action `scan` leads to."""


@dataclass(slots=True)
class Work:
    """How the items of one worker process go.

    Attributes:
        seconds: what an item takes, at most.
        rejects: the share of batches that are rejected, of those that came for the first time.
        is_to_block: the next item holds up the whole process for `block` seconds.
    """

    recorder: Recorder
    worker: str
    seconds: float = 0.004
    rejects: float = 0.002
    block: float = 22.0
    is_to_block: bool = False

    def listen(self) -> None:
        """Block when told by SIGUSR1."""
        signal.signal(signal.SIGUSR1, self._told)

    async def handle(self, item: Item, context: Context) -> Result:
        """Work on an item."""
        self.fail_if_told(item["id"])
        await asyncio.sleep(random.uniform(0, self.seconds))
        if context.attempt == 1 and random.random() < self.rejects / 20:
            raise RejectBatch("a batch that this worker cannot take, now and then")
        found = [{"id": f"{item['id']}>{uuid4().hex[:10]}"} for _ in range(CHILDREN) if item.get("action") == "scan"]
        return Result(discovered=found)  # type: ignore[arg-type]  # items are mappings

    def fail_if_told(self, item: str) -> None:
        """Die of poison, or stand still."""
        if item.startswith(POISON):
            die(self.recorder, POISON, self.worker)
        if self.is_to_block:
            self.is_to_block = False
            self._stand_still()

    def _stand_still(self) -> None:
        """Block, and say from when to when: who ordered it cannot know when the next item comes."""
        begun = Fault(
            number=-1, name="worker-blocked", target=self.worker, phase="begun", detail=f"{time.monotonic():.3f}"
        )
        self.recorder.write(begun)
        time.sleep(self.block)
        self.recorder.write(replace(begun, phase="ended", at=time.monotonic()))

    def _told(self, *_: object) -> None:
        self.is_to_block = True


def die(recorder: Recorder, fault: str, target: str) -> None:
    """End this process as a crash would, and leave word of it."""
    recorder.write(Fault(number=-1, name=fault, target=target, phase="begun", detail=str(os.getpid())))
    recorder.write(Fault(number=-1, name=fault, target=target, phase="ended", detail=str(os.getpid())))
    os.kill(os.getpid(), signal.SIGKILL)

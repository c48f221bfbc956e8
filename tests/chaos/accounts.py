"""What each coordinator says of its batches and pages: to explain a violation by, never to check the history with.

One file of text for each process, a line for each step: seconds of CLOCK_MONOTONIC, the step, what it is about, and
how it is marked. `grep` for a batch's id, or for a page's, in all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from coordinator.broker.types import Delivery, Message
from coordinator.models import Batch
from coordinator.node.dispatch import dispatcher
from coordinator.node.dispatch.owned_seeds import OwnedSeeds
from coordinator.node.dispatch.seed_consumer import SeedConsumer
from coordinator.node.failures.returns import Returns
from coordinator.node.leases import Leases
from coordinator.node.releases.sweep import Sweeper
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.in_flight import InFlightBatch
from coordinator.node.work_queues.publisher import OnOutcome, Publisher
from tests.chaos.patching import wrap


class Account:
    """The file of this process."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / f"{name}.{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, step: str, *about: object) -> None:
        """Write a line, at once: the process may be killed after it."""
        os.write(self._file, f"{time.monotonic():.3f} {step} {' '.join(map(str, about))}\n".encode())

    def came(self, step: str, delivery: Delivery, *about: object) -> None:
        """A message came out of a queue."""
        self.note(step, *about, delivery.message_id, f"flag={delivery.redelivered}", *_headers(delivery.headers))


def keep(folder: Path, name: str) -> None:
    """Have this process write down what it does with batches and pages."""
    account = Account(folder, name)
    wrap(OwnedSeeds, "on_page", lambda act: _on_page(account, act))
    wrap(dispatcher, "settle", lambda act: _settle(account, act))
    wrap(Publisher, "start", lambda act: _start(account, act))
    wrap(Publisher, "ended", lambda act: _ended(account, act))
    wrap(SeedQueues, "_put", lambda act: _put(account, act))
    wrap(Returns, "_deal", lambda act: _came(account, "returned", act))
    wrap(Sweeper, "_sort", lambda act: _came(account, "swept", act))
    wrap(Leases, "_lease", lambda act: _came(account, "leased", act))


def _headers(headers: Any) -> list[str]:
    return [f"{name}={value}" for name, value in headers.items() if len(str(value)) < 40]


def _on_page(account: Account, act: Callable[..., None]) -> Callable[..., None]:
    def on_page(self: OwnedSeeds, consumer: SeedConsumer, delivery: Delivery) -> None:
        account.came("page", delivery, consumer.id)
        act(self, consumer, delivery)

    return on_page


def _settle(account: Account, act: Callable[..., None]) -> Callable[..., None]:
    def settle(pieces: list[Any]) -> None:
        account.note("settled", *(piece.id for piece in pieces))
        act(pieces)

    return settle


def _start(account: Account, act: Callable[..., Any]) -> Callable[..., Any]:
    def start(self: Publisher, batch: Batch, on_outcome: OnOutcome, **marks: Any) -> Any:
        flags = {name: mark for name, mark in marks.items() if name != "planned"}
        account.note("send", batch.id, batch.seed, batch.epoch, batch.attempt, flags)
        return act(self, batch, on_outcome, **marks)

    return start


def _ended(account: Account, act: Callable[..., None]) -> Callable[..., None]:
    def ended(self: Publisher, batch: Batch, begun: InFlightBatch, on_outcome: OnOutcome, error: Any) -> None:
        account.note("sent", batch.id, begun.publication, repr(error))
        act(self, batch, begun, on_outcome, error)

    return ended


def _put(account: Account, act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def put(self: SeedQueues, seed: str, message: Message, count: int = 0) -> None:
        account.note("put", message.message_id, seed, *_headers(message.headers))
        await act(self, seed, message, count)
        account.note("lies", message.message_id)

    return put


def _came(account: Account, step: str, act: Callable[..., Any]) -> Callable[..., Any]:
    def came(*args: object) -> Any:
        for delivery in args:
            if isinstance(delivery, Delivery):
                account.came(step, delivery)
        return act(*args)

    return came

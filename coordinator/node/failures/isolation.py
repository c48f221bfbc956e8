"""Suspects: batches that failed again and again. They go out one at a time, and the last time with nothing else out.

So a batch that kills its worker harms few other batches, and in the end none. Suspects wait in a queue of their own,
which one replica serves, so that two of them never go out at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import batch_message, is_alone, read_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.broker.types import Delivery
from coordinator.domain.stillness import Stillness
from coordinator.errors import InvalidInputError
from coordinator.models import Batch
from coordinator.node.failures.broker_quiet import is_nothing_out
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import (
    DispatchPause,
    DispatchState,
    Empty,
    OnePublication,
    PauseDispatch,
    WasAlone,
)
from coordinator.node.replicas.rpc import Rpc
from coordinator.node.replicas.topics import WORK_ALONE, WORK_PAUSE, WORK_PAUSED, WORK_RESUME
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.outcome import Outcome
from coordinator.node.work_queues.publisher import Publisher
from coordinator.node.work_queues.standstill import WORK_SHARE

log = structlog.get_logger(__name__)

PREFETCH: Final = 1000
"""Suspects that are at hand, to be taken back when their seed is released."""
SUSPECT_PAUSE: Final = 0.2
"""Seconds that a suspect has to kill its worker before the next one goes out."""
LOOK_EVERY: Final = 0.1
PAUSE: Final = 5.0
"""Seconds that all replicas publish nothing, unless asked again: they go on if this one dies."""
RENEW_EVERY: Final = 1.0
MOST_DOUBLED: Final = 4
"""How often the time owed to dispatch is doubled at most, while no last offer can be made."""


@dataclass(slots=True, kw_only=True)
class Isolation:
    """Offers suspects one at a time.

    Attributes:
        registry: knows which seeds there are.
        publisher: publishes the suspects.
        seed_queues: get the suspects of released seeds.
        dead_letters: get what is not a batch.
        publishing: puts suspects into their queue.
        management: knows what is unacked.
        replicas: must publish nothing during a last offer.
        rpc: asks them.
        patience: seconds that dispatch may stand still, before a last offer and again during it.
        broker_tick: seconds by which the broker's figures may lag.
    """

    registry: Registry
    publisher: Publisher
    seed_queues: SeedQueues
    dead_letters: DeadLetters
    publishing: Channel
    management: Management
    replicas: Replicas
    rpc: Rpc
    patience: float
    broker_tick: float
    _waiting: deque[tuple[Batch, Delivery]] = field(default_factory=deque, init=False)
    _offered: Batch | None = field(default=None, init=False)
    _stillness: Stillness = field(default_factory=Stillness, init=False)
    _last_offer: str = field(default="", init=False)
    _offered_at: float = field(default=0.0, init=False)
    _malformed: list[tuple[Delivery, str]] = field(default_factory=list, init=False)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _renewed: float = field(default=0.0, init=False)
    _is_all_known: bool = field(default=False, init=False)
    """Whether each batch that is out was published by a present replica: these do not know what others published."""

    async def join(self) -> None:
        """Before the first dispatch: take part in a pause that others have agreed on, and in what they owe."""
        answers = await self.rpc.ask(WORK_PAUSED, Empty())
        if any(one.paused for one in answers.given.values()):
            self.publisher.standstill.pause(PAUSE)
        self.publisher.standstill.owe(max([one.owed for one in answers.given.values()], default=0.0))

    async def put(self, batch: Batch, *, alone: bool) -> None:
        """Let a batch wait for its turn, its attempt raised already.

        Raises:
            BrokerUnavailableError: it may have arrived or not.
        """
        await self.publishing.publish(
            "", topology.SUSPECTS, batch_message(batch, publication="", alone=alone), mandatory=True
        )

    async def was_alone(self, publication: str) -> bool:
        """Return whether a last offer that came back had nothing beside it until now.

        It had where the replica that made it has ended, or gave up waiting for it: then the others went on.
        """
        question = OnePublication(publication=publication)
        if (await self.alone_for_peer(question)).alone:
            return True
        answers = await self.rpc.ask(WORK_ALONE, question)
        return any(one.alone for one in answers.given.values())

    def waiting(self) -> Counter[str]:
        """Items by seed of the suspects that wait here for their turn."""
        batches = [batch for batch, _ in self._waiting]
        found: Counter[str] = Counter()
        for batch in [*batches, self._offered] if self._offered else batches:
            found[batch.seed] += batch.count
        return found

    async def take_back(self, seed: str) -> int:
        """Make the waiting batches of a released seed available, or discard a purged one's; returns how many items."""
        mine = [one for one in self._waiting if one[0].seed == seed]
        for one in mine:
            self._waiting.remove(one)
        for batch, delivery in mine:
            if seed in self.registry.state.seeds:
                await self.seed_queues.put_batch(batch)
            await delivery.ack()
        return sum(batch.count for batch, _ in mine)

    async def run(self, connection: Connection) -> None:
        """Offer the suspects until cancelled."""
        await connection.consume(topology.SUSPECTS, self._admit, prefetch=PREFETCH)
        failures = 0
        while True:
            self._arrived.clear()
            await self._keep_malformed()
            suspect = self._next(resting=self.publisher.standstill.owed > 0)
            if suspect is None:
                await self._wait_for_more()
                continue
            batch, delivery = suspect
            self._offered = batch
            if not is_alone(delivery):
                await self._until_settled(await self._offer(batch, delivery, alone=False), SUSPECT_PAUSE)
                continue
            begun = time.monotonic()
            failures = 0 if await self._offer_alone(batch, delivery) else failures + 1
            if failures > 1:
                doubled = 2 ** min(failures - 1, MOST_DOUBLED)
                self.publisher.standstill.owe(doubled * WORK_SHARE * (time.monotonic() - begun))

    def _next(self, *, resting: bool) -> tuple[Batch, Delivery] | None:
        """Return the first suspect that may go; while dispatch is owed time, none that needs a last offer."""
        for suspect in self._waiting:
            if not (resting and is_alone(suspect[1])):
                self._waiting.remove(suspect)
                return suspect
        return None

    async def _wait_for_more(self) -> None:
        left = self.publisher.standstill.owed if self._waiting else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._arrived.wait()

    def _admit(self, delivery: Delivery) -> None:
        """Queue a suspect as soon as it comes, also during an offer: it counts, and can be taken back."""
        try:
            self._waiting.append((read_batch(delivery), delivery))
        except InvalidInputError as error:
            self._malformed.append((delivery, str(error)))
        self._arrived.set()

    async def _keep_malformed(self) -> None:
        while self._malformed:
            delivery, problem = self._malformed.pop()
            await self.dead_letters.keep_message(delivery, "return", "", problem)
            await delivery.ack()

    async def _offer_alone(self, batch: Batch, delivery: Delivery) -> bool:
        """Offer a suspect while nothing else is out; returns whether that was possible."""
        try:
            is_quiet = await self._until_quiet()
            publication = await self._offer(batch, delivery, alone=is_quiet)
            if is_quiet:
                await self._until_settled(publication, self.patience)
        finally:
            self._last_offer = ""
            self.publisher.standstill.resume()
        await self.rpc.ask(WORK_RESUME, Empty())
        return is_quiet

    async def _offer(self, batch: Batch, delivery: Delivery, *, alone: bool) -> str:
        """Publish a suspect. One that cannot be alone is published all the same, and does not die if it fails.

        Returns:
            The publication's id; empty when the batch went back to its seed.
        """
        publication = ""
        begun = time.monotonic()
        publishing = await self.publisher.publish_or_put_back(batch, alone=alone)
        if publishing.outcome is Outcome.PUBLISHED:
            publication = publishing.publication
            if alone:
                self._last_offer, self._offered_at = publication, begun
            log.info("batch.offered", batch=batch.id, seed=batch.seed, attempt=batch.attempt, alone=alone)
        self._offered = None
        await delivery.ack()
        return publication

    async def _until_settled(self, publication: str, seconds: float) -> None:
        """Wait until a publication is acked or back, for so long at most."""
        begun = time.monotonic()
        while self.publisher.ledger.is_out(publication) and time.monotonic() - begun < seconds:
            if self._last_offer and time.monotonic() - self._renewed > RENEW_EVERY:
                await self._pause()
            await asyncio.sleep(LOOK_EVERY)

    async def _until_quiet(self) -> bool:
        """Have all replicas pause, and wait until no batch is queued or unacked; False when patience ran out."""
        begun = time.monotonic()
        while time.monotonic() - begun < self.patience:
            is_quiet = await self._pause()
            if is_quiet and self._is_all_known:
                return True
            # The broker's figures lag: they are trusted only if nothing was published for as long as they may lag.
            if self._is_still_since(time.monotonic() - self.broker_tick) and await is_nothing_out(
                self.publisher, self.management
            ):
                self._is_all_known = True
                return True
            await asyncio.sleep(LOOK_EVERY)
        log.warning("suspect.not_alone", waited=self.patience)
        return False

    async def _pause(self) -> bool:
        """Have all replicas publish nothing for a while; returns whether they do so and know of nothing that is out."""
        self._renewed = asked = time.monotonic()
        self.publisher.standstill.pause(PAUSE)
        theirs = (await self.rpc.ask(WORK_PAUSE, PauseDispatch(seconds=PAUSE))).given
        states = [self._state(), *theirs.values()]
        if any(one.leaving for one in states) or not theirs.keys() >= set(self.replicas.others):
            self._stillness.broken()
            return False
        self._stillness.agreed(asked, time.monotonic(), PAUSE)
        return self._is_still_since(time.monotonic()) and all(one.quiet for one in states)

    def _is_still_since(self, begun: float) -> bool:
        return self._stillness.lasts(begun, time.monotonic())

    def forget_agreement(self) -> None:
        """End an agreement to publish nothing: replicas came or went, and what they published is not known."""
        self._is_all_known = False
        self._stillness.broken()

    async def pause_for_peer(self, question: PauseDispatch) -> DispatchState:
        """Answer another replica: publish nothing for a while."""
        self.publisher.standstill.pause(question.seconds)
        return self._state()

    def _state(self) -> DispatchState:
        return DispatchState(quiet=self.publisher.is_quiet, leaving=bool(self.publisher.in_flight))

    async def paused_for_peer(self, _: Empty) -> DispatchPause:
        """Answer another replica: whether this one publishes nothing now, and what it owes to dispatch."""
        standstill = self.publisher.standstill
        return DispatchPause(paused=not standstill.is_over.is_set(), owed=standstill.owed)

    async def alone_for_peer(self, question: OnePublication) -> WasAlone:
        """Answer whether a publication was the last offer made here, and stayed alone."""
        publication = question.publication
        await self.publisher.in_flight.confirmed(publication)
        is_last = publication == self._last_offer and bool(publication)
        return WasAlone(alone=is_last and self._is_still_since(self._offered_at))

    async def resume_for_peer(self, _: Empty) -> Empty:
        """Answer another replica: publish again."""
        self.publisher.standstill.resume()
        return Empty()

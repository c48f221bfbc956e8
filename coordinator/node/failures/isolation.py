"""Batches that failed again and again go out one at a time, and the last time with nothing else in any worker's hands.

So a batch that kills its worker takes few neighbours along, and in the end none. They wait in a queue of their own,
which one coordinator serves, so that two of them never go out at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

import structlog

from coordinator import topology
from coordinator.broker.batch_codec import batch_message, is_alone, read_batch
from coordinator.broker.channel import Channel
from coordinator.broker.connection import Connection
from coordinator.broker.management import Management, Totals
from coordinator.broker.types import Delivery
from coordinator.domain.stillness import Stillness
from coordinator.errors import InvalidInputError, ManagementError, QueueFullError, QueueSilentError
from coordinator.models import Batch
from coordinator.node.registry import Registry
from coordinator.node.replicas.membership import Replicas
from coordinator.node.replicas.messages import Body
from coordinator.node.seeds.dead_letters import DeadLetters
from coordinator.node.seeds.seed_queue import SeedQueues
from coordinator.node.work_queues.publisher import Publisher, StaleBatchError
from coordinator.node.work_queues.standstill import WORK_SHARE

log = structlog.get_logger(__name__)

PREFETCH: Final = 1000
"""Suspects that are at hand, to be taken back when their seed is released."""
SUSPECT_PAUSE: Final = 0.2
"""Seconds that a suspect has to kill its worker before the next one goes out."""
LOOK_EVERY: Final = 0.1
LEADERLESS: Final = 60.0
"""Seconds after which a queue that says nothing is taken to have lost its leader for good."""
PAUSE: Final = 5.0
"""Seconds that all coordinators send nothing, unless asked again: should this one die, they go on."""
RENEW_EVERY: Final = 1.0
MOST_DOUBLED: Final = 4
"""So often what is owed to dispatch is doubled while no last offer can be made, as where a worker hangs."""


class Isolation:
    """The lane for suspects: one at a time."""

    def __init__(
        self,
        *,
        registry: Registry,
        work: Publisher,
        available: SeedQueues,
        dead: DeadLetters,
        publishing: Channel,
        management: Management,
        replicas: Replicas,
        patience: float,
        broker_tick: float,
    ) -> None:
        """Make the lane.

        Args:
            registry: tells which seeds there are.
            work: where batches leave.
            available: where they go when their seed was released meanwhile.
            dead: where what is no batch goes.
            publishing: puts suspects into their queue.
            management: knows what is unacked.
            replicas: the other coordinators, which must send nothing during a last offer.
            patience: seconds that dispatch may stand still, before a last offer and again during it.
            broker_tick: seconds by which the broker's figures may lag.
        """
        self._registry = registry
        self._publisher = work
        self._seed_queues = available
        self._dead_letters = dead
        self._publishing = publishing
        self._management = management
        self._replicas = replicas
        self._patience = patience
        self._tick = broker_tick
        self._waiting: deque[tuple[Batch, Delivery]] = deque()
        self._standstill = work.standstill
        self._offered: Batch | None = None
        self._stillness = Stillness()
        self._last_offer = ""
        self._offered_at = 0.0
        self._malformed: list[tuple[Delivery, str]] = []
        self._arrived = asyncio.Event()
        self._renewed = 0.0
        self._is_all_known = False
        """Whether each batch that is out was sent by a coordinator of now; of what others sent none of these knows."""

    async def join(self) -> None:
        """Before the first dispatch: take part in a pause that others have agreed on, and in what they owe."""
        answers = await self._replicas.ask("work.paused", {})
        if any(one["paused"] for one in answers.given.values()):
            self._standstill.pause(PAUSE)
        self._standstill.owe(max([one["owed"] for one in answers.given.values()], default=0.0))

    async def put(self, batch: Batch, *, alone: bool) -> None:
        """Let a batch wait for its turn, its attempt raised already.

        Raises:
            BrokerUnavailableError: it may have arrived or not.
        """
        await self._publishing.publish(
            "", topology.SUSPECTS, batch_message(batch, publication="", alone=alone), mandatory=True
        )

    async def was_alone(self, publication: str) -> bool:
        """Whether a last offer that came back has had nothing beside it until now.

        It has not where whoever made it has ended, or given up waiting for it: then the others went on.
        """
        question = {"publication": publication}
        if (await self.alone_for_peer(question))["alone"]:
            return True
        answers = await self._replicas.ask("work.alone", question)
        return any(one["alone"] for one in answers.given.values())

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
            if seed in self._registry.state.seeds:
                await self._seed_queues.put_batch(batch)
            await delivery.ack()
        return sum(batch.count for batch, _ in mine)

    async def run(self, connection: Connection) -> None:
        """Offer the suspects until cancelled."""
        await connection.consume(topology.SUSPECTS, self._admit, prefetch=PREFETCH)
        failures = 0
        while True:
            self._arrived.clear()
            await self._bury_malformed()
            suspect = self._next(resting=self._standstill.owed > 0)
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
                self._standstill.owe(doubled * WORK_SHARE * (time.monotonic() - begun))

    def _next(self, *, resting: bool) -> tuple[Batch, Delivery] | None:
        """The first suspect that may go; while dispatch makes up for a last offer, none that needs another."""
        for suspect in self._waiting:
            if not (resting and is_alone(suspect[1])):
                self._waiting.remove(suspect)
                return suspect
        return None

    async def _wait_for_more(self) -> None:
        left = self._standstill.owed if self._waiting else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._arrived.wait()

    def _admit(self, delivery: Delivery) -> None:
        """Note a suspect as soon as it comes, also during an offer: it counts, and may be taken back."""
        try:
            self._waiting.append((read_batch(delivery), delivery))
        except InvalidInputError as error:
            self._malformed.append((delivery, str(error)))
        self._arrived.set()

    async def _bury_malformed(self) -> None:
        while self._malformed:
            delivery, problem = self._malformed.pop()
            await self._dead_letters.bury_message(delivery, "return", "", problem)
            await delivery.ack()

    async def _offer_alone(self, batch: Batch, delivery: Delivery) -> bool:
        """Offer it while nothing else is out; whether that could be had."""
        try:
            is_quiet = await self._until_quiet()
            publication = await self._offer(batch, delivery, alone=is_quiet)
            if is_quiet:
                await self._until_settled(publication, self._patience)
        finally:
            self._last_offer = ""
            self._standstill.resume()
        await self._replicas.ask("work.resume", {})
        return is_quiet

    async def _offer(self, batch: Batch, delivery: Delivery, *, alone: bool) -> str:
        """Send it; a batch that could not be made alone is sent all the same, and dies of no such offer.

        Returns:
            The publication's id; empty when the batch went back to its seed.
        """
        publication = ""
        begun = time.monotonic()
        try:
            publication = await self._publisher.send(batch, alone=alone)
            if alone:
                self._last_offer, self._offered_at = publication, begun
            log.info("batch.offered", batch=batch.id, seed=batch.seed, attempt=batch.attempt, alone=alone)
        except (StaleBatchError, QueueFullError):
            await self._seed_queues.put_batch(batch)
        except QueueSilentError:
            await self._seed_queues.put_batch(batch, redelivered=True)
        self._offered = None
        await delivery.ack()
        return publication

    async def _until_settled(self, publication: str, seconds: float) -> None:
        """Wait until a sending is taken or back, for so long at most."""
        begun = time.monotonic()
        while self._publisher.ledger.is_out(publication) and time.monotonic() - begun < seconds:
            if self._last_offer and time.monotonic() - self._renewed > RENEW_EVERY:
                await self._pause()
            await asyncio.sleep(LOOK_EVERY)

    async def _until_quiet(self) -> bool:
        """Have all coordinators pause, and wait until no batch is queued or unacked; False when patience ran out."""
        begun = time.monotonic()
        while time.monotonic() - begun < self._patience:
            is_quiet = await self._pause()
            if is_quiet and self._is_all_known:
                return True
            # Older figures of the broker may be of before what went last, if only it had been long on its way.
            if self._is_still_since(time.monotonic() - self._tick) and await self._is_nothing_out():
                self._is_all_known = True
                return True
            await asyncio.sleep(LOOK_EVERY)
        log.warning("suspect.not_alone", waited=self._patience)
        return False

    async def _pause(self) -> bool:
        """Have all coordinators send nothing for a while; whether they do so, and nothing that they know of is out."""
        self._renewed = asked = time.monotonic()
        self._standstill.pause(PAUSE)
        told = (await self._replicas.ask("work.pause", {"seconds": PAUSE})).given
        states = [self._state(), *told.values()]
        if any(one["leaving"] for one in states) or not told.keys() >= set(self._replicas.others):
            self._stillness.broken()
            return False
        self._stillness.agreed(asked, time.monotonic(), PAUSE)
        return self._is_still_since(time.monotonic()) and all(one["quiet"] for one in states)

    def _is_still_since(self, begun: float) -> bool:
        return self._stillness.lasts(begun, time.monotonic())

    def doubt_others(self) -> None:
        """Replicas came or went: what they published is not all known any more."""
        self._is_all_known = False
        self._stillness.broken()

    async def _is_nothing_out(self) -> bool:
        try:
            totals = await self._management.totals()
        except ManagementError as error:
            log.warning("management.failed", problem=str(error))
            return False
        for queue in set(self._publisher.queues).difference(totals):
            await self._publisher.look(queue)
        return not self._publisher.is_leaving and all(self._is_still(queue, totals) for queue in self._publisher.queues)

    def _is_still(self, queue: str, totals: Mapping[str, Totals]) -> bool:
        """Whether nothing of a work queue is in any worker's hands, nor will be: what nobody consumes does no harm.

        A queue without a leader gives nothing out. What it gave before nobody can know, so it is waited for, but not
        for ever.
        """
        out = totals.get(queue)
        if out is None:
            return self._publisher.is_silent(queue, LEADERLESS)
        return out.unacked == 0 and (out.ready == 0 or not self._publisher.consumers(queue))

    async def pause_for_peer(self, body: Body) -> Body:
        """Answer another replica: publish nothing for a while."""
        self._standstill.pause(float(body["seconds"]))
        return self._state()

    def _state(self) -> Body:
        return {"quiet": self._publisher.is_quiet, "leaving": self._publisher.is_leaving}

    async def paused_for_peer(self, _: Body) -> Body:
        """Answer another replica: whether this one publishes nothing now, and what it owes to dispatch."""
        return {"paused": not self._standstill.is_over.is_set(), "owed": self._standstill.owed}

    async def alone_for_peer(self, body: Body) -> Body:
        """Answer whether a publication was the last offer made here, and stayed alone."""
        publication = str(body["publication"])
        await self._publisher.in_flight.confirmed(publication)
        is_last = publication == self._last_offer and bool(publication)
        return {"alone": is_last and self._is_still_since(self._offered_at)}

    async def resume_for_peer(self, _: Body) -> Body:
        """Answer another replica: publish again."""
        self._standstill.resume()
        return {}

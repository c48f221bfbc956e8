"""The coordinators on one broker: who is there, what they ask each other, and who of them has a seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from uuid import uuid4

import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.management import Management
from coordinator.broker.types import Delivery, Message
from coordinator.domain.membership import Silence, owner
from coordinator.errors import BrokerUnavailableError, ManagementError, UnroutableError
from coordinator.node.replicas.messages import Answers, Body, Question, Word

log = structlog.get_logger(__name__)

BEAT: Final = 0.25
"""Seconds between two signs of life."""
TICK: Final = 0.25
DEAF: Final = 1.5
"""Seconds without an own beat after which nobody's silence means anything."""
ABSENT: Final = 1.5
"""Seconds of silence after which others prepare to take a coordinator's seeds: the broker hands them over once it is
cut off, and not before, so to prepare in vain does no harm."""
HUNG: Final = 3.0
"""Seconds of silence after which a coordinator is cut off."""
ANSWER: Final = 1.0
"""Seconds within which a coordinator answers."""
GREETING: Final = 0.1
PREFETCH: Final = 500

Answerer = Callable[[Body], Awaitable[Body]]


class Replicas:
    """The other coordinators, as this one hears them.

    Each has a queue of its own, exclusive, so it ends with its connection: what is sent to one that is gone comes back.
    """

    def __init__(self, instance: str, publishing: Channel, management: Management) -> None:
        self.instance = instance
        self._publishing = publishing
        self._management = management
        self._beats: dict[str, Body] = {}
        self._beat_times: dict[str, float] = {}
        self._silence = Silence()
        self._absent: set[str] = set()
        self._leaving: set[str] = set()
        self._cutting: set[str] = set()
        self._own_beat = 0.0
        self._is_leaving = False
        self._queue = topology.coordinator_queue_name(instance)
        self._inbox: asyncio.Queue[Word] = asyncio.Queue()
        self._answerers: dict[str, Answerer] = {}
        self._listeners: dict[str, Callable[[Body], None]] = {}
        self._questions: dict[str, Question] = {}
        self._on_change: list[Callable[[], None]] = []
        self._tellers: list[Callable[[], Body]] = []
        self._changed = asyncio.Event()

    def answer(self, about: str, answerer: Answerer) -> None:
        """Answer questions about this."""
        self._answerers[about] = answerer

    def listen(self, about: str, listener: Callable[[Body], None]) -> None:
        """Hear notices about this."""
        self._listeners[about] = listener

    def tell(self, teller: Callable[[], Body]) -> None:
        """Add something to each beat."""
        self._tellers.append(teller)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Be told when keys may belong to others than before."""
        self._on_change.append(listener)

    async def join(self, channel: Channel) -> None:
        """Begin to hear the others, and greet them: they answer at once, so that keys are shared from the start.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        await channel.declare_own_queue(self._queue, [(topology.COORDINATORS, "")])
        await channel.consume(self._queue, self._hear, prefetch=PREFETCH)
        await self._beat(is_greeting=True)
        await self._pass_barrier()
        await asyncio.sleep(GREETING)

    async def run(self) -> None:
        """Beat, listen and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_beating(), name="beats")
            group.create_task(self._watch(group), name="silence of coordinators")
            while True:
                group.create_task(self._react(await self._inbox.get()))

    async def leave(self) -> None:
        """Tell the others that what is this coordinator's is theirs from now on."""
        self._is_leaving = True
        await self._beat()

    @property
    def others(self) -> list[str]:
        """The other coordinators that may still act, by id: absent ones too, until they are known to be gone."""
        return sorted(self._beats)

    @property
    def members(self) -> list[str]:
        """Those who share the keys: this one, and the others that are neither absent nor leaving."""
        gone = self._absent | self._leaving
        mine = [] if self._is_leaving else [self.instance]
        return mine + [one for one in self._beats if one not in gone]

    def owner(self, key: str) -> str | None:
        """Whose a key is; None where nobody stays."""
        members = self.members
        return owner(key, members) if members else None

    def owns(self, key: str) -> bool:
        """Whether a key belongs to this coordinator."""
        return self.owner(key) == self.instance

    @property
    def is_hearing(self) -> bool:
        """Whether what this coordinator sends comes back to it: else no silence means anything."""
        return time.monotonic() - self._own_beat < DEAF

    def told(self, name: str) -> list[tuple[float, Body]]:
        """What the others said last under this name in their beats, and how many seconds ago."""
        now = time.monotonic()
        return [
            (now - self._beat_times[one], beat[name])
            for one, beat in self._beats.items()
            if isinstance(beat.get(name), dict)
        ]

    async def ask(self, about: str, body: Body, whom: Collection[str] | None = None) -> Answers:
        """Ask the others, all that have joined before this call, and wait up to a second for their answers.

        Args:
            about: what a part of theirs answers to.
            body: the question, as JSON.
            whom: instances, or None for all.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        if whom is None:
            await self._pass_barrier()
        targets = set(self._beats if whom is None else whom) - {self.instance}
        if not targets:
            return Answers()
        question = Question(set(targets))
        ident = uuid4().hex
        self._questions[ident] = question
        try:
            await asyncio.gather(*(self._put_to(one, question, ident, about, body) for one in targets))
            async with asyncio.timeout(ANSWER):
                await question.complete.wait()
        except TimeoutError:
            log.warning("coordinator.unanswered", about=about, instances=sorted(question.awaited))
        finally:
            del self._questions[ident]
        return Answers(question.given, tuple(sorted(question.awaited)))

    async def notify(self, about: str, body: Body) -> None:
        """Tell all others, without an answer."""
        if self._beats:
            await self._say(
                topology.COORDINATORS, "", Word(type="notice", sender=self.instance, about=about, body=body)
            )

    async def cut_off(self, instance: str) -> bool:
        """Close a coordinator's connections, so that it can do nothing more; whether that is sure.

        One that still lives finds its session ended, and begins a new one.
        """
        prefix = topology.coordinator_connection_name(instance, "")
        try:
            found = [one for one in await self._management.connections() if one.client_name.startswith(prefix)]
            for connection in found:
                await self._management.close_connection(
                    connection.name, "it was not heard of by the other coordinators"
                )
        except ManagementError as error:
            log.warning("management.failed", problem=str(error))
            return False
        if found:
            log.warning("coordinator.cut_off", peer=instance, connections=len(found))
            self._remove(instance)
        return bool(found)

    async def _put_to(self, instance: str, question: Question, ident: str, about: str, body: Body) -> None:
        word = Word(type="question", sender=self.instance, id=ident, about=about, body=body)
        try:
            await self._say("", topology.coordinator_queue_name(instance), word)
        except UnroutableError:  # its queue ended with its connection, so it is gone
            self._remove(instance)
            question.settle(instance, None)

    async def _pass_barrier(self) -> None:
        """Wait until all that was said to this coordinator before is heard."""
        barrier = Question({self.instance})
        ident = uuid4().hex
        self._questions[ident] = barrier
        try:
            await self._say("", self._queue, Word(type="barrier", sender=self.instance, id=ident))
            async with asyncio.timeout(ANSWER * 10):
                await barrier.complete.wait()
        except TimeoutError as error:
            raise BrokerUnavailableError("the broker does not deliver what this coordinator sends itself") from error
        finally:
            del self._questions[ident]

    async def _keep_beating(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(BEAT)

    async def _beat(self, *, is_greeting: bool = False) -> None:
        body: Body = {"leaving": self._is_leaving, "greeting": is_greeting}
        for teller in self._tellers:
            body |= teller()
        await self._say(topology.COORDINATORS, "", Word(type="beat", sender=self.instance, body=body))

    async def _say(self, exchange: str, key: str, word: Word) -> None:
        await self._publishing.publish(exchange, key, Message(word.model_dump_json().encode()), mandatory=True)

    def _hear(self, delivery: Delivery) -> None:
        delivery.ack_soon()
        try:
            word = Word.model_validate_json(delivery.body)
        except ValidationError as error:
            log.warning("coordinator.unreadable", problem=str(error))
            return
        if word.type == "beat":
            self._take_beat(word)
        elif word.type in {"barrier", "answer"}:
            question = self._questions.get(word.id)
            if question is not None:
                question.settle(word.sender, word.body)
        elif word.sender != self.instance:
            self._inbox.put_nowait(word)

    def _take_beat(self, word: Word) -> None:
        if word.sender == self.instance:
            self._own_beat = time.monotonic()
            return
        before = self.members
        if word.sender not in self._beats:
            log.info("coordinator.joined", peer=word.sender)
        self._beats[word.sender] = word.body
        self._beat_times[word.sender] = time.monotonic()
        self._silence.heard(word.sender)
        self._absent.discard(word.sender)
        if word.body.get("leaving"):
            self._leaving.add(word.sender)
        if word.body.get("greeting"):
            self._inbox.put_nowait(word)
        self._note_change(before)

    async def _react(self, word: Word) -> None:
        match word.type:
            case "beat":
                await self._beat()
            case "notice":
                listener = self._listeners.get(word.about)
                if listener is not None:
                    listener(word.body)
            case "question":
                answerer = self._answerers.get(word.about)
                body = await answerer(word.body) if answerer is not None else {}
                answer = Word(type="answer", sender=self.instance, id=word.id, body=body)
                try:
                    await self._say("", topology.coordinator_queue_name(word.sender), answer)
                except UnroutableError:
                    log.info("coordinator.answer_unwanted", peer=word.sender, about=word.about)

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        """Find out who has fallen silent: absent at first, then to be cut off."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            elapsed, last = now - last, now
            if not self.is_hearing or elapsed > DEAF:
                continue
            before = self.members
            self._silence.passed(elapsed)
            self._absent = set(self._silence.longer_than(ABSENT))
            self._note_change(before)
            for instance in self._silence.longer_than(HUNG):
                if instance not in self._cutting:
                    self._cutting.add(instance)
                    group.create_task(self._end(instance), name=f"cut off {instance}")

    async def _end(self, instance: str) -> None:
        """Cut a silent coordinator off, or find that it is gone already."""
        try:
            await self._say(
                "",
                topology.coordinator_queue_name(instance),
                Word(type="notice", sender=self.instance, about="cut off"),
            )
            await self.cut_off(instance)
        except UnroutableError:
            self._remove(instance)
        finally:
            self._cutting.discard(instance)

    def _remove(self, instance: str) -> None:
        before = self.members
        if self._beats.pop(instance, None) is not None:
            log.info("coordinator.gone", peer=instance)
        self._beat_times.pop(instance, None)
        self._silence.forget(instance)
        self._absent.discard(instance)
        self._leaving.discard(instance)
        self._note_change(before)

    def _note_change(self, before: list[str]) -> None:
        if set(before) != set(self.members):
            for listener in self._on_change:
                listener()

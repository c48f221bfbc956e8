"""How replicas ask each other: questions and answers, notices, and the barrier.

Each replica has a queue of its own, exclusive, so it ends with its connection: a message to a replica that is gone
comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import structlog
from pydantic import ValidationError

from coordinator import topology
from coordinator.broker.channel import Channel
from coordinator.broker.types import Delivery, Message
from coordinator.errors import BrokerUnavailableError, UnroutableError
from coordinator.node.replicas.messages import VERSION, Body, Content, Empty, Envelope, Type
from coordinator.node.replicas.topics import A, Answers, NoticeTopic, Q, Topic

log = structlog.get_logger(__name__)

ANSWER: Final = 1.0
"""Seconds within which a replica answers."""
BARRIER: Final = 10.0
"""Seconds within which the broker delivers what a replica sends itself."""
PREFETCH: Final = 500

Peers = Callable[[], Collection[str]]
OnGone = Callable[[str], None]
OnHeartbeat = Callable[[Envelope], None]


@dataclass(slots=True)
class _Pending:
    """A question on its way: who has still to answer it, and the answers so far."""

    awaited: set[str]
    bodies: dict[str, Body] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, instance: str, body: Body) -> None:
        """Keep an answer."""
        if instance in self.awaited:
            self.bodies[instance] = body
            self.settle(instance)

    def fail(self, instance: str) -> None:
        """Note that an instance cannot answer."""
        if instance in self.awaited:
            self.failed.add(instance)
            self.settle(instance)

    def settle(self, instance: str) -> None:
        """Expect nothing more of an instance."""
        self.awaited.discard(instance)
        if not self.awaited:
            self.complete.set()


@dataclass(slots=True, kw_only=True)
class Rpc:
    """Sends and receives on the queue of this replica.

    Attributes:
        instance: the id of this replica.
        publishing: the channel that all messages leave on. Nothing else may use it: a queue that hangs the broker's
            side of a channel would hold them up.
        peers: gives the other replicas.
        on_gone: is called with each replica whose queue is found to have ended.
        on_heartbeat: is called with each heartbeat, also with this replica's own.
    """

    instance: str
    publishing: Channel
    peers: Peers = field(default=tuple, init=False)
    on_gone: OnGone = field(default=lambda _: None, init=False)
    on_heartbeat: OnHeartbeat = field(default=lambda _: None, init=False)
    _inbox: asyncio.Queue[Envelope] = field(default_factory=asyncio.Queue, init=False)
    _answerers: dict[str, Callable[[Body], Awaitable[Content]]] = field(default_factory=dict, init=False)
    _listeners: dict[str, Callable[[Body], None]] = field(default_factory=dict, init=False)
    _pending: dict[str, _Pending] = field(default_factory=dict, init=False)

    def answer(self, topic: Topic[Q, A], answerer: Callable[[Q], Awaitable[A]]) -> None:
        """Have `answerer` answer the others' questions of this topic."""

        async def read_and_answer(body: Body) -> Content:
            return await answerer(topic.question.model_validate(body))

        self._answerers[topic.name] = read_and_answer

    def listen(self, topic: NoticeTopic[Q], listener: Callable[[Q], None]) -> None:
        """Call `listener` with the others' notices of this topic."""
        self._listeners[topic.name] = lambda body: listener(topic.content.model_validate(body))

    async def open(self, channel: Channel) -> None:
        """Begin to receive.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        queue = topology.coordinator_queue_name(self.instance)
        await channel.declare_own_queue(queue, [(topology.COORDINATORS, "")])
        await channel.consume(queue, self._receive, prefetch=PREFETCH)

    async def run(self) -> None:
        """Answer questions and pass notices on, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._handle(await self._inbox.get()))

    async def ask(self, topic: Topic[Q, A], question: Q, whom: Collection[str] | None = None) -> Answers[A]:
        """Ask other replicas, and wait up to a second for their answers.

        Args:
            topic: what is asked.
            question: its content.
            whom: instances; None for all that have joined before this call.

        Raises:
            BrokerUnavailableError: the broker is away.
        """
        if whom is None:
            await self.pass_barrier()
        targets = set(self.peers() if whom is None else whom) - {self.instance}
        if not targets:
            return Answers()
        body = question.model_dump(mode="json")
        with self._await_answers(targets) as (ident, pending):
            try:
                await asyncio.gather(*(self._put_to(one, pending, ident, topic.name, body) for one in targets))
                async with asyncio.timeout(ANSWER):
                    await pending.complete.wait()
            except TimeoutError:
                log.warning("replica.unanswered", about=topic.name, instances=sorted(pending.awaited))
        return self._read_answers(topic, pending)

    async def notify(self, topic: NoticeTopic[Q], content: Q) -> None:
        """Send a notice to all other replicas."""
        if self.peers():
            await self._send(topology.COORDINATORS, "", "notice", content, about=topic.name)

    async def notify_one(self, instance: str, topic: NoticeTopic[Q], content: Q) -> None:
        """Send a notice to a replica.

        Raises:
            UnroutableError: its queue has ended, so it is gone.
        """
        await self._send("", topology.coordinator_queue_name(instance), "notice", content, about=topic.name)

    async def send_heartbeat(self, heartbeat: Content) -> None:
        """Send a heartbeat to all replicas, also to this one."""
        await self._send(topology.COORDINATORS, "", "beat", heartbeat)

    async def pass_barrier(self) -> None:
        """Wait until all that was sent to this replica before this call has been received.

        Raises:
            BrokerUnavailableError: the broker does not deliver.
        """
        with self._await_answers({self.instance}) as (ident, pending):
            try:
                queue = topology.coordinator_queue_name(self.instance)
                await self._send("", queue, "barrier", Empty(), ident=ident)
                async with asyncio.timeout(BARRIER):
                    await pending.complete.wait()
            except TimeoutError as error:
                raise BrokerUnavailableError(
                    "the broker does not deliver what this coordinator sends itself"
                ) from error

    @contextlib.contextmanager
    def _await_answers(self, instances: set[str]) -> Iterator[tuple[str, _Pending]]:
        ident, pending = uuid4().hex, _Pending(set(instances))
        self._pending[ident] = pending
        try:
            yield ident, pending
        finally:
            del self._pending[ident]

    async def _put_to(self, instance: str, pending: _Pending, ident: str, about: str, body: Body) -> None:
        envelope = self._envelope("question", body, ident=ident, about=about)
        try:
            await self._publish("", topology.coordinator_queue_name(instance), envelope)
        except UnroutableError:  # its queue ended with its connection, so it is gone
            self.on_gone(instance)
            pending.settle(instance)

    def _read_answers(self, topic: Topic[Q, A], pending: _Pending) -> Answers[A]:
        given: dict[str, A] = {}
        missing = pending.awaited | pending.failed
        for instance, body in pending.bodies.items():
            try:
                given[instance] = topic.answer.model_validate(body)
            except ValidationError as error:
                log.warning("replica.unreadable", peer=instance, about=topic.name, problem=str(error))
                missing.add(instance)
        return Answers(given, tuple(sorted(missing)))

    def _receive(self, delivery: Delivery) -> None:
        delivery.ack_soon()
        try:
            envelope = Envelope.model_validate_json(delivery.body)
        except ValidationError as error:
            log.warning("replica.unreadable", peer="", about="", problem=str(error))
            return
        match envelope.type:
            case "beat":
                self.on_heartbeat(envelope)
            case "barrier" | "answer":
                if pending := self._pending.get(envelope.id):
                    pending.answered(envelope.sender, envelope.body)
            case "error":
                if pending := self._pending.get(envelope.id):
                    pending.fail(envelope.sender)
                    problem = str(envelope.body.get("message", ""))
                    log.warning("replica.failed", peer=envelope.sender, about=envelope.about, problem=problem)
            case "question" | "notice":
                if envelope.sender != self.instance:
                    self._inbox.put_nowait(envelope)
            case unknown:  # of a later version, which gets on without an answer
                problem = f"a message of version {envelope.version} has the unknown type {unknown!r}"
                log.warning("replica.unreadable", peer=envelope.sender, about=envelope.about, problem=problem)

    async def _handle(self, envelope: Envelope) -> None:
        if envelope.type == "notice":
            self._pass_on(envelope)
            return
        answer = await self._answer(envelope)
        try:
            await self._publish("", topology.coordinator_queue_name(envelope.sender), answer)
        except UnroutableError:
            log.info("replica.answer_unwanted", peer=envelope.sender, about=envelope.about)

    def _pass_on(self, notice: Envelope) -> None:
        """Call the listener of a notice. Whatever goes wrong there must not end the session."""
        listener = self._listeners.get(notice.about)
        if listener is None:
            return
        try:
            listener(notice.body)
        except Exception:
            log.exception("replica.notice_failed", peer=notice.sender, about=notice.about)

    async def _answer(self, question: Envelope) -> Envelope:
        """Return the answer to a question, or an error: whatever goes wrong must not end the session."""
        answerer = self._answerers.get(question.about)
        if answerer is None:
            body = {"message": f"nothing answers {question.about!r} here"}
            return self._envelope("error", body, ident=question.id, about=question.about)
        try:
            content = (await answerer(question.body)).model_dump(mode="json")
        except Exception as error:
            log.exception("replica.answer_failed", peer=question.sender, about=question.about)
            body = {"message": f"{type(error).__name__}: {error}"}
            return self._envelope("error", body, ident=question.id, about=question.about)
        return self._envelope("answer", content, ident=question.id, about=question.about)

    async def _send(
        self, exchange: str, key: str, kind: Type, content: Content, *, ident: str = "", about: str = ""
    ) -> None:
        envelope = self._envelope(kind, content.model_dump(mode="json"), ident=ident, about=about)
        await self._publish(exchange, key, envelope)

    def _envelope(self, kind: Type, body: dict[str, Any], *, ident: str = "", about: str = "") -> Envelope:
        return Envelope(type=kind, version=VERSION, sender=self.instance, id=ident, about=about, body=body)

    async def _publish(self, exchange: str, key: str, envelope: Envelope) -> None:
        message = Message(envelope.model_dump_json().encode())
        await self.publishing.publish(exchange, key, message, mandatory=True)

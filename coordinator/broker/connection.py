"""Connections to the broker.

A connection lives once. When it ends, everything that hung on it (unacked deliveries, consumers, delivery tags) is
void, so nothing here reconnects: whoever runs on a connection starts anew on the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import aio_pika
import structlog
from aiormq.channel import Channel as InnerChannel
from pamqp.common import FieldTable
from yarl import URL

from coordinator.broker.channel import RPC_TIMEOUT, Channel
from coordinator.broker.message import Depth, OnDelivery
from coordinator.broker.scout import Scout
from coordinator.broker.tap import Tap, Taps
from coordinator.broker.vendor import ours
from coordinator.domain.queue_backoff import QueueBackoff
from coordinator.errors import BrokerUnavailableError, QueueMissingError, QueueSilentError

LOST_TIMEOUT: Final = 1.0
"""Seconds to take leave of a connection that is lost: the broker hardly answers."""
HEARTBEAT: Final = 10
PATIENCE_STEP: Final = 1.0
log = structlog.get_logger(__name__)

SILENT_FIRST, SILENT_MOST = 1.0, 10.0
"""Seconds for which a queue of which the broker tells nothing is not asked for again: mostly a leader is being chosen,
and soon there. Twice as long each time, for whoever asks of another queue meanwhile waits as well."""


class _Tapped(aio_pika.Connection):
    """The library's connection with a tap in it."""

    def __init__(self, url: URL, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(url, **kwargs)
        self.taps = Taps()
        self.kwargs["transport_factory"] = self.taps

    def __del__(self) -> None:
        """Do nothing: what opened is closed by its owner. The library would close it here, also when no loop runs."""

    @property
    def tap(self) -> Tap:
        """The tap; there is one from the moment it is connected."""
        if self.taps.tap is None:
            raise BrokerUnavailableError("not connected")
        return self.taps.tap


async def _connect(text: str, name: str, seconds: float) -> _Tapped:
    url = URL(text)
    if "heartbeat" not in url.query:
        url = url.update_query(heartbeat=HEARTBEAT)
    properties: FieldTable = {"connection_name": name}
    async with ours("connect"), asyncio.timeout(seconds):
        return await aio_pika.connect(url, client_properties=properties, timeout=seconds, connection_class=_Tapped)


class Connection:
    """One connection to the broker, from its opening to its end."""

    def __init__(self, inner: _Tapped, url: str, urls: Sequence[str], name: str) -> None:
        self._inner = inner
        self.url = url
        self._urls = urls
        self._name = name
        self._beside: list[Connection] = []
        self._scout = Scout(self.beside)
        self._channels: list[Channel] = []
        self._depths: Channel | None = None
        self._depth_lock = asyncio.Lock()
        self._silent = QueueBackoff(SILENT_FIRST, SILENT_MOST)
        self.user = URL(url).user or "guest"
        self.closed = asyncio.Event()
        self.reason = "closed"
        self._patience = asyncio.create_task(self._keep_patience(), name="patience")
        inner.close_callbacks.add(self._on_close)

    @classmethod
    async def open(
        cls,
        urls: Sequence[str],
        name: str,
        *,
        near: Connection | None = None,
        timeout: float = RPC_TIMEOUT,  # noqa: ASYNC109 - shared out among the nodes
    ) -> Connection:
        """Connect to a node of the broker: to any that answers, in random order, so that nodes share the clients.

        Args:
            urls: AMQP URLs of all nodes of one cluster.
            name: the connection's name in the broker's lists.
            near: a connection whose node is tried first. What one connection declares, another one can miss for a
                moment at another node.
            timeout: seconds for all of them together. A node that hangs gets an equal share of what is left, so
                that there is time for the others.

        Raises:
            BrokerUnavailableError: none answers, or none lets this user in; the sentence names no password.
        """
        problems = []
        deadline = asyncio.get_running_loop().time() + timeout
        order = random.sample(urls, len(urls))
        if near is not None:
            order.sort(key=lambda url: url != near.url)
        for left, text in zip(range(len(order), 0, -1), order, strict=True):
            share = (deadline - asyncio.get_running_loop().time()) / left
            try:
                return cls(await _connect(text, name, share), text, urls, name)
            except BrokerUnavailableError as error:
                url = URL(text)
                problems.append(f"{url.host}:{url.port}: {str(error.__cause__ or '') or error}")
        raise BrokerUnavailableError("no broker answers at " + "; ".join(problems))

    async def beside(self) -> Connection:
        """Open one more, for what may end it; it ends with this one at the latest.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        connection = await Connection.open(self._urls, f"{self._name}:beside", near=self)
        self._beside = [one for one in self._beside if not one.closed.is_set()] + [connection]
        return connection

    async def channel(self, on_loss: Callable[[str], None] | None = None, *, patience: float | None = None) -> Channel:
        """Open a channel; mandatory messages that come back raise.

        Args:
            on_loss: called when it is lost. Without it the connection counts as ended when a channel is lost by which
                something is consumed.
            patience: seconds in which a confirm must come, by default 30, not counting those in which the broker
                blocks publishers.
        """
        async with ours("open a channel"), asyncio.timeout(RPC_TIMEOUT):
            outer = self._inner.channel(publisher_confirms=True, on_return_raises=True)
            await outer.initialize()
            inner = cast("InnerChannel", await outer.get_underlay_channel())
            channel = Channel(
                outer,
                inner,
                self._inner.tap,
                needed=on_loss is not None,
                on_loss=on_loss or self._lose,
                patience=patience,
            )
        self._channels = [one for one in self._channels if not one.is_closed]
        self._channels.append(channel)
        return channel

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> None:
        """Consume a queue on a channel of its own.

        One that is silent, because it has no leader, is asked again and again; nothing else waits for it.

        Raises:
            QueueMissingError: there is no such queue.
            BrokerUnavailableError: the connection is gone.
        """
        while True:
            try:
                await self.must_answer(queue)
            except QueueSilentError as error:
                log.warning("queue.silent", queue=queue, problem=str(error))
                await asyncio.sleep(self.silence(queue))
            else:
                break
        channel = await self.channel()
        await channel.consume(queue, on_delivery, prefetch=prefetch)

    async def must_answer(self, queue: str, on_delivery: OnDelivery | None = None) -> None:
        """Make sure that a queue may be consumed here.

        Of one without a leader the broker says that it is empty, or nothing. So one that shows no sign of life is
        tried on another connection first.

        Args:
            queue: its name.
            on_delivery: is given a message that comes while it is tried; without it that goes back, as one that was
                delivered.

        Raises:
            QueueMissingError: there is no such queue.
            QueueSilentError: it gives no answer.
            BrokerUnavailableError: the connection is gone.
        """
        if await self.depth(queue) in {None, Depth(0, 0)}:
            try:
                await self._scout.try_queue(queue, on_delivery)
            except QueueSilentError:
                self._silent.struck(queue, time.monotonic())
                raise
        self._silent.is_well(queue)

    def silence(self, queue: str) -> float:
        """For how many seconds a queue that gave no answer is not asked for again."""
        return self._silent.left(queue, time.monotonic())

    async def depth(self, queue: str) -> Depth | None:
        """What a queue holds ready, None where there is no such queue.

        Raises:
            QueueSilentError: nothing is said of this queue, now or a moment ago; it is not asked for again at once,
                since others would wait for its answer, too.
            BrokerUnavailableError: the connection is gone.
        """
        async with self._depth_lock:
            if self._silent.holds(queue, time.monotonic()):
                raise QueueSilentError(f"the broker tells nothing of the queue {queue!r}")
            if self._depths is None or self._depths.is_closed:
                self._depths = await self.channel()
            try:
                return await self._depths.depth(queue)
            except QueueMissingError:
                self._depths = None
                return None
            except BrokerUnavailableError as error:
                self._depths = None
                if self.closed.is_set():
                    raise
                self._silent.struck(queue, time.monotonic())
                raise QueueSilentError(f"the broker tells nothing of the queue {queue!r}") from error

    async def is_blocked(self) -> bool:
        """Whether the broker has asked this connection to stop publishing (an alarm of memory or disk)."""
        transport = self._inner.transport
        if transport is None:
            return False  # the connection is lost, and whoever publishes is told so
        try:
            async with asyncio.timeout(0.05):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    async def close(self, patience: float = RPC_TIMEOUT) -> None:
        """Close it, within so many seconds; quiet when it is gone already.

        Its channels are closed first, one by one: the broker answers that once it has all that was sent before, while
        a connection that is closed at once drops acks that were still to be written, and so repeats their batches.
        """
        self._patience.cancel()
        await asyncio.gather(*(one.close(LOST_TIMEOUT) for one in self._beside))
        with contextlib.suppress(BrokerUnavailableError):
            async with (
                ours("close the connection"),
                asyncio.timeout(LOST_TIMEOUT if self.closed.is_set() else patience),
            ):
                for channel in self._channels:
                    if not channel.is_closed:
                        await channel.close()
                await self._inner.close()
        self._lose("closed")
        self._inner.tap.abort()

    async def drop(self) -> None:
        """End it at once, for one of its channels may hang."""
        self._patience.cancel()
        self._lose("closed")
        with contextlib.suppress(BrokerUnavailableError):
            async with ours("close the connection"), asyncio.timeout(LOST_TIMEOUT):
                await self._inner.close()
        self._inner.tap.abort()

    def _on_close(self, _: object, error: BaseException | None) -> None:
        self._lose(str(error) if error else "closed")

    def _lose(self, reason: str) -> None:
        if not self.closed.is_set():
            self.reason = reason
            self.closed.set()

    async def _keep_patience(self) -> None:
        """Give up on confirms that are late, except while the broker blocks publishers: then none can come."""
        loop = asyncio.get_running_loop()
        while not self.closed.is_set():
            await asyncio.sleep(PATIENCE_STEP)
            if any(channel.is_late(loop.time()) for channel in self._channels):
                is_blocked = await self.is_blocked()
                for channel in self._channels:
                    (channel.be_patient if is_blocked else channel.give_up)(loop.time())

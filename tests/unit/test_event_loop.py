"""The loop of what runs for long: what the broker's client says there is understood as well."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from aio_pika.exceptions import AMQPError

from coordinator import event_loop
from coordinator.broker.connection import Connection
from coordinator.broker.error_mapping import mapped_errors
from coordinator.errors import BrokerUnavailableError


def test_a_broker_that_hangs_up_at_once() -> None:
    """A node that dies while it is connected to is a broker that is away, however the client says so."""

    async def connect() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(BrokerUnavailableError):
                await Connection.open([f"amqp://127.0.0.1:{port}/"], "test")

    event_loop.run(connect())


def test_an_attempt_that_was_given_up_leaves_nothing_behind() -> None:
    """What never opened may be collected when no loop runs any more: it does not try to close itself then."""

    async def connect() -> TimeoutError:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(TimeoutError) as late:
                async with asyncio.timeout(0.1):
                    await Connection.open([f"amqp://127.0.0.1:{port}/"], "test")
        return late.value

    asyncio.set_event_loop(None)
    loop = asyncio.new_event_loop()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RuntimeWarning)
        error = loop.run_until_complete(connect())
        del error  # its traceback holds the connection
        gc.collect()
    loop.close()
    assert not [str(one.message) for one in told]


async def test_a_cancellation_outlives_the_loss_of_the_connection() -> None:
    """Both come at once where a connection ends that a task hangs on; a task that forgot it would never end."""
    for error in (AMQPError("the connection is gone"), TimeoutError(), None):
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def ask(answer: asyncio.Future[None] = answer) -> None:
            async with mapped_errors("anything"):
                await asyncio.wait_for(answer, 10)

        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), error


async def test_nothing_comes_any_more() -> None:
    """The client says so by an error that no generator may raise."""
    with pytest.raises(BrokerUnavailableError):
        async with mapped_errors("connect"):
            raise StopAsyncIteration

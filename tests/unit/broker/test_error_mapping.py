"""Errors of the client library become errors of our own, and a cancellation is never lost."""

from __future__ import annotations

import asyncio

import pytest
from aio_pika import exceptions as amqp

from coordinator.broker.error_mapping import map_error, mapped_errors
from coordinator.errors import (
    BrokerInternalError,
    BrokerRefusedError,
    BrokerTimeoutError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueMissingError,
)

INTERNAL = "Connection closed: code 541, INTERNAL_ERROR"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (amqp.ChannelNotFoundEntity("no queue 'a'"), QueueMissingError),
        (amqp.ChannelPreconditionFailed("inequivalent arg"), BrokerRefusedError),
        (amqp.AMQPConnectionError(INTERNAL), BrokerInternalError),
        (amqp.ChannelInvalidStateError(INTERNAL), BrokerInternalError),
        (amqp.AMQPConnectionError("reset"), BrokerUnavailableError),
        (ConnectionResetError(), BrokerUnavailableError),
        (RuntimeError("closed"), BrokerUnavailableError),
        (TimeoutError(), BrokerTimeoutError),
        (asyncio.CancelledError(), BrokerUnavailableError),
        (StopAsyncIteration(), BrokerUnavailableError),
        (Exception(), BrokerUnavailableError),
        (ValueError("ours"), type(None)),
    ],
)
def test_each_error_has_one_meaning(error: BaseException, kind: type[CoordinatorError]) -> None:
    """The type says what happened, so that no caller looks at the text."""
    assert type(map_error(error)) is kind


async def test_a_timeout_names_the_request() -> None:
    """The message says what was asked, and the cause is kept."""
    with pytest.raises(BrokerTimeoutError, match="depth of work") as caught:
        async with mapped_errors("depth of work"):
            raise TimeoutError
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_errors_of_our_own_pass() -> None:
    """An error that has a meaning already is not wrapped."""
    with pytest.raises(QueueMissingError):
        async with mapped_errors("consume"):
            raise QueueMissingError("gone")


async def test_a_cancellation_is_not_swallowed() -> None:
    """The library can turn a cancellation into an answer or an error; the task ends all the same."""

    async def swallow(error: Exception | None) -> None:
        async with mapped_errors("anything"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if error:
                    raise error from None

    for error in (None, amqp.AMQPConnectionError("gone")):
        task = asyncio.create_task(swallow(error))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_wait_that_the_library_cancels_is_an_error() -> None:
    """Without an error the calling task would end as if it had been cancelled."""
    with pytest.raises(BrokerUnavailableError, match="heartbeat"):
        async with mapped_errors("anything"):
            raise asyncio.CancelledError

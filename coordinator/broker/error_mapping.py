"""Map errors of aio-pika and aiormq to errors of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aio_pika import exceptions as amqp
from aiormq.exceptions import ChannelAccessRefused

from coordinator.errors import (
    BrokerInternalError,
    BrokerRefusedError,
    BrokerTimeoutError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueMissingError,
)

INTERNAL: Final = "INTERNAL_ERROR"
"""The broker's name for reply code 541. The client library has no class for it when it ends a connection."""


@contextlib.asynccontextmanager
async def mapped_errors(asked: str) -> AsyncIterator[None]:
    """Map the client library's errors to ours; `asked` names the request in the message of a timeout.

    The library waits with `asyncio.wait_for`. Before Python 3.12 that loses a cancellation which comes at the same time
    as the answer or the end of the connection. Then a cancelled task would run on forever, and the group that waits for
    it too. So this block raises the cancellation again.

    The library also cancels every wait on a connection whose heartbeat stopped. The calling task was not cancelled
    then, and would end without an error. So this block raises `BrokerUnavailableError` instead.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        found = map_error(error, asked)
        if found is None:
            raise
        raise found from error
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def map_error(  # noqa: PLR0911 - a table with one error a line
    error: BaseException, asked: str = "anything"
) -> CoordinatorError | None:
    """Our error for an error of the client library; None for any other error."""
    match error:
        case amqp.ChannelNotFoundEntity():
            return QueueMissingError(str(error))
        case amqp.ChannelPreconditionFailed() | ChannelAccessRefused():
            return BrokerRefusedError(str(error))
        case TimeoutError():
            return BrokerTimeoutError(f"the broker did not answer in time: {asked}")
        case asyncio.CancelledError():
            return BrokerUnavailableError("the connection is gone: its heartbeat stopped")
        case StopAsyncIteration():  # the library raises it when a connection ends while it opens
            return BrokerUnavailableError("the connection is gone: it ended while it was opened")
        case amqp.AMQPError() | amqp.ChannelInvalidStateError() | OSError() | RuntimeError():
            kind = BrokerInternalError if INTERNAL in str(error) else BrokerUnavailableError
            return kind(f"the connection is gone: {str(error) or type(error).__name__}")
        case _ if type(error) is Exception:  # the library fails waits with it when it knows no reason
            return BrokerUnavailableError("the connection is gone")
        case _:
            return None

"""The client library's errors become ours here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aio_pika import exceptions as amqp
from aiormq.exceptions import ChannelAccessRefused

from coordinator.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    CoordinatorError,
    QueueMissingError,
)


@contextlib.asynccontextmanager
async def ours(asked: str) -> AsyncIterator[None]:
    """Turn the client library's errors into ours; `asked` is what the broker was asked for, should it not answer.

    The library waits by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes together with
    what was waited for, be that an answer or the news that the connection is gone. A task that is told to end would go
    on forever, and with it the group that waits for it, so it is told again. On the other hand the library
    cancels what waits on a connection whose heartbeat stopped: that is no cancellation of the task that called, which
    would end without a word if it were taken for one.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        found = translated(error, asked)
        if found is None:
            raise
        raise found from error
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def translated(  # noqa: PLR0911 - a table, one error a line
    error: BaseException, asked: str = "anything"
) -> CoordinatorError | None:
    """Our error for one of the client library's, None for what is not of it; the special ones come first."""
    match error:
        case amqp.ChannelNotFoundEntity():
            return QueueMissingError(str(error))
        case amqp.ChannelPreconditionFailed() | ChannelAccessRefused():
            return BrokerRefusedError(str(error))
        case TimeoutError():
            return BrokerUnavailableError(f"the broker did not answer in time: {asked}")
        case asyncio.CancelledError():
            return BrokerUnavailableError("the connection is gone: its heartbeat stopped")
        case StopAsyncIteration():  # how the library says that nothing comes any more
            return BrokerUnavailableError("the connection is gone: it ended while it was opened")
        case amqp.AMQPError() | amqp.ChannelInvalidStateError() | OSError() | RuntimeError():
            return BrokerUnavailableError(f"the connection is gone: {str(error) or type(error).__name__}")
        case _ if type(error) is Exception:  # how the library rejects what waits when it has nothing to say
            return BrokerUnavailableError("the connection is gone")
        case _:
            return None

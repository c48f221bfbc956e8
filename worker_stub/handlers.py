"""What a worker does with an item: the handler, how it is found, and how it is run so that its faults stay its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Literal, TypeGuard

import orjson
import structlog

from coordinator.errors import CoordinatorError, InvalidInputError
from coordinator.models import MAX_ITEMS, Item
from coordinator.validation import parse_items

BUILT_IN = {"filesystem": "worker_stub.filesystem:handle", "null": "worker_stub.handlers:null"}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """Where an item comes from.

    Attributes:
        worker: id of the worker that runs the handler.
        seed: id of the item's seed.
        batch: id of the item's batch.
        attempt: 1 on the batch's first delivery, one more after each that failed.
        redelivered: whether the broker says that it delivered this batch before.
    """

    worker: str
    seed: str
    batch: str
    attempt: int
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a handler made of one item.

    Attributes:
        data: any JSON value, for the reader of the results.
        discovered: items found on the way, any number; they are submitted to the item's own seed.
        status: `failed` is an answer like `ok`: the item is not tried again.
        error: what went wrong, for a person to read.
    """

    data: object | None = None
    discovered: tuple[Item, ...] | list[Item] = ()
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None


NOTHING = Result()
"""What a handler made that returned None."""

Handler = Callable[[Item, Context], object]
"""An `async def` or a plain function that returns a Result, or the data of one."""
Call = Callable[[Item, Context], Awaitable[object]]


class RejectBatch(CoordinatorError):  # noqa: N818 - handlers `raise RejectBatch(...)`; it is a request, not an error
    """Raised by a handler to give the whole batch back as failed: it is tried again, here or elsewhere."""


async def null(item: Item, context: Context) -> None:
    """Do nothing: the handler to measure everything else with."""


def load_handler(name: str) -> Handler:
    """Find a handler: `module:function`, or a built-in one by its short name, `filesystem` or `null`.

    The current directory is importable, and comes first, as with `python -m`.

    Raises:
        InvalidInputError: the form is wrong, the module cannot be imported, or it has no such callable.
    """
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        short = ", ".join(BUILT_IN)
        raise InvalidInputError([("handler", f"must be module:function or one of {short}, not {name!r}")])
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the import of a user's module may raise anything
        raise InvalidInputError([("handler", f"cannot import {module_name}: {_sentence(error)}")]) from error
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise InvalidInputError([("handler", f"{module_name} has no {attribute}")]) from error
    if not callable(found):
        raise InvalidInputError([("handler", f"{module_name}:{attribute} is not callable")])
    handler: Handler = found
    return handler


def caller(handler: Handler) -> Call:
    """A coroutine function that calls the handler: a plain function runs in a thread.

    Cancelling does not stop a thread: a plain function runs to its end, and its result is dropped.
    """
    return handler if _is_coroutine_function(handler) else partial(_call_plain, handler)


async def result_of(made: object) -> Result:
    """The handler's result, ready to send: its data as plain JSON values, its discovered items validated.

    Raises:
        InvalidInputError: it cannot be sent. Other errors are possible if a field has the wrong type.
    """
    result = made if isinstance(made, Result) else Result(data=made)
    if len(result.discovered) > MAX_ITEMS:  # a long list would block the loop, and with it the heartbeats
        return await asyncio.to_thread(_checked, result)
    return _checked(result)


def failure_of(error: Exception, item: Item, context: Context) -> Result:
    """The failed result of an item whose handler raised, or returned something that cannot be sent."""
    ids = {"worker": context.worker, "seed": context.seed, "batch": context.batch, "item": item["id"]}
    _log.error("handler.failed", **ids, attempt=context.attempt, exc_info=error)
    return Result(status="failed", error=_sentence(error))


def entry_of(item: Item, result: Result) -> dict[str, object]:
    """The item's entry in the batch's results; fields that are None are left out."""
    entry: dict[str, object] = {"id": item["id"], "status": result.status}
    if result.data is not None:
        entry["data"] = result.data
    if result.error is not None:
        entry["error"] = result.error
    return entry


def _is_coroutine_function(handler: Handler) -> TypeGuard[Call]:
    return inspect.iscoroutinefunction(handler)


async def _call_plain(handler: Handler, item: Item, context: Context) -> object:
    made = await _in_thread(partial(handler, item, context))
    return await made if inspect.isawaitable(made) else made


async def _in_thread(call: Callable[[], object]) -> object:
    """Call a plain function in a daemon thread of its own.

    The loop's pool has few threads, and Python waits for them at exit: handlers that hang would block both.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[object] = loop.create_future()

    def settle(made: object, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(made)
        else:
            done.set_exception(error)

    def run() -> None:
        made: object = None
        problem: Exception | None = None
        try:
            made = call()
        except StopIteration:  # a future cannot carry a StopIteration
            problem = RuntimeError("the handler raised StopIteration")
        except Exception as error:  # noqa: BLE001 - someone else's code: it may raise anything
            problem = error
        except BaseException as error:  # noqa: BLE001 - a SystemExit would end this thread without a result
            problem = RuntimeError(f"the handler raised {type(error).__name__}")
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits for the result any more
            loop.call_soon_threadsafe(settle, made, problem)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="handler", daemon=True).start()
    return await done


def _checked(result: Result) -> Result:
    """The result as it is sent. A handler's fault is found here, not when the result is published.

    Raises:
        InvalidInputError: something in it cannot be sent.
    """
    if result.status not in {"ok", "failed"}:
        raise InvalidInputError([("status", f"must be ok or failed, not {result.status!r}")])
    try:
        data = orjson.loads(orjson.dumps(result.data))
    except orjson.JSONEncodeError as error:
        raise InvalidInputError([("data", f"cannot be written as JSON: {error}")]) from error
    error_text = None if result.error is None else _printable(str(result.error))
    return replace(result, data=data, discovered=_checked_items(result.discovered), error=error_text)


def _checked_items(discovered: tuple[Item, ...] | list[Item]) -> tuple[Item, ...]:
    """The items as their reader sees them, validated page by page."""
    items: list[Item] = []
    for start in range(0, len(discovered), MAX_ITEMS):
        try:
            items += parse_items(orjson.dumps(list(discovered[start : start + MAX_ITEMS])))
        except orjson.JSONEncodeError as error:
            raise InvalidInputError([("discovered", f"cannot be written as JSON: {error}")]) from error
        except InvalidInputError as error:
            place = f"discovered[{start}:]" if start else "discovered"
            raise InvalidInputError([(f"{place} {where}", what) for where, what in error.problems]) from error
    return tuple(items)


def _sentence(error: Exception) -> str:
    return _printable(f"{type(error).__name__}: {error}")


def _printable(text: str) -> str:
    """The text with escapes for what UTF-8 cannot carry, such as stray bytes of a file name in an OSError."""
    return text.encode("utf-8", "backslashreplace").decode()

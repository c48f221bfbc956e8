"""How handlers are found and run, and how little harm a bad one can do."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from structlog.testing import capture_logs

from coordinator.errors import InvalidInputError
from coordinator.models import Item
from worker_stub import filesystem
from worker_stub.handlers import (
    Context,
    Handler,
    RejectBatch,
    Result,
    caller,
    entry_of,
    failure_of,
    load_handler,
    null,
    result_of,
)

if TYPE_CHECKING:
    from pathlib import Path

ITEM: Item = {"id": "a"}
CONTEXT = Context(worker="w", seed="s", batch="b", attempt=2, redelivered=False)


def returning(value: object) -> Handler:
    """A plain handler that returns this."""
    return lambda _item, _context: value


def raising(error: BaseException) -> Handler:
    """A plain handler that raises this."""

    def handler(_item: Item, _context: Context) -> object:
        raise error

    return handler


async def run(handler: Handler) -> Result:
    """What becomes of an item, as a worker has it."""
    try:
        return await result_of(await caller(handler)(ITEM, CONTEXT))
    except RejectBatch:
        raise
    except Exception as error:  # noqa: BLE001 - as a worker does
        return failure_of(error, ITEM, CONTEXT)


async def test_coroutine_function_runs_on_the_loop() -> None:
    """An `async def` handler runs on the loop's own thread, with the item and the context it was given."""

    async def handler(item: Item, context: Context) -> Result:
        return Result(data=[item["id"], context.attempt, threading.get_ident()])

    assert await run(handler) == Result(data=["a", 2, threading.get_ident()])


async def test_plain_function_does_not_block_the_loop() -> None:
    """A plain handler runs in a thread: it can wait for something that the loop does meanwhile."""
    go = threading.Event()

    def handler(_item: Item, _context: Context) -> object:
        return go.wait(10)

    running = asyncio.create_task(run(handler))
    asyncio.get_running_loop().call_soon(go.set)
    assert await running == Result(data=True)


async def test_other_callables_are_handlers() -> None:
    """An object with an async `__call__` runs on the loop, and a plain function may return something to await."""

    class Handling:
        async def __call__(self, _item: Item, _context: Context) -> object:
            return threading.get_ident()

    def plain(item: Item, context: Context) -> object:
        return Handling()(item, context)

    for handler in (Handling(), plain):
        assert await run(handler) == Result(data=threading.get_ident())


@pytest.mark.parametrize("value", [None, 1, "text", [1, 2.5], {"a": None}, False])
async def test_any_other_value_is_data(value: object) -> None:
    """What is no Result is the data of one."""
    assert await run(returning(value)) == Result(data=value)


async def test_data_become_plain_json() -> None:
    """Data are what their JSON reads as, so that whoever encodes them later sends the same."""
    made = await run(returning({"at": datetime(2024, 1, 2, tzinfo=UTC), "pair": (1, 2)}))
    assert made.data == {"at": "2024-01-02T00:00:00+00:00", "pair": [1, 2]}


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, {1: 2}, "\udc80", 2**70, object()])
async def test_data_that_are_no_json_fail_the_item(value: object) -> None:
    """Data that JSON cannot hold make the item failed, with an error that says so."""
    made = await run(returning(value))
    assert (made.status, made.data) == ("failed", None)
    assert made.error is not None
    assert made.error.startswith("InvalidInputError: data: cannot be written as JSON: ")


async def test_failed_result_is_kept() -> None:
    """A handler's own failed Result stays as it is; bytes that are no UTF-8 in its error are escaped."""
    mine = Result(data=1, discovered=[{"id": "b"}], status="failed", error="no \udcff")
    assert await run(returning(mine)) == Result(data=1, discovered=({"id": "b"},), status="failed", error="no \\udcff")


async def test_exception_fails_the_item_and_is_logged() -> None:
    """An exception becomes a failed result that names it, and a log line with the ids and the traceback."""
    error = ValueError("odd \udcff")
    with capture_logs() as logs:
        made = await run(raising(error))
    assert made == Result(status="failed", error="ValueError: odd \\udcff")
    ids = {"worker": "w", "seed": "s", "batch": "b", "item": "a", "attempt": 2}
    assert logs == [{"event": "handler.failed", "log_level": "error", "exc_info": error, **ids}]


async def test_stop_iteration_does_not_hang() -> None:
    """A plain handler that lets a StopIteration out fails its item as any other does."""
    made = await asyncio.wait_for(run(raising(StopIteration())), 10)
    assert (made.status, made.error) == ("failed", "RuntimeError: the handler raised StopIteration")


async def test_reject_batch_passes_through() -> None:
    """RejectBatch is no fault of the item: it reaches the worker, and nothing is logged."""

    async def handler(_item: Item, _context: Context) -> object:
        raise RejectBatch("not here")

    with capture_logs() as logs:
        for rejecting in (handler, raising(RejectBatch("not here"))):
            with pytest.raises(RejectBatch, match="not here"):
                await run(rejecting)
    assert logs == []


async def test_cancelling_passes_through() -> None:
    """A worker that stops can cancel an item: the cancellation is not taken for a failure."""
    begun = asyncio.Event()

    async def handler(_item: Item, _context: Context) -> object:
        begun.set()
        return await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(run(handler))
    await asyncio.wait_for(begun.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_discovered_items_of_any_number_are_kept() -> None:
    """More discovered items than a page holds come through in order, with fields of their own."""
    found: list[Item] = [{"id": str(number), "action": "scan", "metadata": {"n": number}} for number in range(2001)]
    made = await run(returning(Result(discovered=found)))
    assert made == Result(discovered=tuple(found))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"id": ""}, "id: "),
        ({"id": "x\n"}, "id: "),
        ({"action": "scan"}, "id: "),
        ({"id": "x", "action": "run"}, "action: "),
        ({"id": "x", "size": {1}}, "cannot be written as JSON"),
    ],
)
@pytest.mark.parametrize("before", [3, 1500])
async def test_bad_discovered_item_fails_the_item(bad: object, error: str, before: int) -> None:
    """One discovered item that does not validate makes the item failed, and none of them is submitted."""
    found = [*({"id": str(number)} for number in range(before)), bad]
    made = await run(returning(Result(data=1, discovered=cast("list[Item]", found))))
    assert (made.status, made.data, made.discovered) == ("failed", None, ())
    assert made.error is not None
    assert made.error.startswith("InvalidInputError: discovered")
    assert error in made.error


@pytest.mark.parametrize("bad", [{"status": "done"}, {"discovered": None}, {"discovered": {"id": "x"}}])
async def test_result_of_wrong_types_fails_the_item(bad: dict[str, Any]) -> None:
    """A Result that no type checker has seen fails the item, not the worker."""
    made = await run(returning(Result(**bad)))
    assert made.status == "failed"


async def test_entry_of() -> None:
    """An entry of the batch's results has the item's id and is JSON; what there is nothing of is left out."""
    made = await run(returning(Result(data={"n": 1}, status="failed", error="why")))
    entry = entry_of(ITEM, made)
    assert orjson.loads(orjson.dumps(entry)) == {"id": "a", "status": "failed", "data": {"n": 1}, "error": "why"}
    assert entry_of(ITEM, Result(data=0)) == {"id": "a", "status": "ok", "data": 0}


async def test_built_in_names() -> None:
    """`filesystem` and `null` name the handlers of this package; `null` makes nothing of an item."""
    assert load_handler("filesystem") is filesystem.handle
    assert load_handler("null") is null
    assert await run(null) == Result()


async def test_current_directory_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler in a file of the current directory is found, also one that is a method of an object there."""
    (tmp_path / "handler_of_mine.py").write_text(
        "class Box:\n    def run(self, item, context):\n        return item['id']\nbox = Box()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    handler = load_handler("handler_of_mine:box.run")
    assert await run(handler) == Result(data="a")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "must be module:function"),
        ("json", "must be module:function"),
        ("json:", "must be module:function"),
        (":dumps", "must be module:function"),
        ("json:dumps:x", "must be module:function"),
        (".json:dumps", "must be module:function"),
        ("no_such_module_here:f", "cannot import no_such_module_here: ModuleNotFoundError"),
        ("raises_at_import:f", "cannot import raises_at_import: KeyError: 'SETTING'"),
        ("wrong_syntax:f", "cannot import wrong_syntax: SyntaxError"),
        ("json:no_such", "json has no no_such"),
        ("json:__name__", "json:__name__ is not callable"),
    ],
)
def test_bad_handler_names(name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that cannot be had is an error of the field `handler` that says why."""
    (tmp_path / "raises_at_import.py").write_text("import os\nos.environ['SETTING']\n")
    (tmp_path / "wrong_syntax.py").write_text("def f(:\n")
    monkeypatch.delenv("SETTING", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(InvalidInputError) as caught:
        load_handler(name)
    [(field, problem)] = caught.value.problems
    assert field == "handler"
    assert what in problem

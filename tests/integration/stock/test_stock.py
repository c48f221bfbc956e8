"""A stock AMQP client in any language is a correct worker: the C library's and Node's, as they come."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from coordinator.settings import Settings
from tests.helpers.processes import kill
from tests.helpers.support import eventually, in_ci, items, publish_items

pytestmark = pytest.mark.usefixtures("node")

HERE = Path(__file__).parent


def need(what: str, *, is_there: bool) -> None:
    """Skip the test where a client is missing, but fail it in CI."""
    if not is_there:
        (pytest.fail if in_ci() else pytest.skip)(f"{what} is not installed: run `make setup-stock`")


@contextlib.asynccontextmanager
async def reading(*command: str) -> AsyncIterator[list[dict[str, Any]]]:
    """A client that runs until the end of the block; gives what it writes, one JSON document a line."""
    running = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=2**22
    )
    seen: list[dict[str, Any]] = []

    async def read() -> None:
        while running.stdout is not None and (line := await running.stdout.readline()):
            seen.append(orjson.loads(line))

    reader = asyncio.create_task(read())
    try:
        yield seen
    finally:
        await kill(running)
        await reader


async def test_c_client_takes_every_item_once(settings: Settings) -> None:
    """`amqp-consume` acks a batch once its command is through with it: every item comes once, and nothing again."""
    program = shutil.which("amqp-consume")
    need("amqp-consume", is_there=program is not None)
    # Its command gets a batch on its standard input; the echo ends the line.
    command = [str(program), "-u", settings.amqp_urls()[0], "-q", "work", "-p", "3", "--", "sh", "-c", "cat; echo"]
    async with reading(*command) as batches:
        await publish_items(settings, "s", [items(100, f"p{page}-") for page in range(5)])
        await publish_items(settings, "t", [items(50, "t")])
        await eventually(lambda: sum(len(batch["items"]) for batch in batches) >= 550, "550 items")
    every = [*(f"p{page}-{number}" for page in range(5) for number in range(100)), *(f"t{n}" for n in range(50))]
    assert Counter(item["id"] for batch in batches for item in batch["items"]) == Counter(every)
    assert {(batch["epoch"], batch["attempt"], tuple(batch["tags"])) for batch in batches} == {(1, 1, ())}


async def test_node_client_acks_rejects_and_gives_back(settings: Settings) -> None:
    """What Node's client rejects comes back with attempt 2, what it gives back with a reason comes as it was."""
    program = shutil.which("node")
    need("node", is_there=program is not None)
    need("amqplib", is_there=(HERE / "node_modules" / "amqplib").is_dir())
    async with reading(str(program), str(HERE / "worker.js"), settings.amqp_urls()[0]) as seen:
        await publish_items(settings, "s/+=", [items(100, f"p{page}-") for page in range(5)])
        await eventually(lambda: sum(one["done"] == "acked" for one in seen) >= 5, "5 batches acked")
    told: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for one in seen:
        batch, headers = one["batch"], one["headers"]
        told[batch["id"]].append((one["done"], batch["attempt"]))
        assert one["messageId"] == batch["id"]
        assert headers == {key: batch[key] for key in ("seed", "epoch", "attempt")} | {"count": len(batch["items"])}
    assert sorted(told.values()) == [
        [("acked", 1)],
        [("acked", 1)],
        [("acked", 1)],
        [("rejected", 1), ("acked", 2)],
        [("returned", 1), ("acked", 1)],
    ]
    acked = Counter(item["id"] for one in seen if one["done"] == "acked" for item in one["batch"]["items"])
    assert acked == Counter(f"p{page}-{number}" for page in range(5) for number in range(100))

"""`coordinator cluster`: the coordinators and the broker."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Final

import typer

from coordinator.cli.cells import Row, age, size
from coordinator.cli.common import AsJson, HttpUrl, examples, known_http, print_json, shown
from coordinator.cli.list_options import Part
from coordinator.cli.lists import Listing, show
from coordinator.client.reader import Reader

COORDINATOR: Final = ("instance", "host", "version", "seeds", "lag", "up", "you")
NODE: Final = ("name", "running", "memory", "memoryAlarm", "diskFree", "diskAlarm")

app = typer.Typer()


@app.command(epilog=examples("coordinator cluster", "coordinator cluster --json"))
def cluster(*, http_url: HttpUrl = None, as_json: AsJson = False) -> None:
    """List the coordinators with their seeds and the delay of their event loops, and the broker's nodes."""

    async def read() -> tuple[list[Row], Row]:
        async with known_http(Reader, http_url) as reader:
            coordinators, broker = await asyncio.gather(reader.coordinators(), reader.broker())
        state = broker.model_dump(mode="json", by_alias=True)
        return [one.model_dump(mode="json", by_alias=True) for one in coordinators], state

    coordinators, broker = asyncio.run(read())
    if as_json:
        print_json({"coordinators": coordinators, "broker": broker})
        return
    show(COORDINATORS, coordinators, Part(), as_json=False)
    show(NODES, broker["nodes"], Part(), as_json=False)
    name = f"{broker['product']} {broker['version']}" if broker["known"] else "the management API does not answer"
    typer.echo(shown(f"broker: {name}{'; blocked: it has an alarm and accepts no messages' * broker['blocked']}"))


def coordinator_cell(row: Row, name: str) -> object:
    """What a column of a coordinator holds."""
    if name == "up":
        return age(row.get("since"), dt.datetime.now(dt.UTC))
    return f"{row['lag'] * 1000:.0f} ms" if name == "lag" else row.get(name)


def node_cell(row: Row, name: str) -> object:
    """What a column of a node of the broker holds."""
    return size(row.get(name)) if name in {"memory", "diskFree"} else row.get(name)


COORDINATORS: Final = Listing("coordinators", COORDINATOR, coordinator_cell)
NODES: Final = Listing("broker nodes", NODE, node_cell)

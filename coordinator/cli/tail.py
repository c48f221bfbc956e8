"""`coordinator tail`: past and future events."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
import typer

from coordinator.api_models import Event
from coordinator.cli.common import HttpUrl, examples, known_http, shown
from coordinator.client.reader import Reader

app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator tail --seed photos",
        "coordinator tail --worker crawler-7 --kind batch.returned,batch.dead",
        "coordinator tail --lines 1000 --no-follow --json",
    )
)
def tail(
    *,
    seed: Annotated[str | None, typer.Option(show_default=False, help="Only events of this seed.")] = None,
    worker: Annotated[str | None, typer.Option(show_default=False, help="Only events of this worker.")] = None,
    batch: Annotated[str | None, typer.Option(show_default=False, help="Only events of this batch.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            show_default=False, help="Only these kinds, separated by commas; batch means all kinds of batch events."
        ),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many past events to show first.")] = 10,
    follow: Annotated[bool, typer.Option(help="Keep printing new events until interrupted.")] = True,
    http_url: HttpUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
) -> None:
    """Print events of seeds, workers and batches as they happen."""
    wanted = {"seed": seed, "worker": worker, "batch": batch, "kind": kind}
    asyncio.run(_tail(http_url, wanted, lines, follow=follow, as_json=as_json))


async def _tail(
    http_url: str | None, wanted: dict[str, str | None], lines: int, *, follow: bool, as_json: bool
) -> None:
    async with known_http(Reader, http_url) as reader:
        last: str | None = None
        for event in await reader.events(**wanted, limit=max(1, lines)):
            last = event.id
            if lines:
                _print(event, as_json=as_json)
        if follow:
            async for event in reader.follow(**wanted, after=last):
                _print(event, as_json=as_json)


def _print(event: Event, *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(event.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    else:
        typer.echo(line_of(event))


def line_of(event: Event) -> str:
    """An event in one line."""
    parts = [event.at, f"{event.kind:<17}"]
    parts += [f"{name}={value}" for name in ("seed", "worker", "batch") if (value := getattr(event, name)) is not None]
    parts += [f"{name}={value}" for name in ("items", "attempt") if (value := getattr(event, name)) is not None]
    if event.reason is not None:
        parts.append(f"({event.reason})")
    return shown(" ".join(parts)).replace("\n", "\\n")

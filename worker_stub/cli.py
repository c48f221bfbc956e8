"""The command line of the reference worker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from coordinator import event_loop, logs
from coordinator.client.http_worker import HttpWorker
from coordinator.discovery import read_connection
from coordinator.errors import BrokerUnavailableError, CoordinatorError, InvalidInputError
from coordinator.settings import Settings
from coordinator.validation import check_tags, check_worker_id, invalid
from worker_stub.amqp_transport import Addresses, AmqpTransport
from worker_stub.handlers import load_handler
from worker_stub.http_transport import HttpTransport
from worker_stub.job import Transport
from worker_stub.spool import Spool
from worker_stub.worker import Identity, Worker

FAILED = 1
ANSWER_TIMEOUT = 10.0
"""Seconds that a coordinator may take to answer, beyond a long poll."""
ALIVE_EVERY = 2.0
"""Seconds between signs of life."""


class TransportName(StrEnum):
    """How the worker speaks."""

    AMQP = "amqp"
    HTTP = "http"


class Ack(StrEnum):
    """When the worker takes responsibility."""

    DONE = "done"
    TAKEN = "taken"


class LogLevel(StrEnum):
    """How much it says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def work(  # noqa: PLR0913 - the options
    *,
    ident: Annotated[str, typer.Option("--id", help="The worker's id; the host's name by default.")] = "",
    tags: Annotated[str, typer.Option(help="What it can do, separated by commas.")] = "",
    transport: Annotated[TransportName, typer.Option(help="How it speaks.")] = TransportName.AMQP,
    ack: Annotated[
        Ack, typer.Option(help="Ack when the handler is through, or as soon as the batch is safe on disk.")
    ] = Ack.DONE,
    handler: Annotated[str, typer.Option(help="module:function, or one of: filesystem, null.")] = "filesystem",
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Batches worked on at once.")] = 1,
    spool: Annotated[Path | None, typer.Option(help="Folder for taken batches (with --ack taken).")] = None,
    no_results: Annotated[
        bool, typer.Option("--no-results", help="Publish no results, for a crawl in which nobody listens for them.")
    ] = False,
    amqp_url: Annotated[
        str | None,
        typer.Option(
            help="The broker, to connect to as it is: without registration. Prefer the variable COORDINATOR_AMQP_URL:"
            " arguments show in lists of processes."
        ),
    ] = None,
    http_url: Annotated[
        str | None, typer.Option(help="The coordinator, to register with. It is shown the token in COORDINATOR_TOKEN.")
    ] = None,
    stop_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a drain may take.")] = 10.0,
    alive_file: Annotated[
        Path | None,
        typer.Option(
            envvar="WORKER_ALIVE_FILE", help="A file to touch every 2 s while connected, for who checks its health."
        ),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Log this and what is graver.")] = LogLevel.INFO,
) -> None:
    """Take batches from a coordinator and run their items through a handler.

    On the machine of a `coordinator serve` it finds everything by itself. Stop it with Ctrl-C or SIGTERM: it
    finishes the items in hand and gives back the rest.

    Examples:
        worker-stub --id w1 --handler filesystem

        worker-stub --id w2 --tags pdf,ocr --handler mycrawl.handlers:process --ack taken --concurrency 4
    """
    logs.configure(log_level.value)
    try:
        identity = Identity(
            id=check_worker_id(ident or socket.gethostname()),
            tags=tuple(sorted(check_tags([tags]))),
            transport=transport.value,
            concurrency=concurrency,
        )
        given = _given(amqp_url=amqp_url, http_url=http_url)
        settings = read_connection(given)
        place = None
        if ack is Ack.TAKEN:
            # With a prefix, for `.` and `..` are ids too.
            place = Spool(spool or settings.home / "spool" / f"worker-{identity.id}")
        # A broker that was named is taken as it is: a coordinator that was found may belong to another.
        is_plain = transport is TransportName.AMQP and bool(given.amqp_urls()) and not given.http_url
        url = None if is_plain else settings.http_url
        run_one = load_handler(handler)

        def make(port: Transport) -> Worker:
            return Worker(identity, port, run_one, place, stop_timeout, tells_results=not no_results)

        event_loop.run(_work(identity, settings, url, make, alive_file))
    except (CoordinatorError, OSError, ExceptionGroup) as error:
        typer.echo(f"worker-stub: {_cause(error)}", err=True)
        raise typer.Exit(FAILED) from None


def _given(**options: str | None) -> Settings:
    """The settings from the environment, with the options that were given in their place."""
    try:
        settings = Settings(**{name: value for name, value in options.items() if value})  # type: ignore[arg-type]
    except ValidationError as error:
        raise invalid(error) from error
    if not all(_is_url(url, "amqp", "amqps") for url in settings.amqp_urls()):
        raise InvalidInputError([("amqp-url", "must be like amqp://user:password@host:5672/")])
    if settings.http_url and not _is_url(settings.http_url, "http", "https"):
        raise InvalidInputError([("http-url", "must be like http://host:8787")])
    return settings


def _is_url(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _cause(error: Exception) -> Exception:
    """The error that ended the worker: the first of a group, if it is one that a user can do something about."""
    cause = error
    while isinstance(cause, ExceptionGroup):
        cause = cause.exceptions[0]
    if not isinstance(cause, CoordinatorError | OSError):
        raise error
    return cause


async def _work(
    identity: Identity,
    settings: Settings,
    url: str | None,
    make: Callable[[Transport], Worker],
    alive_file: Path | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _transport(identity, settings, url) as transport, asyncio.TaskGroup() as group:
        signs = group.create_task(_show_life(transport, alive_file), name="alive") if alive_file else None
        await make(transport).run(stop)
        if signs is not None:
            signs.cancel()


async def _show_life(transport: Transport, file: Path) -> None:
    """Touch a file while the worker is connected and its event loop runs."""
    while True:
        await transport.wait_connected()
        file.touch(mode=0o600)  # noqa: ASYNC240 - on local memory or disk, and but now and then
        await asyncio.sleep(ALIVE_EVERY)


@contextlib.asynccontextmanager
async def _transport(identity: Identity, settings: Settings, url: str | None) -> AsyncIterator[Transport]:
    """The transport: with a coordinator's URL it registers there, else it takes the broker's URL as it is."""
    token = settings.token.get_secret_value() if settings.token else None
    api = (
        HttpWorker(url, identity.id, identity.tags, token=token, timeout=ANSWER_TIMEOUT, ca_file=settings.ca_file)
        if url
        else None
    )
    try:
        if identity.transport == "http":
            if api is None:
                raise InvalidInputError([("http-url", "is needed: no running coordinator was found on this machine")])
            yield HttpTransport(identity, api)
        else:
            yield AmqpTransport(identity, _addresses(settings, api))
    finally:
        if api is not None:
            await api.close()


def _addresses(settings: Settings, api: HttpWorker | None) -> Addresses:
    if api is None and not settings.amqp_urls():
        raise InvalidInputError([("amqp-url", "is needed: no running coordinator was found on this machine")])

    async def register() -> Sequence[str]:
        if api is None:
            return settings.amqp_urls()
        registered = await api.register("amqp")
        if registered.amqp_url is None:
            raise BrokerUnavailableError("the coordinator gave no AMQP URL")
        return [settings.trusting(one) for one in registered.amqp_url.split(",")]

    return register


def main() -> None:
    """Run the command line."""
    app(prog_name="worker-stub")


if __name__ == "__main__":
    main()

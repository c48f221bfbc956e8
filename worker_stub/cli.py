"""The command line of the reference worker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from coordinator import event_loop, logs
from coordinator.client.http_worker import HttpWorker
from coordinator.discovery import read_connection
from coordinator.errors import BrokerUnavailableError, CoordinatorError, InvalidInputError
from coordinator.settings import Settings
from coordinator.validation import check_tags, check_worker_id, invalid, is_url
from worker_stub.amqp_transport import Addresses, AmqpTransport
from worker_stub.handlers import load_handler
from worker_stub.http_transport import HttpTransport
from worker_stub.job import Transport
from worker_stub.spool import Spool
from worker_stub.worker import Identity, Worker

FAILED = 1
ANSWER_TIMEOUT = 10.0
"""Seconds that a coordinator may take to answer, in addition to a long poll."""
ALIVE_EVERY = 2.0
"""Seconds between two touches of the alive file."""


Ident = Annotated[str, typer.Option("--id", help="The worker's id. The default is the host's name.")]
Tags = Annotated[str, typer.Option(help="What the worker can do: tags, separated by commas.")]
TransportName = Annotated[Literal["amqp", "http"], typer.Option(help="The protocol to the coordinator.")]
Ack = Annotated[
    Literal["done", "taken"],
    typer.Option(help="done: ack when the handler has finished. taken: ack when the batch is safe on disk."),
]
HandlerName = Annotated[str, typer.Option("--handler", help="module:function, or one of: filesystem, null.")]
Concurrency = Annotated[int, typer.Option(min=1, max=1000, help="Batches to work on at the same time.")]
SpoolFolder = Annotated[Path | None, typer.Option(help="Folder for taken batches (with --ack taken).")]
NoResults = Annotated[
    bool, typer.Option("--no-results", help="Publish no results, for a crawl that nothing reads results of.")
]
AmqpUrl = Annotated[
    str | None,
    typer.Option(
        help="Connect to this broker directly, without registration. Prefer the variable COORDINATOR_AMQP_URL:"
        " arguments show in lists of processes."
    ),
]
HttpUrl = Annotated[
    str | None,
    typer.Option(help="Register with this coordinator. The worker sends it the token in COORDINATOR_TOKEN."),
]
StopTimeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a drain may take.")]
AliveFile = Annotated[
    Path | None,
    typer.Option(envvar="WORKER_ALIVE_FILE", help="Touch this file every 2 s while connected, for health checks."),
]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="Log this level and above.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def work(  # noqa: PLR0913 - the options
    *,
    ident: Ident = "",
    tags: Tags = "",
    transport: TransportName = "amqp",
    ack: Ack = "done",
    handler: HandlerName = "filesystem",
    concurrency: Concurrency = 1,
    spool: SpoolFolder = None,
    no_results: NoResults = False,
    amqp_url: AmqpUrl = None,
    http_url: HttpUrl = None,
    stop_timeout: StopTimeout = 10.0,
    alive_file: AliveFile = None,
    log_level: LogLevel = "info",
) -> None:
    """Take batches from a coordinator and run their items through a handler.

    On the machine of a `coordinator serve` the worker finds everything by itself. Stop it with Ctrl-C or SIGTERM:
    it finishes the items in hand and gives back the rest.

    Examples:
        worker-stub --id w1 --handler filesystem

        worker-stub --id w2 --tags pdf,ocr --handler mycrawl.handlers:process --ack taken --concurrency 4
    """
    logs.configure(log_level)
    try:
        identity = _identity(ident or socket.gethostname(), tags, transport, concurrency)
        settings, url = _find(transport, amqp_url, http_url)
        place = Spool(spool or _spool_folder(settings, identity.id)) if ack == "taken" else None
        run_one = load_handler(handler)

        def make(port: Transport) -> Worker:
            return Worker(identity, port, run_one, place, stop_timeout, publishes_results=not no_results)

        event_loop.run(_work(identity, settings, url, make, alive_file))
    except (CoordinatorError, OSError, ExceptionGroup) as error:
        typer.echo(f"worker-stub: {_cause(error)}", err=True)
        raise typer.Exit(FAILED) from None


def _identity(ident: str, tags: str, transport: Literal["amqp", "http"], concurrency: int) -> Identity:
    return Identity(check_worker_id(ident), tuple(sorted(check_tags([tags]))), transport, concurrency)


def _spool_folder(settings: Settings, ident: str) -> Path:
    return settings.home / "spool" / f"worker-{ident}"  # with a prefix, because `.` and `..` are ids too


def _find(transport: str, amqp_url: str | None, http_url: str | None) -> tuple[Settings, str | None]:
    """The settings, and the URL of the coordinator to register with; None to connect to the broker directly."""
    given = _given(amqp_url=amqp_url, http_url=http_url)
    settings = read_connection(given)
    # A coordinator that was found on this machine may belong to another broker than the one that was named.
    is_direct = transport == "amqp" and bool(given.amqp_urls()) and not given.http_url
    return settings, None if is_direct else settings.http_url


def _given(**options: str | None) -> Settings:
    """The settings from the environment, overridden by the given options."""
    try:
        settings = Settings(**{name: value for name, value in options.items() if value})  # type: ignore[arg-type]
    except ValidationError as error:
        raise invalid(error) from error
    if not all(is_url(url, "amqp", "amqps") for url in settings.amqp_urls()):
        raise InvalidInputError([("amqp-url", "must be like amqp://user:password@host:5672/")])
    if settings.http_url and not is_url(settings.http_url, "http", "https"):
        raise InvalidInputError([("http-url", "must be like http://host:8787")])
    return settings


def _cause(error: Exception) -> Exception:
    """The error that ended the worker, or the first of a group. An unexpected error is raised with its traceback."""
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
    """The transport. With a coordinator's URL it registers there; without, it uses the broker's URL directly."""
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
    """Run the command."""
    app(prog_name="worker-stub")


if __name__ == "__main__":
    main()

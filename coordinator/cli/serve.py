"""`coordinator serve`: run a coordinator with its HTTP side, and a private broker if no URL is given."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Annotated, Any, Final, Literal

import structlog
import typer
from pydantic import SecretStr
from starlette.applications import Starlette

from coordinator import discovery, event_loop, logs
from coordinator.cli.broker import ended
from coordinator.cli.common import AmqpUrl, ManagementUrl, examples, load_settings, without_password
from coordinator.cli.signals import run_until_signalled
from coordinator.errors import CoordinatorError
from coordinator.http.app import create_app
from coordinator.http.server import BACKLOG, Server, check_certificate, scheme_of, server_config
from coordinator.http.shutdown import Requests
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.config import FIGURES_LAG
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.tls import client_context
from coordinator.tokens import Tokens, new_secret

log = structlog.get_logger(__name__)

OTHER_FILES: Final = 200
"""Open files in addition to the connections over HTTP."""
HTTP_GRACE: Final = 2
"""Seconds that open requests may still take at a stop."""


HttpHost = Annotated[
    str | None, typer.Option(envvar="COORDINATOR_HTTP_HOST", show_default="127.0.0.1", help="The address to listen on.")
]
HttpPort = Annotated[
    int | None,
    typer.Option(envvar="COORDINATOR_HTTP_PORT", show_default="8787", min=0, max=65535, help="0 picks a free port."),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(envvar="COORDINATOR_LOG_LEVEL", show_default="info", help="Log this level and above."),
]
LogFormat = Annotated[
    Literal["auto", "json", "text"] | None,
    typer.Option(
        envvar="COORDINATOR_LOG_FORMAT", show_default="auto", help="auto is text on a terminal, else JSON lines."
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="COORDINATOR_INSECURE",
        help="Listen on a public address without tokens: anyone who reaches it can do anything.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "coordinator serve",
        "COORDINATOR_AMQP_URL=amqp://user:password@broker:5672/ coordinator serve --http-port 8080",
    )
)
def serve(
    *,
    amqp_url: AmqpUrl = None,
    management_url: ManagementUrl = None,
    http_host: HttpHost = None,
    http_port: HttpPort = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    insecure: Insecure = False,
) -> None:
    """Run a coordinator. Without a broker's URL, also run a private broker, which keeps its data.

    Each option has a variable (COORDINATOR_…). Tokens, TLS and limits have variables only: see docs/security.md.
    """
    settings = load_settings(
        amqp_url=amqp_url,
        management_url=management_url,
        http_host=http_host,
        http_port=http_port,
        log_level=log_level,
        log_format=log_format,
    )
    logs.configure(settings.log_level, settings.log_format)
    local = new_secret()
    tokens = Tokens.of(settings, local)
    check_certificate(settings)
    if settings.ca_file is not None:
        client_context(settings.ca_file)
    _allow_connections(settings.max_connections)
    with listening(settings, insecure=insecure or tokens.are_required) as listener:
        event_loop.run(run_until_signalled(_serve(settings, listener, tokens, local), settings.stop_timeout))


@contextlib.contextmanager
def listening(settings: Settings, *, insecure: bool) -> Iterator[socket.socket]:
    """A socket bound to the address that the settings name.

    Raises:
        CoordinatorError: the address cannot be used, or it is public and neither tokens nor --insecure are set.
    """
    host, port = settings.http_host, settings.http_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, kind, protocol) as listener:
            if not insecure and not ipaddress.ip_address(address[0]).is_loopback:
                raise CoordinatorError(
                    f"{host} can be reached from other machines, and without tokens anyone can do anything: make some"
                    " with `coordinator token create`, listen on 127.0.0.1, or allow it with --insecure"
                )
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            yield listener
    except OSError as error:
        raise CoordinatorError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


def _allow_connections(wanted: int) -> None:
    """Raise the limit of open files for this many connections, if the system allows it; a usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning("serve.few_open_files", allowed=hard, wanted=wanted)
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(settings: Settings, listener: socket.socket, tokens: Tokens, local: str) -> None:
    """Run until one of the parts ends. At a stop they end in the reverse order of their start.

    `local` is the token for programs of this user on this machine.
    """
    async with contextlib.AsyncExitStack() as stack:
        ends: list[asyncio.Task[None]] = []
        if not settings.amqp_urls():
            private = await stack.enter_async_context(PrivateBroker(settings.home / "broker"))
            settings = _with_broker(settings, private)
            ends.append(await stack.enter_async_context(_running(ended(private), "broker")))
        node = Coordinator(settings)
        ends.append(await stack.enter_async_context(_running(node.run(), "node")))
        ends.append(await stack.enter_async_context(_http(create_app(node, tokens), settings, listener)))
        url = _url(settings, listener)
        stack.enter_context(discovery.published(settings, url, local))
        log.info("serve.listening", http=url)
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise CoordinatorError(f"{done.pop().get_name()} ended by itself")


def _with_broker(settings: Settings, private: PrivateBroker) -> Settings:
    urls = private.urls
    log.info(
        "serve.private_broker",
        amqp=without_password(urls.amqp),
        management=without_password(urls.management),
        folder=str(private.folder),
    )
    its_own = {
        "amqp_url": SecretStr(urls.amqp),
        "management_url": SecretStr(urls.management),
        "broker_tick": FIGURES_LAG,
    }
    return settings.model_copy(update=its_own)


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def _http(app: Starlette, settings: Settings, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    requests = Requests(app)
    server = Server(server_config(requests, settings))
    listener.listen(BACKLOG)  # clients that connect from here on wait in the backlog until the server accepts them
    task = asyncio.create_task(server.serve(sockets=[listener]), name="the HTTP server")
    try:
        yield task
    finally:
        server.should_exit = True
        _, unfinished = await asyncio.wait([task], timeout=HTTP_GRACE)
        if unfinished:
            requests.end()
            await asyncio.wait([task])


def _url(settings: Settings, listener: socket.socket) -> str:
    """The URL for programs on this machine. The settings may name it, if the names of a certificate require that."""
    if settings.http_url is not None:
        return settings.http_url
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"{scheme_of(settings)}://[{host}]:{port}" if ":" in host else f"{scheme_of(settings)}://{host}:{port}"

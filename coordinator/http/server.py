"""The HTTP server: uvicorn, with a deadline for each head, a limit of connections, and refusals in JSON."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final, cast

import h11
import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.errors import BusyError, CoordinatorError
from coordinator.http.responses import RETRY_AFTER
from coordinator.settings import Settings

BACKLOG: Final = 2048
MAX_HEAD: Final = 32 * 1024
"""Bytes of a request's line and headers."""
KEEP_ALIVE: Final = 30
"""Seconds that a connection may be idle between two requests."""


class Server(uvicorn.Server):
    """A server that leaves signals to the program that runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave all signals as they are."""
        yield


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration for an application."""
    protocol = type("_Protocol", (_Protocol,), {"settings": settings})
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=KEEP_ALIVE,
        server_header=False,
        proxy_headers=False,  # otherwise any process on this machine could claim any address
        # Malformed requests from outside must not fill the log.
        log_config=None,
        log_level="error",
        access_log=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def check_certificate(settings: Settings) -> None:
    """Check that the certificate and the key of the settings can be used.

    Raises:
        CoordinatorError: they cannot be used.
    """
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise CoordinatorError("COORDINATOR_TLS_KEY: there is no COORDINATOR_TLS_CERTIFICATE that it belongs to")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # SSLError is a kind of it
        what = error.strerror or str(error)
        raise CoordinatorError(f"COORDINATOR_TLS_CERTIFICATE, COORDINATOR_TLS_KEY: {what}") from error


def scheme_of(settings: Settings) -> str:
    """Return the scheme of the server's URL."""
    return "https" if settings.tls_certificate else "http"


class _Protocol(H11Protocol):
    """One connection.

    uvicorn has no deadline for a head, for the rest of a body after the response, or for a client that does not read.
    Here each has one, so that a client that sends a byte now and then cannot keep a connection open.
    """

    settings: Settings

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            busy = BusyError("connections", self.settings.max_connections, "MAX_CONNECTIONS")
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, str(busy))
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unwatch()
        self._stop_unread()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        super().data_received(data)
        if self._is_idle and not self.transport.is_closing():
            self._watch()
        elif self.conn.our_state is not h11.DONE:
            self._unwatch()

    def on_response_complete(self) -> None:
        """Go on to the next request. The rest of this body is read and dropped, until a deadline."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
            self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stop_unread()
        self._unread = self.loop.call_later(self.settings.body_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, since the client has read."""
        super().resume_writing()
        self._stop_unread()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, in JSON. uvicorn calls this while it handles h11's error."""
        error = sys.exception()
        status = HTTPStatus.BAD_REQUEST
        if isinstance(error, h11.RemoteProtocolError):
            status, msg = HTTPStatus(error.error_status_hint), f"this is not an HTTP request: {error}"
        self._refuse(status, msg)

    @property
    def _is_idle(self) -> bool:
        """Return whether there is no request yet; a part of its head may have arrived."""
        return self.conn.their_state is h11.IDLE

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.settings.head_timeout, self._expire)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expire(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._is_idle and self.conn.trailing_data[0]:
            seconds = f"{self.settings.head_timeout:g} s (COORDINATOR_HEAD_TIMEOUT)"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's head did not arrive within {seconds}")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Send a response without the application, and close."""
        body = orjson.dumps({"message": message})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            headers.append(("retry-after", RETRY_AFTER))
        try:
            response = h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # a response has begun already
            pass
        self.transport.close()

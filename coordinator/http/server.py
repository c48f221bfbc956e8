"""The HTTP server: uvicorn, with a deadline for each head, a bound on connections, and JSON where it refuses."""

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
"""Seconds that a connection may rest between two requests."""


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How an application is served."""
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
        proxy_headers=False,  # else whoever is on this machine could take any address for its own
        # What strangers send wrong must not fill the log.
        log_config=None,
        log_level="error",
        access_log=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def check_certificate(settings: Settings) -> None:
    """See that what the settings say of TLS can be used.

    Raises:
        CoordinatorError: it cannot.
    """
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise CoordinatorError("COORDINATOR_TLS_KEY: there is no COORDINATOR_TLS_CERTIFICATE that it belongs to")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # an SSLError is one too
        what = error.strerror or str(error)
        raise CoordinatorError(f"COORDINATOR_TLS_CERTIFICATE, COORDINATOR_TLS_KEY: {what}") from error


def scheme_of(settings: Settings) -> str:
    """What the server's URL begins with."""
    return "https" if settings.tls_certificate else "http"


class _Protocol(H11Protocol):
    """One connection.

    uvicorn waits without end for a head, for the rest of a body whose request is answered already, and for a client
    that does not read. Here each has a deadline, so a connection that is held open by a byte now and then ends.
    """

    settings: Settings

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many already."""
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
        """Go on to the next request; what is left of this one's body is read to nowhere, but not for long."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
            self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stop_unread()
        self._unread = self.loop.call_later(self.settings.body_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, since it has read."""
        super().resume_writing()
        self._stop_unread()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in JSON. uvicorn calls this while it handles h11's error."""
        error = sys.exception()
        status = HTTPStatus.BAD_REQUEST
        if isinstance(error, h11.RemoteProtocolError):
            status, msg = HTTPStatus(error.error_status_hint), f"this is no HTTP request: {error}"
        self._refuse(status, msg)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is under way, though a part of its head may be here."""
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
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's head did not come within {seconds}")
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer by ourselves, and close."""
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
        except h11.LocalProtocolError:  # an answer is under way already
            pass
        self.transport.close()

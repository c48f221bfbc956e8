"""TLS of the programs that speak to coordinators and brokers: whom they trust."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from coordinator.errors import CoordinatorError


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """What checks a server's certificate and name.

    Args:
        ca_file: authorities in PEM, in place of the system's.

    Raises:
        CoordinatorError: the file is not readable, or none such.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an SSLError is one too
        raise CoordinatorError(f"COORDINATOR_CA_FILE: {ca_file}: {error.strerror or error}") from error


def verification(url: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    """The same as httpx takes it, made only where the URL needs it: to read all known authorities takes a while."""
    return client_context(ca_file) if url.startswith("https:") else False


async def close_unfinished(request: httpx.Request) -> None:
    """Close the request's connection if its TLS handshake does not come to its end: a hook of httpx, for requests.

    httpcore 1.0 does so after errors only (`AnyIOStream.start_tls`): where the request is cancelled meanwhile, its
    socket would stay open until it is collected as garbage. The names are those of httpcore's "trace" extension.
    """
    if request.url.scheme != "https":
        return
    opened: list[Any] = []  # of httpcore.AsyncNetworkStream

    async def trace(name: str, info: Mapping[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            opened.append(info["return_value"])
        elif name == "connection.start_tls.failed":
            for one in opened:
                await one.aclose()

    request.extensions["trace"] = trace

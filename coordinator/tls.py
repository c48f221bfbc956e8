"""TLS of the programs that speak to coordinators and brokers: whom they trust."""

from __future__ import annotations

import ssl
from pathlib import Path

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

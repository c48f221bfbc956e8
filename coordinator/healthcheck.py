"""What a container asks to know whether its program is well; of the standard library alone, for it runs often."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

TIMEOUT: Final = 5.0
OLDEST: Final = 20.0
"""Seconds that a worker's sign of life may be old; it gives one every 2 s while it is connected."""
READY: Final = 200
PUBLISHED: Final = "connection.json"
"""Where a coordinator says where it answers; named anew here, for what reads it otherwise takes long to import."""


def is_ready(url: str, ca_file: str | None = None) -> bool:
    """Whether the coordinator at this URL says that it can do its work; no proxy is asked for it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == READY


def is_alive(file: Path) -> bool:
    """Whether the worker that gives its signs of life by this file has given one of late."""
    return time.time() - file.stat().st_mtime < OLDEST


def main() -> int:
    """Ask the coordinator that runs here, or the worker; give the exit code.

    The environment says where they are: `COORDINATOR_HOME` for the one, `WORKER_ALIVE_FILE` for the other.
    """
    published = Path(os.environ["COORDINATOR_HOME"]) / PUBLISHED
    try:
        if published.exists():
            url = json.loads(published.read_text())["http_url"]
            return 0 if is_ready(url, os.environ.get("COORDINATOR_CA_FILE")) else 1
        return 0 if is_alive(Path(os.environ["WORKER_ALIVE_FILE"])) else 1
    except (OSError, HTTPException) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the engine keeps it
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""What a container asks after its program: of the coordinator that runs there, or of the worker."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from coordinator import discovery
from coordinator.healthcheck import OLDEST, PUBLISHED, main


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the image."""
    monkeypatch.setenv("COORDINATOR_HOME", str(tmp_path))
    monkeypatch.setenv("WORKER_ALIVE_FILE", str(tmp_path / "alive"))


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers everything with this status; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/health/ready"
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_file_is_the_one_that_a_coordinator_publishes() -> None:
    """The check imports nothing of ours, so it names the file anew."""
    assert PUBLISHED == discovery.FILE_NAME


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_coordinator_is_as_well_as_it_says(tmp_path: Path, status: int, code: int) -> None:
    """Ready is well, anything else is not."""
    with answering(status) as url:
        (tmp_path / PUBLISHED).write_text(json.dumps({"http_url": url}))
        assert main() == code


def test_a_coordinator_that_does_not_answer_is_not_well(tmp_path: Path) -> None:
    """The reason is told."""
    with answering(200) as url:
        pass
    (tmp_path / PUBLISHED).write_text(json.dumps({"http_url": url}))
    assert main() == 1


def test_a_worker_is_well_while_its_signs_are_young(tmp_path: Path) -> None:
    """No file, and one that is too old, are not."""
    assert main() == 1
    alive = tmp_path / "alive"
    alive.touch()
    assert main() == 0
    old = alive.stat().st_mtime - OLDEST - 1
    os.utime(alive, (old, old))
    assert main() == 1

"""Logs: what a traceback in them shows."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Literal

import pytest
import structlog

from coordinator import logs


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """No set-up that outlives the captured output."""
    yield
    structlog.reset_defaults()


def connect(password: str) -> None:
    """Fail with a secret at hand."""
    if password:
        raise RuntimeError("refused")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_shows_no_variables(style: Literal["text", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    """A fault is logged with its traceback, on a terminal too without the values at hand, which may be secrets."""
    secret = token_hex(16)
    logs.configure("info", style)
    try:
        connect(secret)
    except RuntimeError:
        structlog.get_logger().exception("fault")
    told = capsys.readouterr().err
    assert "RuntimeError: refused" in told
    assert "in connect" in told
    assert secret not in told

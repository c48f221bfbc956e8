"""Structured logs: one event name for one thing, ids as fields, nothing secret."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import orjson
import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", style: Literal["auto", "json", "text"] = "auto") -> None:
    """Send logs to standard error: as text on a terminal, as JSON lines elsewhere, unless a style is asked for."""
    as_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        # The default shows the local variables of a traceback, and with these passwords.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if as_text
        else structlog.processors.JSONRenderer(lambda event, **_: orjson.dumps(event, default=str).decode())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if as_text else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # The AMQP library reports each lost connection on its own logger; the events of the node say the same once.
    logging.basicConfig(level=logging.CRITICAL)

"""Violations to plant in a coordinator, one for each promise, so that the checker can be seen to catch it."""

from __future__ import annotations

from collections.abc import Callable

PLANTS: dict[str, Callable[[], None]] = {}

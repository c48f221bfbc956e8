"""The page on security: its limits are those of the settings, its roles those of the routes."""

from __future__ import annotations

import re
from pathlib import Path

from coordinator.settings import Settings
from coordinator.tokens import ROLES

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
LIMIT = re.compile(r"^\| `COORDINATOR_(\w+)` \| (\d+) \|", re.MULTILINE)
LIMITS = re.compile(r"(max_\w+|page_items|rate_limit|(head|body|stream)_timeout)")


def test_each_limit_is_told_with_its_default() -> None:
    """Every setting that limits what comes over HTTP has a row, and the default there is the one in force."""
    told = {name.lower(): float(value) for name, value in LIMIT.findall(PAGE)}
    fields = Settings.model_fields
    assert told == {name: fields[name].default for name in fields if LIMITS.fullmatch(name)}


def test_each_role_has_a_row() -> None:
    """Every role is told of."""
    assert [role for role in ROLES if f"| `{role}` |" not in PAGE] == []

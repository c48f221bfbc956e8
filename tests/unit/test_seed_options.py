"""What `coordinator seed set` takes for wrong usage, before it asks a coordinator."""

from __future__ import annotations

import pytest

from coordinator.cli.app import run

WRONG = ["", "--throttle 5/fortnight", "--throttle 0/s", "--route a,b", "--batch-size 0", "--priority x"]


@pytest.mark.parametrize("options", WRONG)
def test_what_is_no_policy_is_wrong_usage(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 2 and says so on standard error, and never with the error of a call."""
    assert run(["seed", "set", "a/b=", "--http-url", "http://127.0.0.1:1", *options.split()]) == 2
    assert "127.0.0.1" not in capsys.readouterr().err

"""Erlang expressions are evaluated on a node by a program that may fail in several ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq import erlang_eval
from coordinator.local_rabbitmq.config import NodeSettings


def node(folder: Path) -> NodeSettings:
    """Settings of a node; the ports are never used."""
    return NodeSettings(
        name="one@localhost",
        folder=folder,
        password="p",  # noqa: S106 - not a secret
        cookie="c",
        amqp_port=1,
        management_port=2,
        distribution_port=3,
        epmd_port=4,
    )


def install_erl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have this shell script in place of Erlang."""
    erl = folder / "erl"
    erl.write_text(f"#!/bin/sh\n{script}\n")
    erl.chmod(0o755)
    monkeypatch.setattr("coordinator.local_rabbitmq.erlang_eval.shutil.which", lambda _: str(erl))


async def test_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expression and the node's name reach the program without quoting."""
    install_erl(tmp_path, monkeypatch, 'echo "$NODE $EXPRESSION"')
    assert await erlang_eval.evaluate(node(tmp_path), "f(\"a b\", 'c')") == "one@localhost f(\"a b\", 'c')"


async def test_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds what the node said."""
    install_erl(tmp_path, monkeypatch, "echo nodedown; exit 1")
    with pytest.raises(PrivateBrokerError, match="one@localhost did not evaluate 1: nodedown"):
        await erlang_eval.evaluate(node(tmp_path), "1")


async def test_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that hangs is not waited for without end."""
    install_erl(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(erlang_eval, "SECONDS", 0.1)
    with pytest.raises(PrivateBrokerError, match="no answer in time"):
        await erlang_eval.evaluate(node(tmp_path), "1")


async def test_no_erlang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is missing."""
    monkeypatch.setattr("coordinator.local_rabbitmq.erlang_eval.shutil.which", lambda _: None)
    with pytest.raises(PrivateBrokerError, match="erl was not found"):
        await erlang_eval.evaluate(node(tmp_path), "1")

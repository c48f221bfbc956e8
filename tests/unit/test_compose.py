"""compose.yaml and what goes with it, without an engine: no password is written, and nobody else reaches a port."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = shutil.which("docker")


def read_compose(**variables: str) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file, with these variables alone; skips where there is no compose."""
    if DOCKER is None or subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False).returncode:  # noqa: S603 - docker itself
        pytest.skip("no docker compose")
    order = [
        DOCKER,
        "compose",
        "--env-file",
        os.devnull,
        "--file",
        str(ROOT / "compose.yaml"),
        "config",
        "--format",
        "json",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **variables}
    return subprocess.run(order, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - as above


def test_no_password_is_written() -> None:
    """Wherever compose.yaml speaks of a password, it comes from the environment and has no default."""
    lines = [line for line in (ROOT / "compose.yaml").read_text().splitlines() if re.search("(?i)pass|amqp://", line)]
    assert len(lines) == 2
    assert all("${RABBITMQ_PASSWORD:?" in line for line in lines)


def test_compose_refuses_to_begin_without_a_password() -> None:
    """It fails, and names what makes one."""
    answer = read_compose()
    assert answer.returncode != 0
    assert "RABBITMQ_PASSWORD" in answer.stderr
    assert "scripts/make-env" in answer.stderr


def test_ports_are_published_on_loopback_only() -> None:
    """The coordinator's port is the only one, and no service joins the machine's own network."""
    answer = read_compose(RABBITMQ_PASSWORD="x")  # noqa: S106 - never used
    assert answer.returncode == 0, answer.stderr
    services: dict[str, dict[str, Any]] = json.loads(answer.stdout)["services"]
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert {name for name in ports if ports[name]} == {"coordinator"}
    assert [(port["host_ip"], port["target"]) for port in ports["coordinator"]] == [("127.0.0.1", 8787)]
    assert not any("network_mode" in service for service in services.values())


def test_make_env_writes_a_random_password_once(tmp_path: Path) -> None:
    """`.env` is for its owner alone, differs from one checkout to another, and is never written over."""
    texts = set()
    for name in ("one", "two"):
        script = tmp_path / name / "scripts" / "make-env"
        shutil.copytree(ROOT / "scripts", script.parent)
        subprocess.run([script], check=True, capture_output=True)  # noqa: S603 - our own
        made = tmp_path / name / ".env"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        text = made.read_text()
        assert re.fullmatch(r"RABBITMQ_PASSWORD=[0-9a-f]{48}\n", text)
        texts.add(text)
        subprocess.run([script], check=True, capture_output=True)  # noqa: S603 - as above
        assert made.read_text() == text
    assert len(texts) == 2

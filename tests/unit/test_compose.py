"""compose.yaml and what goes with it, without an engine: no password is written, and nobody else reaches a port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = shutil.which("docker")
PROFILES = ("cluster", "monitoring", "demo")


def read_services(**variables: str) -> dict[str, dict[str, Any]]:
    """What compose makes of all services, with these variables alone; skips where there is no compose."""
    if DOCKER is None or subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False).returncode:  # noqa: S603 - docker itself
        pytest.skip("no docker compose")
    order = [
        DOCKER,
        "compose",
        "--env-file",
        os.devnull,
        "--file",
        str(ROOT / "compose.yaml"),
        *(part for name in PROFILES for part in ("--profile", name)),
        "config",
        "--format",
        "json",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **variables}
    answer = subprocess.run(order, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    assert answer.returncode == 0, answer.stderr
    services: dict[str, dict[str, Any]] = json.loads(answer.stdout)["services"]
    return services


def make_secrets(folder: Path, *hosts: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the service `secrets` does, on this folder."""
    text = (ROOT / "deploy" / "make-secrets").read_text().replace("/run/coordinator", str(folder))
    environment = {"PATH": os.environ["PATH"], **variables}
    order = ["/bin/sh", "-c", text, "make-secrets", *hosts]
    return subprocess.run(order, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def test_a_password_that_is_given_is_known_to_one_service_alone() -> None:
    """It reaches the one that hands it on by a file; no other has it in its environment or arguments."""
    services = read_services(RABBITMQ_PASSWORD="letmein5")  # noqa: S106 - never used
    knowing = {name for name, service in services.items() if "letmein5" in json.dumps(service)}
    assert knowing == {"secrets", "nodes"}


def test_ports_are_published_on_loopback_only() -> None:
    """And no service joins the machine's own network."""
    services = read_services()
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(published) == {"coordinator", "coordinator-2", "prometheus", "grafana"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert {service.get("network_mode", "none") for service in services.values()} == {"none"}


def test_every_service_is_confined() -> None:
    """Each has a read-only root, no capabilities, limits where it goes on, and a restart policy."""
    for name, service in read_services().items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["restart"] == ("no" if name in {"secrets", "nodes", "demo"} else "unless-stopped"), name
        if name not in {"secrets", "nodes"}:
            limits = service["deploy"]["resources"]["limits"]
            assert limits["memory"], name
            assert limits["pids"], name


def test_secrets_are_made_once_and_differ(tmp_path: Path) -> None:
    """Each volume gets a password and a cookie of its own, which a second start keeps."""
    passwords = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        assert make_secrets(folder, "broker").returncode == 0
        first = {path.name: path.read_text() for path in folder.iterdir()}
        assert len(first["password"]) == len(first["cookie"]) == 48
        assert f"default_pass = {first['password']}\n" in first["rabbitmq.conf"]
        assert first["coordinator_amqp_url"] == f"amqp://coordinator:{first['password']}@broker:5672/"
        assert make_secrets(folder, "broker").returncode == 0
        assert {path.name: path.read_text() for path in folder.iterdir()} == first
        passwords |= {first["password"], first["cookie"]}
    assert len(passwords) == 4


def test_a_given_password_is_taken_and_all_nodes_are_named(tmp_path: Path) -> None:
    """It takes the place of the one that was made; what would break an URL is refused, and changes nothing."""
    make_secrets(tmp_path, "broker")
    make_secrets(tmp_path, "a", "b", RABBITMQ_PASSWORD="given1", RABBITMQ_USER="me")  # noqa: S106 - never used
    assert (tmp_path / "coordinator_amqp_url").read_text() == "amqp://me:given1@a:5672/,amqp://me:given1@b:5672/"
    refused = make_secrets(tmp_path, "a", RABBITMQ_PASSWORD="p@ss")  # noqa: S106 - never used
    assert refused.returncode != 0
    assert "letters and digits" in refused.stderr
    assert "p@ss" not in refused.stderr
    assert (tmp_path / "password").read_text() == "given1"

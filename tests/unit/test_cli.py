"""The command line without a broker: help, usage, errors, and finding the coordinator of this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer.main
from pydantic import SecretStr

from coordinator import cli
from coordinator.cli import app
from coordinator.cli.serve import listening
from coordinator.discovery import published, read_connection
from coordinator.errors import CoordinatorError
from coordinator.settings import Settings
from coordinator.tokens import Caller, Tokens, digest

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder of its own, no settings from outside, and no log of it that outlives the captured output."""
    for name in [name for name in os.environ if name.startswith("COORDINATOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COORDINATOR_HOME", str(tmp_path))
    yield tmp_path
    structlog.reset_defaults()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["coordinator", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def dead_pid() -> int:
    """The id of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def write_connection(home: Path, pid: int) -> None:
    """A connection file as a coordinator with this process id leaves it."""
    urls = {"amqp_url": "amqp://u:p@h:1/", "management_url": "http://u:p@h:2", "http_url": "http://h:3"}
    (home / "connection.json").write_text(json.dumps({"pid": pid, **urls}))


COMMANDS = ["serve", "broker", "submit", "status", "seeds", "workers", "batches", "queues", "dead", "doctor"]
SUBCOMMANDS = ["dead list", "dead show", "dead retry", "dead drop", "seed set", "drain worker"]
SUBCOMMANDS += ["release worker", "release seed", "resume seed", "purge seed"]
SUBCOMMANDS += ["token create", "token list", "token revoke"]


@pytest.mark.parametrize("command", ["", *COMMANDS, *SUBCOMMANDS])
def test_help_shows_examples(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has help, and examples in it."""
    assert run(monkeypatch, *command.split(), "--help") == 0
    assert f"coordinator {command}".strip() in capsys.readouterr().out.partition("Examples:")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["submit"],
        ["release", "seed"],
        ["release", "planet", "x"],
        ["seeds", "--no-such-option"],
        ["serve", "--http-port", "65536"],
        ["submit", "s", "--amqp-url", "localhost"],
        ["token", "create", "a"],
        ["token", "create", "a", "--role", "root"],
        ["token", "create", "a b", "--role", "worker"],
        ["token", "create", "a", "--role", "operator", "--worker", "w"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage exits with 2."""
    assert run(monkeypatch, *arguments) == 2


def test_a_wrong_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that does not validate is wrong usage; its name is told and its value is not."""
    monkeypatch.setenv("COORDINATOR_LINGER", "sesame")
    assert run(monkeypatch, "seeds") == 2
    told = capsys.readouterr().err
    assert "COORDINATOR_LINGER" in told
    assert "sesame" not in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "s", "/no/such/file", "--amqp-url", "amqp://127.0.0.1:1"], "/no/such/file"),
        (["submit", "s", "/dev/null"], "no broker is known"),
        (["submit", "s", "/dev/null", "--amqp-url", "amqp://u:secret@127.0.0.1:1"], "127.0.0.1:1"),
        (["seeds", "--http-url", NOBODY], NOBODY),
        (["release", "seed", "x", "--amqp-url", "amqp://u:secret@127.0.0.1:1"], "127.0.0.1:1"),
        (["serve", "--http-host", "0.0.0.0"], "--insecure"),  # noqa: S104 - what must be refused
        (["serve", "--http-host", "no.such.host.invalid"], "no.such.host.invalid"),
    ],
)
def test_a_failure_is_one_line(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails exits with 1 and says why in one line on standard error, without a password."""
    assert run(monkeypatch, *arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert told in output.err
    assert "secret" not in output.err


def test_a_port_in_use_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that another program has is named, before any broker is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert run(monkeypatch, "serve", "--http-port", port) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"port {port}" in told


@pytest.mark.parametrize("where", ["coordinator.cli.submit.known_broker", "coordinator.cli.app.run"])
def test_an_interrupt_is_130(where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with 130 and without a traceback, within the command or around it."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    assert run(monkeypatch, "submit", "s") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_each_command_is_found_in_its_module() -> None:
    """The table of commands holds what the modules add, in the same order, and nothing else."""
    group = typer.main.get_group(app.app_of(app.COMMANDS.values()))
    assert list(group.commands) == list(app.COMMANDS)
    for name, module in app.COMMANDS.items():
        assert name in typer.main.get_group(app.app_of([module])).commands


def test_no_colour_is_respected(tmp_path: Path) -> None:
    """With NO_COLOR a terminal gets no colours, and without it, it does."""
    colour = re.compile(rb"\x1b\[(\d+;)*[34]\d")
    assert colour.search(in_terminal(tmp_path, {}))
    assert not colour.search(in_terminal(tmp_path, {"NO_COLOR": "1"}))


def in_terminal(home: Path, environment: dict[str, str]) -> bytes:
    """What `coordinator --help` sends to a terminal."""
    near, far = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "coordinator", "--help"],
        stdout=far,
        cwd=Path(cli.__file__).parents[2],
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COORDINATOR_HOME": str(home), **environment},
    ) as process:
        os.close(far)
        output = b""
        try:
            while chunk := os.read(near, 65536):
                output += chunk
        except OSError:  # how Linux tells that the other side is closed
            pass
        os.close(near)
    assert process.returncode == 0
    return output


def test_a_running_coordinator_is_found(home: Path) -> None:
    """What one process publishes, others find until it ends; only its owner may read the file."""
    served = Settings(amqp_url=SecretStr("amqp://u:p@h:1/v"), management_url=SecretStr("http://u:p@h:2"))
    with published(served, "http://h:3"):
        assert stat.S_IMODE((home / "connection.json").stat().st_mode) == 0o600
        found = read_connection(Settings())
        assert found.amqp_urls() == ["amqp://u:p@h:1/v"]
        assert found.management() == "http://u:p@h:2"
        assert found.http_url == "http://h:3"
    assert list(home.iterdir()) == []


def test_what_is_given_wins(home: Path) -> None:
    """A given broker is kept, and no management API of another one comes with it."""
    write_connection(home, os.getpid())
    found = read_connection(Settings(amqp_url=SecretStr("amqp://a:b@given:5/")))
    assert found.amqp_urls() == ["amqp://a:b@given:5/"]
    assert found.management() == "http://a:b@given:15672"
    assert found.http_url == "http://h:3"
    assert read_connection(Settings(http_url=NOBODY)).http_url == NOBODY


def test_a_stale_file_is_ignored(home: Path) -> None:
    """The file of a process that is gone does not count, nor does one that is broken."""
    write_connection(home, dead_pid())
    assert read_connection(Settings()) == Settings()
    (home / "connection.json").write_text('{"pid":')
    assert read_connection(Settings()) == Settings()


def test_a_later_coordinators_file_stays(home: Path) -> None:
    """A coordinator that ends leaves the file alone when another has replaced it."""
    with published(Settings(amqp_url=SecretStr("amqp://u:p@h:1/v")), "http://h:3"):
        write_connection(home, 1)
    assert json.loads((home / "connection.json").read_text())["pid"] == 1


def test_tokens_are_made_listed_and_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token is printed once, listed by its name and roles alone, and once revoked it is gone."""
    assert run(monkeypatch, "token", "create", "w1", "--role", "worker", "--worker", "crawler") == 0
    secret = capsys.readouterr().out.strip()
    assert run(monkeypatch, "token", "create", "ops", "--role", "operator", "--role", "manager") == 0
    tokens = Tokens(home / "tokens.json")
    assert tokens.caller(secret) == Caller("w1", frozenset({"worker"}), "crawler")
    capsys.readouterr()
    assert run(monkeypatch, "token", "list", "--json") == 0
    listed = capsys.readouterr().out
    assert [(one["name"], one["roles"]) for one in json.loads(listed)] == [
        ("w1", ["worker"]),
        ("ops", ["operator", "manager"]),
    ]
    assert run(monkeypatch, "token", "list") == 0
    listed += capsys.readouterr().out
    assert secret not in listed
    assert digest(secret) not in listed
    assert run(monkeypatch, "token", "revoke", "w1") == 0
    assert tokens.caller(secret) is None
    assert run(monkeypatch, "token", "revoke", "ops", "w1") == 4
    assert capsys.readouterr().out.splitlines()[-2:] == ["ops: revoked", "w1: not found"]


def test_an_entry_for_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token may be made for the settings alone: its entry is printed, and nothing is written."""
    assert run(monkeypatch, "token", "create", "ci", "--role", "producer", "--no-store") == 0
    made = json.loads(capsys.readouterr().out)
    assert list(home.iterdir()) == []
    monkeypatch.setenv("COORDINATOR_TOKENS", json.dumps([made["entry"]]))
    assert Tokens.of(Settings()).caller(made["token"]) == Caller("ci", frozenset({"producer"}))
    assert run(monkeypatch, "token", "list") == 0
    assert "ci" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what is refused
def test_a_public_address_takes_tokens(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tokens a public address is refused, whatever it is, unless it is told plainly."""
    settings = Settings(http_host=host, http_port=0)
    with pytest.raises(CoordinatorError, match="coordinator token create"), listening(settings, insecure=False):
        pass
    with listening(settings, insecure=True) as listener:
        assert listener.getsockname()[1]
    assert run(monkeypatch, "serve", "--http-host", host, "--http-port", "0") == 1

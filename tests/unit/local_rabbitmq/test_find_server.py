"""Where a private broker finds its programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq import find_server as programs
from coordinator.local_rabbitmq.broker import PrivateBroker


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without RabbitMQ."""
    monkeypatch.setattr(programs, "SERVER_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RABBITMQ_HOME", raising=False)


def make_program(path: Path) -> Path:
    """Make an empty program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


@pytest.mark.usefixtures("_nowhere")
async def test_a_missing_server_is_named() -> None:
    """Without RabbitMQ the error says what to install."""
    assert programs.find_server() is None
    assert programs.find_epmd() is None
    with pytest.raises(PrivateBrokerError, match="apt install rabbitmq-server"):
        await PrivateBroker().start()


@pytest.mark.usefixtures("_nowhere")
def test_the_server_is_found_where_rabbitmq_home_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A generic build that is unpacked somewhere is named by RABBITMQ_HOME."""
    script = make_program(tmp_path / "home/sbin/rabbitmq-server")
    make_program(tmp_path / "home/sbin/rabbitmq-env")
    monkeypatch.setenv("RABBITMQ_HOME", str(tmp_path / "home"))
    assert programs.find_server() == script


@pytest.mark.usefixtures("_nowhere")
def test_a_wrapper_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian's wrapper on the PATH is a link to a script that switches users; the real one is taken."""
    wrapper = make_program(tmp_path / "lib/bin/rabbitmq-script-wrapper")
    (tmp_path / "rabbitmq-server").symlink_to(wrapper)
    make_program(tmp_path / "lib/bin/rabbitmq-env")
    assert programs.find_server() is None
    real = make_program(tmp_path / "lib/bin/rabbitmq-server")
    monkeypatch.setattr(programs, "SERVER_FOLDERS", (str(real.parent),))
    assert programs.find_server() == real


@pytest.mark.usefixtures("_nowhere")
def test_the_name_server_is_found_beside_erl(tmp_path: Path) -> None:
    """Some installations put only `erl` on the PATH."""
    (tmp_path / "erl").symlink_to(make_program(tmp_path / "otp/bin/erl"))
    epmd = make_program(tmp_path / "otp/bin/epmd")
    assert programs.find_epmd() == epmd

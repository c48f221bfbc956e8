"""Settings: what follows from an address, and what is never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from coordinator.settings import Settings


@pytest.fixture(autouse=True, scope="module")
def _own_environment() -> Iterator[None]:
    """No settings from outside: the settings here are made of their arguments, and of what a test sets."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COORDINATOR_")]:
            patch.delenv(name)
        yield


def settings(amqp_url: str, *, management_url: str | None = None, worker_amqp_url: str | None = None) -> Settings:
    """Settings with these addresses."""
    return Settings(
        amqp_url=SecretStr(amqp_url),
        management_url=None if management_url is None else SecretStr(management_url),
        worker_amqp_url=None if worker_amqp_url is None else SecretStr(worker_amqp_url),
    )


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp://h/%2F", "/"),
        ("amqp://h/%2f", "/"),
        ("amqp://h/crawl", "crawl"),
        ("amqp://h/a%2Fb%20c%C3%A9", "a/b cé"),
        ("amqp://u:p@h:1/v?heartbeat=5", "v"),
        ("amqp://h1/v,amqp://h2/v", "v"),
    ],
)
def test_virtual_host(url: str, vhost: str) -> None:
    """The virtual host is the URL's path, decoded; without one it is `/`."""
    assert settings(url).vhost() == vhost


@pytest.mark.parametrize(
    ("url", "management"),
    [
        ("amqp://u:p@h:5673/v", "http://u:p@h:15672"),
        ("amqp://h", "http://guest:guest@h:15672"),
        ("amqp://", "http://guest:guest@localhost:15672"),
        ("amqp://u:a%40b%2Fc@h", "http://u:a%40b%2Fc@h:15672"),
        ("amqp://u:p@[::1]:5672", "http://u:p@[::1]:15672"),
        ("amqp://u:p@h1,amqp://x:y@h2", "http://u:p@h1:15672,http://x:y@h2:15672"),
        ("amqps://u:p@h1/v,amqps://u:p@h2/v", "https://u:p@h1:15671,https://u:p@h2:15671"),
    ],
)
def test_management_by_default(url: str, management: str) -> None:
    """The management APIs are looked for on the AMQP hosts, with the same users."""
    assert settings(url).management() == management


def test_a_given_management_url_wins() -> None:
    """An address that is given is taken as it is."""
    assert settings("amqp://u:p@h", management_url="https://m/x").management() == "https://m/x"


def test_several_addresses() -> None:
    """Addresses stand between commas; space around them and empty ones do not count."""
    assert settings(" amqp://a , amqp://b,, ").amqp_urls() == ["amqp://a", "amqp://b"]
    assert Settings().amqp_urls() == []


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_workers_url_holds_its_user_whatever_the_password(user: str, password: str) -> None:
    """User and password are escaped; host, port, virtual host and options are those of the coordinator's address."""
    parts = urlsplit(settings("amqps://own:secret@h:5/v%2Fw?heartbeat=5").url_for_worker(user, password))
    assert (parts.scheme, parts.hostname, parts.port, parts.path, parts.query) == (
        "amqps",
        "h",
        5,
        "/v%2Fw",
        "heartbeat=5",
    )
    assert parts.username is not None
    assert parts.password is not None
    assert (unquote(parts.username), unquote(parts.password)) == (user, password)


def test_workers_may_see_another_address() -> None:
    """Where workers reach the broker elsewhere, their URL has that address and none of its password."""
    subject = settings("amqp://own:secret@h/v", worker_amqp_url="amqp://x:other@[::1]:7/w")
    assert subject.url_for_worker("a@b", "p:/w") == "amqp://a%40b:p%3A%2Fw@[::1]:7/w"


def test_workers_are_told_of_all_nodes() -> None:
    """A worker gets the URLs of all nodes, separated by commas, each with its own user."""
    subject = settings("amqp://own:secret@h1:5/v, amqp://own:secret@h2/v")
    assert subject.url_for_worker("w", "p") == "amqp://w:p@h1:5/v,amqp://w:p@h2/v"
    elsewhere = settings("amqp://h/v", worker_amqp_url="amqp://a/v,amqp://b/v")
    assert elsewhere.url_for_worker("w", "p") == "amqp://w:p@a/v,amqp://w:p@b/v"


def test_nodes_of_one_broker_have_one_virtual_host() -> None:
    """URLs of different virtual hosts are refused: half of the items would go where nobody looks."""
    with pytest.raises(ValidationError, match="all URLs must name the same virtual host") as caught:
        settings("amqp://u:sesame@h1/one,amqp://u:sesame@h2/two")
    assert "sesame" not in str(caught.value)


def test_authorities_are_named_to_those_who_need_them() -> None:
    """With a file of authorities, URLs over TLS name it, once, and others do not; workers are not told our files."""
    url = SecretStr("amqps://u:p@h/v?heartbeat=5,amqp://h2/v,amqps://h3/v?cafile=/own.pem")
    subject = Settings(amqp_url=url, ca_file=Path("/etc/ca s.pem"))
    assert subject.amqp_urls() == [
        "amqps://u:p@h/v?heartbeat=5&cafile=%2Fetc%2Fca+s.pem",
        "amqp://h2/v",
        "amqps://h3/v?cafile=/own.pem",
    ]
    assert subject.trusting(subject.amqp_urls()[0]) == subject.amqp_urls()[0]
    told = subject.url_for_worker("w", "p").split(",")
    assert told == ["amqps://w:p@h/v?heartbeat=5", "amqp://w:p@h2/v", "amqps://w:p@h3/v?cafile=/own.pem"]


def test_no_password_is_shown() -> None:
    """Neither text nor JSON of the settings shows a password."""
    subject = settings("amqp://u:sesame@h", management_url="http://u:sesame@m", worker_amqp_url="amqp://u:sesame@w")
    subject = subject.model_copy(update={"token": SecretStr("sesame"), "tokens": SecretStr("sesame")})
    for text in (repr(subject), str(subject), subject.model_dump_json(), f"{subject.model_dump()}"):
        assert "sesame" not in text


def test_every_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read from the variable of its name, and arguments win over it."""
    monkeypatch.setenv("COORDINATOR_AMQP_URL", "amqp://from-environment")
    monkeypatch.setenv("COORDINATOR_ATTEMPT_LIMIT", "7")
    monkeypatch.setenv("COORDINATOR_REQUIRE_REGISTRATION", "true")
    subject = Settings(attempt_limit=3)
    assert subject.amqp_urls() == ["amqp://from-environment"]
    assert subject.require_registration
    assert subject.attempt_limit == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATTEMPT_LIMIT", "0"),
        ("HTTP_PORT", "65536"),
        ("ACK_TIMEOUT", "0"),
        ("WINDOW", "501"),
        ("LOG_LEVEL", "loud"),
        ("MAX_TEXT", "65537"),
        ("MAX_BODY", "0"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not work is told at once."""
    monkeypatch.setenv(f"COORDINATOR_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_a_folder_of_secrets_stands_in_for_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment gives comes first; the rest is read from files, one for each setting."""
    (tmp_path / "coordinator_amqp_url").write_text("amqp://a:secret@one:5672/\n")
    (tmp_path / "coordinator_http_port").write_text("1234")
    monkeypatch.setenv("COORDINATOR_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("COORDINATOR_HTTP_PORT", "4321")
    settings = Settings()
    assert settings.amqp_urls() == ["amqp://a:secret@one:5672/"]
    assert settings.http_port == 4321

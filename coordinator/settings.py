"""Every setting, read once from the environment (`COORDINATOR_…`) and passed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from coordinator.models import MAX_DEPTH, MAX_ITEMS, MAX_TEXT

MIB = 1024 * 1024
AMQPS = "amqps"
CA_QUERY = "cafile"
SECRETS_DIR = "COORDINATOR_SECRETS_DIR"
"""Names a folder where a setting that the environment does not give is looked for, each in a file of its own
(`coordinator_amqp_url`, …): an environment is seen by whoever may inspect a container."""


def default_home() -> Path:
    """Where a private broker's data and the addresses of a running coordinator are kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "coordinator"


class Settings(BaseSettings):
    """The settings of a coordinator and of the programs that speak to it; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="COORDINATOR_", frozen=True, hide_input_in_errors=True)

    amqp_url: SecretStr | None = None
    """AMQP URLs of the broker's nodes, separated by commas; without one, `serve` runs a private broker."""
    management_url: SecretStr | None = None
    """Management APIs of the nodes, separated by commas; by default on each AMQP host, for the same user."""
    worker_amqp_url: SecretStr | None = None
    """The broker's AMQP URLs as workers see them, when they differ from the coordinator's."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8787
    http_url: str | None = None
    """Where clients find the shim."""
    tls_certificate: Path | None = None
    """The certificate that HTTP is served with over TLS, and those between it and its authority: a PEM file."""
    tls_key: Path | None = None
    """Its private key, where that is not in the same file."""
    ca_file: Path | None = None
    """Authorities that our programs trust, for brokers and coordinators alike; by default the system's: a PEM file."""
    token: SecretStr | None = None
    """The token that programs of ours show to a coordinator."""
    tokens: SecretStr | None = None
    """Tokens that a coordinator accepts, as the JSON list that its file of tokens holds."""
    tokens_file: Path | None = None
    """The file of tokens, read again when it changes; by default `tokens.json` in `home`."""
    home: Path = Field(default_factory=default_home)
    attempt_limit: Annotated[int, Field(ge=1, le=100)] = 5
    worker_timeout: Annotated[float, Field(ge=1)] = 15.0
    """How long a worker that has sent presence may be silent before it is released."""
    ack_timeout: Annotated[float, Field(gt=0)] = 30.0
    """How long a batch fetched over HTTP may go without ack."""
    require_registration: bool = False
    """Whether a fetch by a worker that is not known is 404."""
    callback_hosts: str = ""
    """Hosts, separated by commas, that workers' callbacks may name; by default only the one that registers."""
    trusted_producers: str = ""
    """Broker users, separated by commas, whose checked pages are relayed unread; the coordinator's own always is."""
    linger: Annotated[float, Field(ge=0, le=10)] = 0.02
    """How long a page that does not fill a batch waits for more."""
    window: Annotated[int, Field(ge=4, le=500)] = 200
    """How many unsent batches a work queue may hold at most."""
    last_offer_patience: Annotated[float, Field(gt=0)] = 30.0
    """How long dispatch may stand still so that a batch at its attempt limit is offered alone."""
    broker_tick: Annotated[float, Field(ge=1, le=300)] = 5.5
    """By how much the broker's figures of its queues may lag: somewhat more than its `quorum_tick_interval`."""
    history: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """How many events of batches, and how many of seeds and workers, a coordinator keeps in memory to tell of."""
    max_body: Annotated[int, Field(ge=1024)] = 8 * MIB
    """Bytes of a body over HTTP that is no stream of items."""
    max_line: Annotated[int, Field(ge=1024)] = MIB
    """Bytes of one line of a stream of items."""
    max_array: Annotated[int, Field(ge=1024)] = 32 * MIB
    """Bytes of an array of items, which is accepted as a whole or not at all."""
    max_buffered: Annotated[int, Field(ge=1024)] = 256 * MIB
    """Bytes of all bodies together that a coordinator has in memory."""
    max_ids: Annotated[int, Field(ge=1)] = 10_000
    """Ids in a list."""
    max_text: Annotated[int, Field(ge=1, le=MAX_TEXT)] = MAX_TEXT
    """Characters of a string in a body over HTTP."""
    max_depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)] = MAX_DEPTH
    """Levels of nesting in a body over HTTP."""
    max_list: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Entries in a page of a list."""
    max_batches: Annotated[int, Field(ge=1, le=1000)] = 1000
    """Batches in a fetch."""
    page_items: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = 100
    """Items in a page that is made of what comes over HTTP."""
    max_polls: Annotated[int, Field(ge=0)] = 4000
    """Fetches that wait."""
    max_watches: Annotated[int, Field(ge=1)] = 500
    """Different reads that all open dashboards poll."""
    max_connections: Annotated[int, Field(ge=1)] = 5000
    """Connections over HTTP."""
    rate_limit: Annotated[float, Field(ge=0)] = 2000.0
    """Requests a second for each token, and for each address without one; 0 for any number."""
    head_timeout: Annotated[float, Field(gt=0)] = 10.0
    """How long the head of a request may take, and what is left of a body that was refused."""
    body_timeout: Annotated[float, Field(gt=0)] = 30.0
    """How long a body may take that is no stream of items, and how long a client may leave its answer unread."""
    stream_timeout: Annotated[float, Field(gt=0)] = 60.0
    """How long a stream of items may pause."""
    stop_timeout: Annotated[float, Field(gt=0)] = 10.0
    """How long a stop may take."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic's own, and described there
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        folder = os.environ.get(SECRETS_DIR)
        if not folder:
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    @field_validator("amqp_url")
    @classmethod
    def _one_virtual_host(cls, value: SecretStr | None) -> SecretStr | None:
        if len({_vhost(url) for url in _split(value)}) > 1:
            raise ValueError("all URLs must name the same virtual host, for they are nodes of one broker")
        return value

    def amqp_urls(self) -> list[str]:
        """The AMQP URLs of the broker's nodes, passwords included, and whom to trust where they ask for TLS."""
        return [self.trusting(url) for url in _split(self.amqp_url)]

    def trusting(self, url: str) -> str:
        """An AMQP URL that names our authorities, in the way that the client library reads it, if it asks for TLS."""
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
        if self.ca_file is None or parts.scheme != AMQPS or CA_QUERY in dict(query):
            return url
        return urlunsplit(parts._replace(query=urlencode([*query, (CA_QUERY, str(self.ca_file.absolute()))])))

    def management(self) -> str:
        """The URLs of the nodes' management APIs, separated by commas, user and password included."""
        if self.management_url is not None:
            return self.management_url.get_secret_value()
        return ",".join(map(_default_management, _split(self.amqp_url)))

    def vhost(self) -> str:
        """The virtual host that the AMQP URLs name; `/` when they name none."""
        return _vhost(_split(self.amqp_url)[0])

    def url_for_worker(self, user: str, password: str) -> str:
        """The AMQP URLs that a worker with its own user is given: of all nodes, separated by commas."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return ",".join(_with_login(url, login) for url in _split(self.worker_amqp_url) or _split(self.amqp_url))


def _split(urls: SecretStr | None) -> list[str]:
    text = urls.get_secret_value() if urls else ""
    return [url.strip() for url in text.split(",") if url.strip()]


def _vhost(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/")) or "/"


def _default_management(url: str) -> str:
    parts = urlsplit(url)
    user, password = parts.username or "guest", parts.password or "guest"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or "localhost"
    scheme, port = ("https", 15671) if parts.scheme == AMQPS else ("http", 15672)
    return f"{scheme}://{user}:{password}@{host}:{port}"


def _with_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    netloc = f"{login}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))

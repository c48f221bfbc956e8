"""Every setting, read once from the environment (`COORDINATOR_…`) and passed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from coordinator.models import MAX_DEPTH, MAX_ITEMS, MAX_TEXT

MIB = 1024 * 1024
AMQPS = "amqps"
CA_QUERY = "cafile"


def default_home() -> Path:
    """Where a private broker's data and the addresses of a running coordinator are kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "coordinator"


class Settings(BaseSettings):
    """The settings of a coordinator and of the programs that speak to it; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="COORDINATOR_", frozen=True)

    amqp_url: SecretStr | None = None
    """AMQP URLs of the broker's nodes, separated by commas; without one, `serve` runs a private broker."""
    management_url: SecretStr | None = None
    """Management API; by default port 15672 of the AMQP host, with the same user."""
    worker_amqp_url: SecretStr | None = None
    """The broker's address as workers see it, when it differs from the coordinator's."""
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
    ack_timeout: Annotated[float, Field(gt=0)] = 30.0
    """How long a batch fetched over HTTP may go without ack."""
    require_registration: bool = False
    """Whether a fetch by a worker that is not known is 404."""
    trusted_producers: str = ""
    """Broker users, separated by commas, whose checked pages are relayed unread; the coordinator's own always is."""
    linger: Annotated[float, Field(ge=0, le=10)] = 0.02
    """How long a page that does not fill a batch waits for more."""
    window: Annotated[int, Field(ge=4, le=500)] = 200
    """How many unsent batches a work queue may hold at most."""
    last_offer_patience: Annotated[float, Field(gt=0)] = 30.0
    """How long dispatch may stand still so that a batch at its attempt limit is offered alone."""
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

    def amqp_urls(self) -> list[str]:
        """The AMQP URLs, passwords included, and whom to trust where they ask for TLS."""
        return [self.trusting(url) for url in self._given_urls()]

    def trusting(self, url: str) -> str:
        """An AMQP URL that names our authorities, in the way that the client library reads it, if it asks for TLS."""
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
        if self.ca_file is None or parts.scheme != AMQPS or CA_QUERY in dict(query):
            return url
        return urlunsplit(parts._replace(query=urlencode([*query, (CA_QUERY, str(self.ca_file.absolute()))])))

    def management(self) -> str:
        """The management API's URL, user and password included."""
        if self.management_url is not None:
            return self.management_url.get_secret_value()
        parts = urlsplit(self._given_urls()[0])
        user, password = parts.username or "guest", parts.password or "guest"
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or "localhost"
        scheme, port = ("https", 15671) if parts.scheme == AMQPS else ("http", 15672)
        return f"{scheme}://{user}:{password}@{host}:{port}"

    def vhost(self) -> str:
        """The virtual host that the AMQP URL names; `/` when it names none."""
        return unquote(urlsplit(self._given_urls()[0]).path.removeprefix("/")) or "/"

    def url_for_worker(self, user: str, password: str) -> str:
        """The AMQP URL that a worker with its own user is given."""
        base = self.worker_amqp_url.get_secret_value() if self.worker_amqp_url else self._given_urls()[0]
        parts = urlsplit(base)
        address = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{address}"
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))

    def _given_urls(self) -> list[str]:
        text = self.amqp_url.get_secret_value() if self.amqp_url else ""
        return [url.strip() for url in text.split(",") if url.strip()]

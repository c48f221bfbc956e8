"""Every setting, read once from the environment (`COORDINATOR_…`) and passed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    home: Path = Field(default_factory=default_home)
    attempt_limit: Annotated[int, Field(ge=1, le=100)] = 5
    worker_timeout: Annotated[float, Field(ge=1)] = 15.0
    """How long a worker that has sent presence may be silent before it is released."""
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
    stop_timeout: Annotated[float, Field(gt=0)] = 10.0
    """How long a stop may take."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"

    def amqp_urls(self) -> list[str]:
        """The AMQP URLs, passwords included."""
        text = self.amqp_url.get_secret_value() if self.amqp_url else ""
        return [url.strip() for url in text.split(",") if url.strip()]

    def management(self) -> str:
        """The management API's URL, user and password included."""
        if self.management_url is not None:
            return self.management_url.get_secret_value()
        parts = urlsplit(self.amqp_urls()[0])
        user, password = parts.username or "guest", parts.password or "guest"
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or "localhost"
        return f"http://{user}:{password}@{host}:15672"

    def vhost(self) -> str:
        """The virtual host that the AMQP URL names; `/` when it names none."""
        return unquote(urlsplit(self.amqp_urls()[0]).path.removeprefix("/")) or "/"

    def url_for_worker(self, user: str, password: str) -> str:
        """The AMQP URL that a worker with its own user is given."""
        base = self.worker_amqp_url.get_secret_value() if self.worker_amqp_url else self.amqp_urls()[0]
        parts = urlsplit(base)
        address = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{address}"
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))

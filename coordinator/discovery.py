"""How programs on one machine find the coordinator that runs there: by a file in the settings' home folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from coordinator.files import replace_file
from coordinator.settings import Settings

FILE_NAME: Final = "connection.json"


class _Connection(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    pid: Annotated[int, Field(gt=0)]
    amqp_url: str
    management_url: str
    http_url: str
    token: str | None = None


def read_connection(settings: Settings) -> Settings:
    """The settings, and for the addresses they do not give, those of the coordinator that runs on this machine."""
    found = _read(settings.home / FILE_NAME)
    if found is None or not _is_alive(found.pid):
        return settings
    update: dict[str, object] = {}
    if settings.amqp_url is None:
        update["amqp_url"] = SecretStr(found.amqp_url)
        if settings.management_url is None:  # else it would be that of another broker than the given one
            update["management_url"] = SecretStr(found.management_url)
    if settings.http_url is None:
        update["http_url"] = found.http_url
        if settings.token is None and found.token is not None:  # it is for that coordinator, and for no other
            update["token"] = SecretStr(found.token)
    return settings.model_copy(update=update)


@contextlib.contextmanager
def published(settings: Settings, http_url: str, token: str | None = None) -> Iterator[None]:
    """Let other programs of this user find this process's broker and HTTP side, until the block ends.

    Args:
        settings: with the AMQP URL that is in use.
        http_url: where this process answers.
        token: what lets its bearer do everything there; the broker's own password lies beside it.

    Raises:
        OSError: the file could not be written.
    """
    path = settings.home / FILE_NAME
    connection = _Connection(
        pid=os.getpid(),
        amqp_url=",".join(settings.amqp_urls()),
        management_url=settings.management(),
        http_url=http_url,
        token=token,
    )
    replace_file(path, connection.model_dump_json(indent=2))
    try:
        yield
    finally:
        now = _read(path)
        if now is not None and now.pid == connection.pid:  # a coordinator that came later has its own there
            path.unlink(missing_ok=True)


def _read(path: Path) -> _Connection | None:
    try:
        return _Connection.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

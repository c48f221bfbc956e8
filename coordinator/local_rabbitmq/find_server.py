"""Find RabbitMQ's start script and Erlang's name server on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# The real script comes before a distribution's wrapper in /usr/sbin, and a package manager's folder may be
# missing from the PATH of a service or a cron job.
SERVER_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin", "/usr/sbin")

_SCRIPT = "rabbitmq-server"


def find_server() -> Path | None:
    """Find the `rabbitmq-server` script that any user may run.

    Looks in `$RABBITMQ_HOME/sbin`, on the PATH, and where packages put it. Skips the wrappers of Debian and
    Red Hat in /usr/sbin: they only run as root or as the user `rabbitmq`.

    Returns:
        The script, or None when RabbitMQ is not installed.
    """
    folders = list(SERVER_FOLDERS)
    if on_path := shutil.which(_SCRIPT):
        folders.insert(0, str(Path(on_path).parent))
    if home := os.environ.get("RABBITMQ_HOME"):
        folders.insert(0, str(Path(home) / "sbin"))
    candidates = (Path(folder) / _SCRIPT for folder in folders)
    return next((candidate for candidate in candidates if _is_server(candidate)), None)


def find_epmd() -> Path | None:
    """Find Erlang's name server: on the PATH, or else in the folder of the `erl` on the PATH.

    Returns:
        The program, or None when Erlang is not installed.
    """
    if on_path := shutil.which("epmd"):
        return Path(on_path)
    if erl := shutil.which("erl"):
        beside = Path(erl).resolve().parent / "epmd"
        return beside if os.access(beside, os.X_OK) else None
    return None


def _is_server(script: Path) -> bool:
    """Whether this is the script itself (it needs `rabbitmq-env` beside it) and not a wrapper."""
    target = script.resolve()
    return os.access(target, os.X_OK) and target.name == _SCRIPT and (target.parent / "rabbitmq-env").is_file()

"""The folder of a private node: claimed by one broker at a time, and what it keeps for the next one."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from coordinator.broker.node_config import NodeSettings, node_config
from coordinator.broker.ports import choose_ports
from coordinator.errors import PrivateBrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STATE_FILE = "private-broker.json"
_LOCK_FILE = "lock"
_PORTS = ("amqp_port", "management_port", "distribution_port", "epmd_port")


def claim_folder(folder: Path) -> int:
    """Make the folder if it is missing, and claim it, for its owner only.

    Returns:
        A file descriptor: the claim lasts until all processes that were given it have closed it or died.

    Raises:
        PrivateBrokerError: a live broker has it, or it holds something else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / _LOCK_FILE).exists():
        raise PrivateBrokerError(f"{folder} is neither empty nor a private broker's folder")
    folder.chmod(0o700)
    lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode()
        os.close(lock)
        raise PrivateBrokerError(f"a private broker in {folder} already runs (pid {owner})") from None
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def load_settings(folder: Path, asked_ports: Mapping[str, int]) -> NodeSettings:
    """Give a node what the last one in its folder had (ports only while they are free), or else new values.

    Args:
        folder: a claimed folder.
        asked_ports: the ports it must have by their names in `NodeSettings`, 0 for any.

    Raises:
        PrivateBrokerError: a port that it must have is taken.
    """
    state_file = folder / _STATE_FILE
    state: dict[str, Any] = json.loads(state_file.read_text()) if state_file.exists() else {}
    wanted = {name: asked_ports.get(name) or state.get(name, 0) for name in _PORTS}
    required = frozenset(name for name, port in asked_ports.items() if port)
    return NodeSettings(
        name=state.get("name") or f"coordinator-{secrets.token_hex(6)}@localhost",
        folder=folder,
        password=state.get("password") or secrets.token_hex(16),
        cookie=state.get("cookie") or secrets.token_hex(16),
        **choose_ports(wanted, required=required),
    )


def write_files(settings: NodeSettings) -> None:
    """Write the node's files, and what the next broker on this folder must know, for their owner only."""
    (settings.folder / "log").mkdir(exist_ok=True)
    state = {name: value for name, value in vars(settings).items() if name != "folder"}
    for name, text in {**node_config(settings), _STATE_FILE: json.dumps(state)}.items():
        with open(settings.folder / name, "w", opener=_owner_only) as file:
            file.write(text)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

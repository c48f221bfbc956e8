"""The folder of a private broker: one broker claims it at a time, and finds its settings there the next time."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.config import NodeSettings, node_config
from coordinator.local_rabbitmq.ports import choose_ports

NOT_STARTED = "the private broker is not started"

_STATE_FILE = "private-broker.json"
_LOCK_FILE = "lock"
_NODE_FOLDER = "node-"
_OWN_PORTS = ("amqp_port", "management_port", "distribution_port")
_PORTS = (*_OWN_PORTS, "epmd_port")


class BrokerFolder:
    """The folder of a private broker or cluster. Only one of them can claim it at a time.

    Args:
        folder: created if it is missing, and kept. None: a temporary folder, removed at the end.
    """

    def __init__(self, folder: Path | None) -> None:
        self.is_temporary = folder is None
        self._path = folder and folder.resolve()
        self._lock: int | None = None

    @property
    def path(self) -> Path:
        """The folder; a temporary one exists from `claim()` to `remove()`."""
        if self._path is None:
            raise PrivateBrokerError(NOT_STARTED)
        return self._path

    def claim(self) -> int:
        """Claim the folder; returns the file descriptor that holds the claim.

        Raises:
            PrivateBrokerError: a running broker uses it, or it holds other files.
        """
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="private-broker-"))
        self._lock = claim_folder(self._path)
        return self._lock

    def release(self) -> None:
        """Release the claim."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove the folder if it is a temporary one."""
        if self.is_temporary and self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


def claim_folder(folder: Path) -> int:
    """Create the folder if it is missing, claim it, and let only its owner read it.

    Returns:
        A file descriptor. The claim lasts until every process that has it has closed it or ended.

    Raises:
        PrivateBrokerError: a running broker uses it, or it holds other files.
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
    """The settings of the last node in this folder (each port only if it is still free), or else new ones.

    Args:
        folder: a claimed folder.
        asked_ports: the ports that the node must have, by their names in `NodeSettings`; 0 for any.

    Raises:
        PrivateBrokerError: a port that the node must have is taken, or the folder holds a cluster.
    """
    if others := _nodes_in(folder):
        raise PrivateBrokerError(f"{folder} holds a cluster of {others} nodes, not a single one")
    state = _read_state(folder)
    wanted = {name: asked_ports.get(name) or state.get(name, 0) for name in _PORTS}
    required = frozenset(name for name, port in asked_ports.items() if port)
    ports = choose_ports(wanted, required=required)
    return _settings(folder, state, state.get("name") or f"coordinator-{secrets.token_hex(6)}@localhost", ports)


def load_cluster(folder: Path, nodes: int, asked_ports: Mapping[str, int]) -> list[NodeSettings]:
    """The settings of the last cluster in this folder, as `load_settings` gives them for a single node.

    Args:
        folder: a claimed folder; each node has its own folder in it.
        nodes: the number of nodes.
        asked_ports: the ports that the first node must have, 0 for any; each further node gets the next ports.

    Raises:
        PrivateBrokerError: a port that a node must have is taken, or the folder holds a single node or a cluster
            of another size.
    """
    found = _nodes_in(folder) or int((folder / _STATE_FILE).exists())
    if found not in {0, nodes}:
        raise PrivateBrokerError(f"{folder} holds a broker of {found} nodes, and cannot become one of {nodes}")
    folders = [folder / f"{_NODE_FOLDER}{number}" for number in range(1, nodes + 1)]
    states = [_read_state(one) for one in folders]
    asked = {(name, at): port + at for name, port in asked_ports.items() if port for at in range(nodes)}
    wanted = {(name, at): states[at].get(name, 0) for name in _OWN_PORTS for at in range(nodes)}
    epmd = ("epmd_port", 0)
    ports = choose_ports({epmd: states[0].get("epmd_port", 0)} | wanted | asked, required=frozenset(asked))
    tag = secrets.token_hex(6)
    names = tuple(states[at].get("name") or f"coordinator-{tag}-{at + 1}@localhost" for at in range(nodes))
    shared = {name: states[0].get(name) or secrets.token_hex(16) for name in ("password", "cookie")}
    return [
        _settings(
            folders[at],
            shared,
            names[at],
            {name: ports[name, at] for name in _OWN_PORTS} | {"epmd_port": ports[epmd]},
            names,
        )
        for at in range(nodes)
    ]


def write_files(settings: NodeSettings) -> None:
    """Write the node's files and the settings for the next start; only their owner can read them."""
    settings.folder.mkdir(mode=0o700, exist_ok=True)
    (settings.folder / "log").mkdir(exist_ok=True)
    state = {name: value for name, value in vars(settings).items() if name not in {"folder", "peers"}}
    for name, text in {**node_config(settings), _STATE_FILE: json.dumps(state)}.items():
        with open(settings.folder / name, "w", opener=_owner_only) as file:
            file.write(text)


def _settings(
    folder: Path, secret: Mapping[str, str], name: str, ports: Mapping[str, int], peers: tuple[str, ...] = ()
) -> NodeSettings:
    return NodeSettings(
        name=name,
        folder=folder,
        password=secret.get("password") or secrets.token_hex(16),
        cookie=secret.get("cookie") or secrets.token_hex(16),
        amqp_port=ports["amqp_port"],
        management_port=ports["management_port"],
        distribution_port=ports["distribution_port"],
        epmd_port=ports["epmd_port"],
        peers=peers,
    )


def _nodes_in(folder: Path) -> int:
    """The number of cluster nodes that have a folder in this one."""
    return len(list(folder.glob(f"{_NODE_FOLDER}*")))


def _read_state(folder: Path) -> dict[str, Any]:
    file = folder / _STATE_FILE
    state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return state


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

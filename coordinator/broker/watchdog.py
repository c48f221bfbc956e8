"""Keeps a private RabbitMQ node for as long as the program that asked for it lives, and no longer.

Run as `python -m coordinator.broker.watchdog`, by `coordinator.broker.watched` alone. Its standard input is a
pipe from that program: the first line is the order, as JSON; its end is the sign to stop, which also comes if
that program is killed. `keep` before the end means that a temporary folder will be needed again. Its standard
output tells the node's process id (`node 123`) and, when the node is gone, `ended`.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP = b"keep"
STOP_SECONDS = 15.0  # a clean stop with the management plugin takes 6 s
_EPMD_SECONDS = 5.0
_REMOVE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_STDOUT = 1


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes:
        command: the node: the `rabbitmq-server` script. For a cluster also the name server that its nodes share.
        name_server: the command of a name server of its own; empty where it shares one, or is one.
        epmd_port: where the name server listens, on loopback.
        folder: the node's folder, with its files written.
        temporary: whether the folder goes when the node is no longer wanted.
        environment: the variables of both.
    """

    command: list[str]
    name_server: list[str]
    epmd_port: int
    folder: str
    temporary: bool
    environment: dict[str, str]

    def to_line(self) -> bytes:
        """Give the order as one line for the watchdog's standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Watchdog:
    """Runs the name server and the node, and ends both when standard input ends."""

    def __init__(self, order: Order, orders: io.FileIO) -> None:
        self._order = order
        self._orders = orders
        self._ended = threading.Event()
        self._keep = False

    def run(self) -> None:
        """Run until the order is over: standard input has ended and no process is left."""
        with contextlib.ExitStack() as children:
            if self._order.name_server:
                children.enter_context(self._child(self._order.name_server))
                # The node would start a name server of its own, a daemon, if ours did not answer yet.
                _wait_for_port(self._order.epmd_port)
            node = children.enter_context(self._child(self._order.command))
            _tell(f"node {node.pid}")
            obedience = threading.Thread(target=self._obey, args=(node,), daemon=True)
            obedience.start()
            node.wait()
            self._ended.set()
        _tell("ended")
        obedience.join()

    def clean_up(self) -> None:
        """Remove a temporary folder, unless it is still wanted."""
        if self._order.temporary and not self._keep:
            # Again while it is there: the nodes of a cluster end at the same time, and write until then.
            deadline = time.monotonic() + _REMOVE_SECONDS
            while Path(self._order.folder).exists() and time.monotonic() < deadline:
                shutil.rmtree(self._order.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _child(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process that ends with this block, and with this process even if that is killed."""
        with (Path(self._order.folder) / "log" / "console.log").open("ab") as console:
            child = subprocess.Popen(  # noqa: S603 - the order comes from our own parent
                command,
                env=self._order.environment,
                cwd=self._order.folder,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                process_group=0,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - see below
            )
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # with what it started itself
            child.wait()

    def _obey(self, node: subprocess.Popen[bytes]) -> None:
        """Wait for the end of standard input, then stop the node: at once if nothing of it will be kept."""
        self._keep = self._orders.readall() == KEEP
        if self._keep or not self._order.temporary:
            node.terminate()
            node.send_signal(signal.SIGCONT)  # a suspended one hears nothing else
            self._ended.wait(STOP_SECONDS)
        node.kill()


def _die_with_parent() -> None:
    """Have the kernel kill this process with the thread that forked it.

    Runs between fork and exec, which is safe as long as no other thread runs: both children are started
    before the watchdog's only other thread is.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _EPMD_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)


def _tell(line: str) -> None:
    # The program that asked may be gone: then there is nobody to tell, but still a node to end.
    with contextlib.suppress(BrokenPipeError):
        os.write(_STDOUT, f"{line}\n".encode())


def main() -> None:
    """Read the order and carry it out."""
    # Unbuffered, since a thread that waits in a buffered reader holds a lock that an exit needs.
    orders = io.FileIO(sys.stdin.fileno(), closefd=False)
    line = orders.readline()
    if not line.endswith(b"\n"):
        return  # the program that asked died before it could
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the blocks that end processes are left
    watchdog = Watchdog(Order(**json.loads(line)), orders)
    try:
        watchdog.run()
    finally:
        watchdog.clean_up()


if __name__ == "__main__":
    main()

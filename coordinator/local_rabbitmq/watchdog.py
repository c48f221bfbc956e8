"""Run a private RabbitMQ node until the program that started it ends.

Only `coordinator.local_rabbitmq.process` starts it, as `python -m coordinator.local_rabbitmq.watchdog`. Its standard
input is a pipe from that program. The first line is the order, as JSON. The end of the input means stop; it also comes
when that program is killed. `keep` before the end means: do not remove a temporary folder. The watchdog prints the
node's process id (`node 123`), and `ended` when the node has ended.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

KEEP = b"keep"
STOP_SECONDS = 15.0  # a clean stop with the management plugin takes 6 s
_EPMD_SECONDS = 5.0
_REMOVE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_STDOUT = 1


@dataclass(frozen=True)
class Order:
    """What the watchdog runs.

    Attributes:
        command: the `rabbitmq-server` script, or the name server that the nodes of a cluster share.
        name_server: the command of the node's own name server; empty when it shares one, or when `command` is one.
        epmd_port: the name server's port on loopback.
        folder: the node's folder; its files are already written.
        temporary: whether the watchdog removes the folder at the end.
        environment: the environment variables of both processes.
    """

    command: list[str]
    name_server: list[str]
    epmd_port: int
    folder: str
    temporary: bool
    environment: dict[str, str]

    def to_line(self) -> bytes:
        """The order as one line for the watchdog's standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Watchdog:
    """Runs the name server and the node, and stops both when standard input ends."""

    def __init__(self, order: Order, orders: io.FileIO) -> None:
        self._order = order
        self._orders = orders
        self._ended = threading.Event()
        self._keep = False

    def run(self) -> None:
        """Run the node; return when standard input has ended and both processes are gone."""
        with contextlib.ExitStack() as children:
            if self._order.name_server:
                children.enter_context(self._child(self._order.name_server))
                # If ours does not answer yet, the node starts its own name server: a daemon that outlives it.
                _wait_for_port(self._order.epmd_port)
            node = children.enter_context(self._child(self._order.command))
            _report(f"node {node.pid}")
            stopper = threading.Thread(target=self._stop_at_end_of_input, args=(node,), daemon=True)
            stopper.start()
            node.wait()
            self._ended.set()
        _report("ended")
        stopper.join()

    def clean_up(self) -> None:
        """Remove a temporary folder, unless the last input was `keep`."""
        if self._order.temporary and not self._keep:
            # Repeated until it is gone: the other nodes of a cluster may still write to it while they end.
            deadline = time.monotonic() + _REMOVE_SECONDS
            while Path(self._order.folder).exists() and time.monotonic() < deadline:
                shutil.rmtree(self._order.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _child(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process that ends when this block ends, or when this process is killed."""
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
                os.killpg(child.pid, signal.SIGKILL)  # the whole group: also what it started itself
            child.wait()

    def _stop_at_end_of_input(self, node: subprocess.Popen[bytes]) -> None:
        """Wait for the end of standard input, then stop the node: cleanly if its folder stays, else at once."""
        self._keep = self._orders.readall() == KEEP
        if self._keep or not self._order.temporary:
            node.terminate()
            node.send_signal(signal.SIGCONT)  # a suspended process handles SIGTERM only once it runs again
            self._ended.wait(STOP_SECONDS)
        node.kill()


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that forked it ends.

    This runs between fork and exec, which is safe only while there is no other thread. Both children are started
    before the watchdog starts its second thread.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _EPMD_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)


def _report(line: str) -> None:
    # The program that started the watchdog may be gone. Then nothing reads this, but the node must still be stopped.
    with contextlib.suppress(BrokenPipeError):
        os.write(_STDOUT, f"{line}\n".encode())


def main() -> None:
    """Read the order and run it."""
    # Unbuffered: a thread that waits in a buffered reader holds a lock, and the exit would hang on that lock.
    orders = io.FileIO(sys.stdin.fileno(), closefd=False)
    line = orders.readline()
    if not line.endswith(b"\n"):
        return  # the program that started us died before it wrote the order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # SystemExit, so that the `finally` blocks run
    watchdog = Watchdog(Order(**json.loads(line)), orders)
    try:
        watchdog.run()
    finally:
        watchdog.clean_up()


if __name__ == "__main__":
    main()

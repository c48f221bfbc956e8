"""TCP ports on loopback: choose free ones, and check whether a server answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
from collections.abc import Hashable, Mapping
from typing import TypeVar

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.config import HOST, USER

# Systems use higher ports for outgoing connections. So a port from this range stays free between its choice and
# its use, and while its node restarts.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_ATTEMPTS = 200

Name = TypeVar("Name", bound=Hashable)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        # Servers set it too. Without it the connections of a killed node make its port look taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):  # OverflowError: the number is above 65535
            return False
        return True


def choose_ports(wanted: Mapping[Name, int], *, required: frozenset[Name]) -> dict[Name, int]:
    """Choose a free port for each name.

    Args:
        wanted: the port preferred for each name, 0 for any.
        required: the names that must get exactly their wanted port.

    Returns:
        A different port for each name.

    Raises:
        PrivateBrokerError: a required port is taken, or no port is free.
    """
    chosen: dict[Name, int] = {}
    for name in sorted(wanted, key=lambda name: name not in required):  # the required ones first
        port = wanted[name]
        if port and port not in chosen.values() and is_free(port):
            chosen[name] = port
        elif name in required:
            raise PrivateBrokerError(f"port {port} is in use, and the private broker must have it")
        else:
            chosen[name] = _any_port(set(chosen.values()) | set(wanted.values()))
    return chosen


def _any_port(taken: set[int]) -> int:
    for _ in range(_ATTEMPTS):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in taken and is_free(port):
            return port
    raise PrivateBrokerError(f"no free port was found from {_FIRST_PORT} to {_LAST_PORT}")


async def answers(port: int) -> bool:
    """Whether something accepts connections on this port."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    await _close(writer)
    return True


async def management_answers(port: int, password: str) -> bool:
    """Whether RabbitMQ's management API on this port accepts our user and password."""
    credentials = base64.b64encode(f"{USER}:{password}".encode()).decode()
    request = f"GET /api/overview HTTP/1.0\r\nHost: {HOST}\r\nAuthorization: Basic {credentials}\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(request.encode())
        return b" 200 " in await reader.readline()
    except ConnectionError:
        return False
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

"""Which ports a private broker chooses."""

from __future__ import annotations

import socket

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.ports import choose_ports, is_free


def test_a_port_that_was_asked_for_must_be_free() -> None:
    """A port merely preferred is replaced when it is taken, one asked for is an error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert choose_ports({"a": port}, required=frozenset())["a"] != port
        with pytest.raises(PrivateBrokerError, match=f"port {port} is in use"):
            choose_ports({"a": port}, required=frozenset({"a"}))


def test_a_port_that_was_asked_for_goes_before_one_preferred() -> None:
    """A name server may have had, by chance, the port that its node is told to take now."""
    port = next(port for port in range(10_000, 20_000) if is_free(port))
    chosen = choose_ports({"epmd": port, "amqp": port}, required=frozenset({"amqp"}))
    assert chosen["amqp"] == port != chosen["epmd"]

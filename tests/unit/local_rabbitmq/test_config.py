"""The files and the environment variables that a private node starts with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coordinator.local_rabbitmq.config import NodeSettings, node_config, node_environment

SETTINGS = NodeSettings(
    name="one@localhost",
    folder=Path("/somewhere"),
    password="the-password",  # noqa: S106 - not a secret
    cookie="the-cookie",
    amqp_port=21001,
    management_port=21002,
    distribution_port=21003,
    epmd_port=21004,
)


def test_the_node_listens_on_loopback_only() -> None:
    """AMQP, the management API, Erlang's distribution and its name server are all told 127.0.0.1."""
    conf = node_config(SETTINGS)["rabbitmq.conf"].splitlines()
    environment = node_environment(SETTINGS, {})
    assert "listeners.tcp.1 = 127.0.0.1:21001" in conf
    assert {"management.tcp.ip = 127.0.0.1", "management.tcp.port = 21002"} <= set(conf)
    assert "inet_dist_use_interface {127,0,0,1}" in environment["ERL_FLAGS"]
    assert (environment["ERL_EPMD_ADDRESS"], environment["ERL_EPMD_PORT"]) == ("127.0.0.1", "21004")


def test_the_first_node_forms_the_cluster_and_others_join_it() -> None:
    """Only nodes after the first look for a peer, and for that one alone; a node by itself has none of this."""
    peers = ("one@localhost", "two@localhost", "three@localhost")
    confs = [node_config(replace(SETTINGS, name=name, peers=peers))["rabbitmq.conf"] for name in peers]
    assert all("cluster_partition_handling = pause_minority" in conf for conf in confs)
    assert "cluster_formation" not in confs[0]
    for name, conf in zip(peers[1:], confs[1:], strict=True):
        assert "classic_config.nodes.1 = one@localhost" in conf
        assert f"classic_config.nodes.2 = {name}" in conf
        assert "nodes.3" not in conf
    assert "cluster" not in node_config(SETTINGS)["rabbitmq.conf"]


def test_the_environment_holds_no_secret() -> None:
    """Environments are inherited by helpers and shown by tools, so secrets are in files only."""
    text = repr(node_environment(SETTINGS, {}))
    assert "the-password" not in text
    assert "the-cookie" not in text


def test_what_configures_another_node_is_not_inherited() -> None:
    """A developer's own RABBITMQ_* and ERL_* variables must not reach our node; the PATH must."""
    inherited = {
        "PATH": "/bin",
        "RABBITMQ_NODE_PORT": "5672",
        "ERL_LIBS": "/x",
        "HOME": "/root",
        "LC_ALL": "C",
    }
    environment = node_environment(SETTINGS, inherited)
    assert environment["PATH"] == "/bin"
    assert environment["HOME"] == "/somewhere"
    assert not {"RABBITMQ_NODE_PORT", "ERL_LIBS", "LC_ALL"} & environment.keys()


def test_settings_show_no_secret() -> None:
    """Neither the password nor the cookie is printed."""
    assert "the-password" not in repr(SETTINGS)
    assert "the-cookie" not in repr(SETTINGS)

"""The files and the environment variables that a RabbitMQ node of our own starts with, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
USER = "coordinator"

# RabbitMQ starts a second, short-lived VM to check for a name server, and ERL_FLAGS reach that VM too. Without
# them it would listen on every interface, and leave behind a name server that outlives the node.
_ERLANG_FLAGS = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"

# Seconds until the nodes of a cluster notice that one of them hangs. RabbitMQ's default is 60, and every request
# to all nodes waits that long.
_TICK = " -kernel net_ticktime 10"

_CONF = """\
listeners.tcp.1 = {host}:{amqp_port}
management.tcp.ip = {host}
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
consumer_timeout = 86400000
collect_statistics_interval = {figures_ms}
disk_free_limit.absolute = 50MB
log.console = false
log.file.level = warning
"""

_CLUSTER_CONF = "cluster_partition_handling = pause_minority\n"

# The first node starts alone, and the others join it. If all nodes listed each other, they would wait for locks on
# nodes that are not up yet: over a minute on RabbitMQ 3.10. A node that gives up joining would go on alone, so the
# retry limit is practically endless.
_JOIN_CONF = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {first}
cluster_formation.classic_config.nodes.2 = {itself}
cluster_formation.discovery_retry_limit = 100000
cluster_formation.discovery_retry_interval = 100
"""

FIGURES_MS = 1000
"""Milliseconds between updates of the broker's statistics; RabbitMQ's default is 5000.

An update costs the broker some 0.15 ms for each quorum queue, so thousands of queues slow it down."""
FIGURES_LAG = 1.5
"""Seconds by which the statistics are at most out of date with this interval."""


def advanced_config(figures_ms: int = FIGURES_MS) -> str:
    """The settings that have no key in `rabbitmq.conf`.

    The first is how often a quorum queue's statistics are updated, the second how soon RabbitMQ retries a dead letter
    that no queue took (3 minutes by default).
    """
    return f"""\
[{{rabbit, [
  {{quorum_tick_interval, {figures_ms}}},
  {{dead_letter_worker_publisher_confirm_timeout, 3000}}
]}}].
"""


@dataclass(frozen=True)
class NodeSettings:
    """The settings of one node: its name, its folder, its secrets and its ports (all on loopback).

    Attributes:
        name: the Erlang node's name, `something@localhost`; unique on the machine.
        folder: holds everything that the node reads and writes.
        password: of the user `coordinator`, the only one.
        cookie: lets Erlang nodes talk to each other; nodes of one cluster share it.
        amqp_port: for AMQP clients.
        management_port: for the management API.
        distribution_port: for other nodes and rabbitmqctl.
        epmd_port: of the name server; nodes of one cluster share it.
        peers: the names of all nodes of its cluster, including its own; the first one forms it. Empty for a single
            node.
        figures_ms: milliseconds between updates of the broker's statistics.
    """

    name: str
    folder: Path
    password: str = field(repr=False)
    cookie: str = field(repr=False)
    amqp_port: int
    management_port: int
    distribution_port: int
    epmd_port: int
    peers: tuple[str, ...] = ()
    figures_ms: int = FIGURES_MS


def node_config(settings: NodeSettings) -> dict[str, str]:
    """The files of a node's folder.

    Returns:
        The text of each file by its name. Some hold secrets, so only their owner may read them.
    """
    conf = _CONF.format(
        host=HOST,
        user=USER,
        password=settings.password,
        amqp_port=settings.amqp_port,
        management_port=settings.management_port,
        figures_ms=settings.figures_ms,
    )
    if settings.peers:
        conf += _CLUSTER_CONF
    if settings.name in settings.peers[1:]:
        conf += _JOIN_CONF.format(first=settings.peers[0], itself=settings.name)
    return {
        "rabbitmq.conf": conf,
        "advanced.config": advanced_config(settings.figures_ms),
        "enabled_plugins": "[rabbitmq_management].\n",
        ".erlang.cookie": settings.cookie,
    }


def node_environment(settings: NodeSettings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that make a node use its own folder only.

    Args:
        settings: the node.
        inherited: the caller's own environment. Variables that configure another node or another VM are left out.

    Returns:
        All variables of the node's process. They hold no secret.
    """
    folder = settings.folder
    foreign = ("RABBITMQ_", "ERL_", "LC_", "NOTIFY_SOCKET", "CONF_ENV_FILE", "HOME")
    return {
        **{name: value for name, value in inherited.items() if not name.startswith(foreign)},
        "HOME": str(folder),  # the VM reads its cookie here; it ends if another user owns the file
        "LANG": "C.UTF-8",
        "ERL_FLAGS": _ERLANG_FLAGS + (_TICK if settings.peers else ""),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(settings.epmd_port),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script execs the VM; otherwise a shell would stay and wait for it
        # By default RabbitMQ binds each scheduler thread to a core. That suits a machine that only runs RabbitMQ. Here
        # other programs run too, and while one keeps a core busy, the thread bound to that core would wait.
        "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
        "RABBITMQ_NODENAME": settings.name,
        "RABBITMQ_DIST_PORT": str(settings.distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": str(folder / "log" / "rabbit.log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        # Neither exists. Without these two variables RabbitMQ would read the files of /etc/rabbitmq.
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
    }

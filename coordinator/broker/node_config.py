"""What a RabbitMQ node of our own is started with: its files and its environment, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST = "127.0.0.1"
USER = "coordinator"

# ERL_FLAGS also reach the short-lived second VM by which RabbitMQ makes sure of a name server. Without them
# that VM would listen on every interface, and leave behind a name server that outlives the node.
_ERLANG_FLAGS = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"

# How long, in seconds, the nodes of a cluster take to see that one of them hangs: 60 unless told, and until then
# whatever asks all nodes waits for it.
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

# The first node begins alone, and the others join it. Nodes that all list each other wait for locks on those that are
# not up yet: over a minute on RabbitMQ 3.10. And a node that gives up would go on alone, so it never does.
_JOIN_CONF = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {first}
cluster_formation.classic_config.nodes.2 = {itself}
cluster_formation.discovery_retry_limit = 100000
cluster_formation.discovery_retry_interval = 100
"""

FIGURES_MS = 1000
"""RabbitMQ's own is 5000. Each quorum queue's part of it costs the broker some 0.15 ms: thousands of them are felt."""
FIGURES_LAG = 1.5
"""Seconds by which figures lag that are brought up to date so often."""


def advanced_config(figures_ms: int = FIGURES_MS) -> str:
    """What has no key in `rabbitmq.conf`.

    The first is how often a quorum queue's figures are brought up to date, the second how soon a dead letter that found
    no queue is tried again (3 minutes unless told).
    """
    return f"""\
[{{rabbit, [
  {{quorum_tick_interval, {figures_ms}}},
  {{dead_letter_worker_publisher_confirm_timeout, 3000}}
]}}].
"""


@dataclass(frozen=True)
class NodeSettings:
    """One node: its name, its folder, its secrets and its ports (all on loopback).

    Attributes:
        name: the Erlang node's name, `something@localhost`; unique on the machine.
        folder: holds all that the node reads and writes.
        password: of the user `coordinator`, the only one.
        cookie: lets Erlang nodes talk to each other; nodes of one cluster share it.
        amqp_port: for AMQP clients.
        management_port: for the management API.
        distribution_port: for other nodes and rabbitmqctl.
        epmd_port: of the name server; nodes of one cluster share it.
        peers: the names of all nodes of its cluster, itself among them; the first one forms it. Empty for a node
            that stands alone.
        figures_ms: how often the broker brings its figures up to date: of quorum queues, and of all else.
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
    """Give the files of a node's folder.

    Returns:
        The text of each file by its name. Some hold secrets: write all of them for their owner only.
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
    """Give the environment variables that keep a node within its folder.

    Args:
        settings: the node.
        inherited: the caller's own environment. What would configure another node or another VM is left out.

    Returns:
        All variables of the node's process; none is a secret.
    """
    folder = settings.folder
    foreign = ("RABBITMQ_", "ERL_", "LC_", "NOTIFY_SOCKET", "CONF_ENV_FILE", "HOME")
    return {
        **{name: value for name, value in inherited.items() if not name.startswith(foreign)},
        "HOME": str(folder),  # where the VM looks for its cookie; another user's cookie there kills it
        "LANG": "C.UTF-8",
        "ERL_FLAGS": _ERLANG_FLAGS + (_TICK if settings.peers else ""),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(settings.epmd_port),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the VM, instead of a shell that waits for it
        # RabbitMQ binds each thread that runs its processes to a core, which is for a machine of its own. Here others
        # work beside it, and while they keep a core busy, the thread bound to it waits.
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
        # Both name what is not there; unset, the files of /etc/rabbitmq would be read.
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
    }

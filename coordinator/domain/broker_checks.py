"""What is wrong with a broker, by its own reports, and how to mend it: for `coordinator doctor`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from coordinator import topology

Level = Literal["fault", "warning", "note"]

OLDEST: Final = (3, 10)
SKEW_NOTED, SKEW_BAD = 2.0, 30.0
"""Seconds between two clocks."""
DEFAULT_CONSUMER_TIMEOUT: Final = 1800.0
MANY_SEEDS: Final = 5000
EVERYTHING: Final = frozenset({".*", "^.*$", ".+"})
WORK: Final = re.compile(r"work(\..+)?")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found, and how to mend it. A `fault` breaks a promise; a `note` is good to know."""

    level: Level
    check: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a broker and a coordinator report.

    `clocks` are seconds by which others' clocks are ahead of this one; `seeds` are the known ones, None where no
    coordinator answers; `longest_held` is in seconds.
    """

    overview: Json
    nodes: Sequence[Json]
    user: Json
    permissions: Sequence[Json]
    queues: Sequence[Json]
    bindings: Sequence[Json]
    policies: Sequence[Json]
    clocks: Mapping[str, float] = field(default_factory=dict)
    seeds: frozenset[str] | None = None
    longest_held: float = 0.0


def examine(facts: Facts) -> list[Finding]:
    """All findings, faults first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    order: dict[Level, int] = {"fault": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def check_version(facts: Facts) -> Iterator[Finding]:
    """A RabbitMQ that is new enough."""
    text = str(facts.overview.get("rabbitmq_version", ""))
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers < OLDEST:
        what = f"RabbitMQ {text or '(unknown)'} is older than 3.10"
        yield Finding("fault", "version", what, "upgrade the broker: dead letters at least once need 3.10")


def check_plugins(facts: Facts) -> Iterator[Finding]:
    """The plugin that monitoring wants. The management plugin has answered, so it is there."""
    for node in facts.nodes:
        plugins = node.get("enabled_plugins")
        if plugins is not None and "rabbitmq_prometheus" not in plugins:
            yield Finding(
                "note",
                "plugins",
                f"{node['name']}: rabbitmq_prometheus is off, so Prometheus sees nothing of the broker itself",
                "rabbitmq-plugins enable rabbitmq_prometheus",
            )


def check_nodes(facts: Facts) -> Iterator[Finding]:
    """Nodes that run, without alarm or partition."""
    for node in facts.nodes:
        name = node["name"]
        if not node.get("running"):
            yield Finding("fault", "nodes", f"{name} does not run", "start it; look into its log")
        if node.get("mem_alarm"):
            yield Finding(
                "fault",
                "alarms",
                f"{name} has a memory alarm: no client can publish",
                "give it memory, or raise vm_memory_high_watermark; rabbitmq-diagnostics memory_breakdown shows more",
            )
        if node.get("disk_free_alarm"):
            yield Finding(
                "fault", "alarms", f"{name} has a disk alarm: no client can publish", "free disk space on that node"
            )
        if node.get("partitions"):
            yield Finding(
                "fault",
                "nodes",
                f"{name} is cut off from {', '.join(map(str, node['partitions']))}",
                "mend the network, then restart the smaller side; set cluster_partition_handling = pause_minority",
            )


def check_user(facts: Facts) -> Iterator[Finding]:
    """A user that may do what a coordinator does."""
    name = facts.user.get("name", "?")
    tags = facts.user.get("tags") or []
    given = tags.split(",") if isinstance(tags, str) else tags
    if "administrator" not in given:
        yield Finding(
            "fault",
            "permissions",
            f"the user {name} is no administrator, so it can neither make workers' users nor fence a worker",
            f"rabbitmqctl set_user_tags {name} administrator",
        )
    for entry in facts.permissions:
        if entry.get("user") != name:
            continue
        lacking = [kind for kind in ("configure", "write", "read") if entry.get(kind) not in EVERYTHING]
        if lacking:
            yield Finding(
                "warning",
                "permissions",
                f"the user {name} may not {' and '.join(lacking)} everything in this virtual host",
                f"rabbitmqctl set_permissions -p VHOST {name} '.*' '.*' '.*'",
            )
    if not any(entry.get("user") == name for entry in facts.permissions):
        yield Finding(
            "fault",
            "permissions",
            f"the user {name} has no permissions in this virtual host",
            f"rabbitmqctl set_permissions -p VHOST {name} '.*' '.*' '.*'",
        )


def check_queues(facts: Facts) -> Iterator[Finding]:
    """Queues that are there, declared as the coordinator declares them, with a majority of their members online."""
    there = {str(queue["name"]): queue for queue in facts.queues}
    for missing in (queue.name for queue in topology.QUEUES if queue.name not in there):
        yield Finding("fault", "queues", f"the queue {missing} is missing", "start a coordinator, which declares it")
    for name, queue in there.items():
        expected = _expected(name)
        if expected is None:
            continue
        wrong = [
            f"{key} is {_shown(queue, key)}, not {value}"
            for key, value in expected.arguments.items()
            if (queue.get("arguments") or {}).get(key) != value
        ]
        if wrong:
            yield Finding(
                "fault",
                "queues",
                f"{name}: {'; '.join(wrong)}",
                "drain it, stop the coordinators, delete it, start them again: arguments cannot be changed",
            )
        members, online = queue.get("members"), queue.get("online")
        if members and online is not None and len(online) * 2 <= len(members):
            yield Finding(
                "fault",
                "queues",
                f"{name}: {len(online)} of {len(members)} members are online, so it stands still",
                "start the nodes that are down",
            )
        left = sum(int(queue.get(key) or 0) for key in ("messages_ready", "messages_unacknowledged"))
        if (leaving := int(queue.get("messages") or 0) - left) > 0:
            yield Finding(
                "warning",
                "queues",
                f"{name}: {leaving} messages that failed have not come to where they go then",
                f"if that lasts, restart the node {queue.get('leader')}, so that the queue gets another leader",
            )


def check_bindings(facts: Facts) -> Iterator[Finding]:
    """Bindings without which messages go nowhere, and the policy for items of new seeds."""
    there = {(one.get("source"), one.get("destination"), one.get("routing_key")) for one in facts.bindings}
    names = {str(queue["name"]) for queue in facts.queues}
    for name in sorted(names):
        expected = _expected(name)
        for exchange, key in expected.bindings if expected is not None else ():
            if (exchange, name, key) not in there:
                yield Finding(
                    "fault",
                    "bindings",
                    f"{name} is not bound to the exchange {exchange} by {key!r}",
                    "restart a coordinator, which binds it",
                )
    kept = any(
        (policy.get("definition") or {}).get("alternate-exchange") == topology.NEW_SEEDS for policy in facts.policies
    )
    if topology.NEW_SEEDS in names and not kept:
        yield Finding(
            "fault",
            "bindings",
            "the exchange items has no alternate exchange, so items of new seeds are lost",
            "restart a coordinator, which sets the policy coordinator-items; see that no other policy outranks it",
        )


def check_stale(facts: Facts) -> Iterator[Finding]:
    """Queues of unknown seeds, and very many seeds."""
    named = {str(queue["name"]): queue for queue in facts.queues if str(queue["name"]).startswith("seed.")}
    if len(named) > MANY_SEEDS:
        yield Finding(
            "warning", "seeds", f"there are {len(named)} seeds, each with a queue", "purge those that are done"
        )
    if facts.seeds is None:
        return
    for name, queue in sorted(named.items()):
        if name.removeprefix("seed.") not in facts.seeds:
            waits = queue.get("messages", 0)
            yield Finding(
                "warning",
                "seeds",
                f"{name} is the queue of a seed that is not known; {waits} messages wait in it",
                f"coordinator purge seed {name.removeprefix('seed.')!r} once it is known again by coordinator seed set,"
                " or delete the queue",
            )


def check_clocks(facts: Facts) -> Iterator[Finding]:
    """Clocks that agree: throttles, the age of what is held, and logs are read by them."""
    for who, ahead in facts.clocks.items():
        if abs(ahead) >= SKEW_NOTED:
            direction = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                "fault" if abs(ahead) >= SKEW_BAD else "warning",
                "clocks",
                f"the clock of {who} is {abs(ahead):.0f} s {direction} this machine's",
                "run NTP or chrony on both",
            )


def check_consumer_timeout(facts: Facts) -> Iterator[Finding]:
    """How long a worker may hold a batch."""
    limits = [
        float(limit) / 1000
        for policy in facts.policies
        if (limit := (policy.get("definition") or {}).get("consumer-timeout")) is not None
    ]
    shortest = min(limits, default=DEFAULT_CONSUMER_TIMEOUT)
    mend = "set consumer_timeout in rabbitmq.conf to more than the longest batch takes (such as 86400000)"
    if facts.longest_held > shortest / 2:
        yield Finding(
            "warning",
            "consumer_timeout",
            f"a batch is held for {facts.longest_held:.0f} s; after consumer_timeout, {shortest:.0f} s, the broker ends"
            " its channel, and all that it holds fails",
            mend,
        )
    elif not limits:
        yield Finding(
            "note",
            "consumer_timeout",
            "the broker does not report its consumer_timeout; by default a batch may be held for 30 minutes",
            f"if batches take longer: {mend}",
        )


CHECKS: Final = (
    check_version,
    check_plugins,
    check_nodes,
    check_user,
    check_queues,
    check_bindings,
    check_stale,
    check_clocks,
    check_consumer_timeout,
)


def faults(findings: Iterable[Finding]) -> int:
    """How many of them matter."""
    return sum(finding.level == "fault" for finding in findings)


def _expected(name: str) -> topology.Queue | None:
    """How a queue of ours must be; None for another's."""
    for queue in topology.QUEUES:
        if queue.name == name:
            return queue
    if name.startswith("seed."):
        return topology.seed_queue(name.removeprefix("seed."))
    if WORK.fullmatch(name):
        return topology.work_queue(topology.tags_of_work_queue(name))
    return None


def _shown(queue: Json, key: str) -> object:
    return (queue.get("arguments") or {}).get(key, "not set")

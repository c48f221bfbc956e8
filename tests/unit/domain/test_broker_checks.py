"""The doctor's checks: a broker as it should be has no finding, and each thing that is wrong has its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator import topology
from coordinator.domain.broker_checks import Facts, examine, faults


def described(queue: topology.Queue) -> dict[str, Any]:
    """A queue as the management API tells of it."""
    return {"name": queue.name, "arguments": dict(queue.arguments), "members": ["a", "b", "c"], "online": ["a", "b"]}


OURS = [*topology.QUEUES, topology.seed_queue("s/1="), topology.work_queue(()), topology.work_queue(("ocr", "pdf"))]
NODE = {"name": "rabbit@a", "running": True, "enabled_plugins": ["rabbitmq_management", "rabbitmq_prometheus"]}
WELL = Facts(
    overview={"rabbitmq_version": "4.1.2"},
    nodes=[NODE],
    user={"name": "me", "tags": ["administrator"]},
    permissions=[{"user": "me", "configure": ".*", "write": ".*", "read": ".*"}],
    queues=[*map(described, OURS), {"name": "strange", "arguments": {}}],
    bindings=[
        {"source": exchange, "destination": queue.name, "routing_key": key}
        for queue in OURS
        for exchange, key in queue.bindings
    ],
    policies=[
        {"definition": {"alternate-exchange": topology.NEW_SEEDS}},
        {"definition": {"consumer-timeout": 86_400_000}},
    ],
    clocks={"the broker": 0.4},
    seeds=frozenset({"s/1="}),
    longest_held=60.0,
)


def changed(name: str, **arguments: object) -> list[dict[str, Any]]:
    """All queues, one of them declared otherwise."""
    return [
        {**queue, "arguments": {**queue["arguments"], **arguments}} if queue["name"] == name else dict(queue)
        for queue in WELL.queues
    ]


def test_a_broker_as_it_should_be() -> None:
    """Nothing is found, and queues of others are left alone."""
    assert examine(WELL) == []


@pytest.mark.parametrize(
    ("facts", "level", "check", "what"),
    [
        (replace(WELL, overview={"rabbitmq_version": "3.9.29"}), "fault", "version", "3.9.29"),
        (replace(WELL, overview={}), "fault", "version", "unknown"),
        (replace(WELL, nodes=[{**NODE, "enabled_plugins": []}]), "note", "plugins", "rabbitmq_prometheus"),
        (replace(WELL, nodes=[{**NODE, "running": False}]), "fault", "nodes", "does not run"),
        (replace(WELL, nodes=[{**NODE, "mem_alarm": True}]), "fault", "alarms", "memory"),
        (replace(WELL, nodes=[{**NODE, "disk_free_alarm": True}]), "fault", "alarms", "disk"),
        (replace(WELL, nodes=[{**NODE, "partitions": ["rabbit@b"]}]), "fault", "nodes", "cut off from rabbit@b"),
        (replace(WELL, user={"name": "me", "tags": "monitoring"}), "fault", "permissions", "no administrator"),
        (replace(WELL, permissions=[]), "fault", "permissions", "no permissions"),
        (
            replace(WELL, permissions=[{"user": "me", "configure": "^x", "write": ".*", "read": ""}]),
            "warning",
            "permissions",
            "configure and read",
        ),
        (replace(WELL, queues=changed("work", **{"x-delivery-limit": 20})), "fault", "queues", "is 20, not 0"),
        (replace(WELL, queues=WELL.queues[1:]), "fault", "queues", "returns is missing"),
        (
            replace(
                WELL, queues=[{**queue, "online": ["a"]} if queue["name"] == "work" else queue for queue in WELL.queues]
            ),
            "fault",
            "queues",
            "1 of 3 members",
        ),
        (replace(WELL, bindings=WELL.bindings[1:]), "fault", "bindings", "returns is not bound"),
        (replace(WELL, policies=WELL.policies[1:]), "fault", "bindings", "alternate exchange"),
        (replace(WELL, seeds=frozenset()), "warning", "seeds", "seed.s/1="),
        (replace(WELL, clocks={"the broker": -5.0}), "warning", "clocks", "5 s behind"),
        (replace(WELL, clocks={"the broker": 40.0}), "fault", "clocks", "40 s ahead of"),
        (replace(WELL, policies=WELL.policies[:1]), "note", "consumer_timeout", "30 minutes"),
        (replace(WELL, policies=WELL.policies[:1], longest_held=1000.0), "warning", "consumer_timeout", "1000 s"),
    ],
)
def test_what_is_wrong_is_found(facts: Facts, level: str, check: str, what: str) -> None:
    """One thing wrong is one finding, which says what, how bad, and the mend."""
    (finding,) = examine(facts)
    assert (finding.level, finding.check) == (level, check)
    assert what in finding.what
    assert finding.mend
    assert faults([finding]) == (level == "fault")


def test_without_a_coordinator_no_queue_is_stale() -> None:
    """Where nobody tells which seeds there are, none is called unknown."""
    assert examine(replace(WELL, seeds=None)) == []


def test_dead_letters_that_do_not_leave() -> None:
    """Messages that are neither ready nor unacked have failed, and are still on their way."""
    figures = {"messages": 5, "messages_ready": 1, "messages_unacknowledged": 2, "leader": "rabbit@b"}
    queues = [{**queue, **figures} if queue["name"] == "work" else queue for queue in WELL.queues]
    (finding,) = examine(replace(WELL, queues=queues))
    assert (finding.level, finding.check) == ("warning", "queues")
    assert "work: 2 messages" in finding.what
    assert "rabbit@b" in finding.mend

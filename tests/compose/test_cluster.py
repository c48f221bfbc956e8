"""The composed system with three broker nodes, each of which may be killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.helpers.compose import UP, Crawl, System, composed

pytestmark = [
    pytest.mark.skipif(os.environ.get("COORDINATOR_TEST_COMPOSE") != "yes", reason="run by `make test-compose`"),
    pytest.mark.timeout(900),  # an image may have to be built
]

NODES = ("broker", "broker-2", "broker-3")


@pytest.fixture(scope="module")
def cluster() -> Iterator[System]:
    """The system of the profile `cluster`, up."""
    with composed("cluster") as system:
        yield system


def test_three_nodes_are_one_cluster_and_hold_each_queue(cluster: System) -> None:
    """All three run in one cluster, coordinators know them all, and the work queue has a member on each."""
    wanted = {f"rabbit@{name}" for name in NODES}
    status = json.loads(cluster.compose("exec", "-T", "broker", "rabbitmqctl", "cluster_status", "--formatter", "json"))
    assert set(status["running_nodes"]) == wanted
    listed = ("exec", "-T", "broker", "rabbitmqctl", "list_queues", "name", "members", "--formatter", "json")
    members = {queue["name"]: set(queue["members"]) for queue in json.loads(cluster.compose(*listed))}
    assert members["work"] == wanted
    urls = cluster.compose("exec", "-T", "coordinator", "cat", "/run/coordinator/coordinator_amqp_url").split(",")
    assert [url.rpartition("@")[2] for url in urls] == [f"{name}:5672/" for name in NODES]


@pytest.mark.parametrize("victim", NODES)
async def test_a_node_that_is_killed_loses_nothing(cluster: System, victim: str) -> None:
    """A crawl of a real tree goes through on the two that are left, and the third comes back."""
    crawl = await Crawl.begin(cluster, f"kill-{victim}")
    cluster.compose("kill", victim)
    await crawl.see_it_through()
    cluster.compose(*UP)

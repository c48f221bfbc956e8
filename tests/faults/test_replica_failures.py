"""A coordinator that hangs or dies keeps nothing: its seeds and batches go on at the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import coordinator
from coordinator.broker.management import Management
from coordinator.domain.membership import owner
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.topology import coordinator_connection_name
from tests.helpers.processes import kill, resume, suspend
from tests.helpers.replicas import knows, shim_of
from tests.helpers.steps import command, submit
from tests.helpers.support import DEADLINE, Drain, eventually, items, publish_items, running_coordinator

pytestmark = pytest.mark.timeout(240)

START = 60.0


@contextlib.asynccontextmanager
async def process(settings: Settings, folder: Path) -> AsyncIterator[Process]:
    """A coordinator as a process of its own, killed in the end."""
    assert settings.amqp_url is not None
    assert settings.management_url is not None
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COORDINATOR_")},
        "COORDINATOR_HOME": str(folder),
        "COORDINATOR_AMQP_URL": settings.amqp_url.get_secret_value(),
        "COORDINATOR_MANAGEMENT_URL": settings.management_url.get_secret_value(),
        "COORDINATOR_HTTP_PORT": "0",
    }
    with (folder / "output").open("ab") as output:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "coordinator", "serve"),
            cwd=Path(coordinator.__file__).parents[1],
            env=environment,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield running
    finally:
        await kill(running)


def seed_of_other(node: Coordinator) -> str:
    """A seed's id that belongs to the one other coordinator."""
    [other] = node.session.replicas.others
    return next(ident for ident in map(str, range(1000)) if owner(ident, [node.instance, other]) == other)


@contextlib.asynccontextmanager
async def beside(settings: Settings, folder: Path) -> AsyncIterator[tuple[Coordinator, Process, str, Drain]]:
    """A coordinator here and one in a process, which has a seed of which some items have gone out."""
    async with running_coordinator(settings) as node, process(settings, folder) as other:
        await eventually(lambda: node.session.replicas.others, "the other has joined", START)
        seed = seed_of_other(node)
        drain = await Drain.begin(settings)
        await publish_items(settings, seed, [items(100, "first-")])
        await eventually(lambda: drain.counts[seed] == 100, "the other dispatches")
        assert seed not in node.session.owned_seeds.consumers
        yield node, other, seed, drain
        await drain.close()


async def until_described(settings: Settings, instance: str) -> None:
    """Wait until the broker lists a coordinator's connections by name, which it does some seconds after they began."""
    management = Management(settings.management(), settings.vhost())
    prefix = coordinator_connection_name(instance, "")
    try:
        async with asyncio.timeout(DEADLINE):
            while sum(one.client_name.startswith(prefix) for one in await management.connections()) < 2:
                pass
    finally:
        await management.close()


async def test_one_that_hangs_is_cut_off(settings: Settings, tmp_path: Path) -> None:
    """Its seeds go on at the others, and it comes back as a new one when it runs again."""
    async with beside(settings, tmp_path) as (node, other, seed, drain):
        [hung] = node.session.replicas.others
        await until_described(settings, hung)  # one that is not listed yet is not cut, and lets it come back as it was
        await suspend(other.pid)
        await publish_items(settings, seed, [items(300, "second-")])
        await eventually(lambda: len(set(drain.items(seed))) == 400, "its seed goes on here")
        await eventually(lambda: knows(node), "it is no longer counted")
        await resume(other.pid)
        await eventually(lambda: node.session.replicas.others, "it comes back", START)
        assert node.session.replicas.others != [hung]
        await eventually(lambda: len(node.session.replicas.members) == 2, "it has its share again")


async def test_one_that_is_killed_is_replaced(settings: Settings, tmp_path: Path) -> None:
    """Its seeds go on at the others, whatever it had at hand."""
    async with beside(settings, tmp_path) as (node, other, seed, drain):
        async with asyncio.TaskGroup() as group:
            pages = [items(100, f"{page}-") for page in range(300)]
            group.create_task(publish_items(settings, seed, pages))
            await eventually(lambda: drain.counts[seed] >= 1000, "it dispatches")
            await kill(other)
        await eventually(lambda: len(set(drain.items(seed))) == 30_100, "every item")
        await eventually(lambda: knows(node), "it is no longer counted")


async def test_a_release_does_not_wait_for_one_that_hangs(settings: Settings, tmp_path: Path) -> None:
    """The owner that does not answer is cut off; after the reply nothing of the seed is handed out."""
    async with beside(settings, tmp_path) as (node, other, seed, drain), shim_of(node) as api:
        await submit(api, seed, 1000)
        await until_described(settings, node.session.replicas.others[0])
        await suspend(other.pid)
        reply = await command(settings, "release.seed", {"id": seed})
        handed_out = len(drain.seen)
        assert reply["results"][0]["status"] == 200
        assert "unanswered" not in reply["results"][0]
        await resume(other.pid)
        await eventually(lambda: len(node.session.replicas.members) == 2, "it is back", START)
        await eventually(lambda: node.session.registry.state.seeds[seed].state == "released", "it rests")
        assert [batch["epoch"] for batch in drain.seen[handed_out:]] == []
        assert (await api.put("/resume/seed", json={"id": seed})).status_code == 200
        await eventually(lambda: len(set(drain.items(seed))) == 1100, "every item")

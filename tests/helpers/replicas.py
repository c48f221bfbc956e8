"""What the tests of several replicas share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from coordinator.domain.membership import owner
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from tests.helpers.support import PREFIX, eventually, running_coordinator, serving


@contextlib.asynccontextmanager
async def shim_of(node: Coordinator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of this coordinator's HTTP side."""
    async with serving(node) as url, httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=30) as client:
        yield client


@contextlib.asynccontextmanager
async def pair(settings: Settings) -> AsyncIterator[tuple[Coordinator, Coordinator]]:
    """Two coordinators that know each other."""
    async with running_coordinator(settings) as one, running_coordinator(settings) as two:
        await eventually(lambda: knows(one, two) and knows(two, one), "they know each other")
        yield one, two


def knows(node: Coordinator, *others: Coordinator) -> bool:
    """Whether a coordinator counts exactly these others among the members."""
    return set(node.session.replicas.members) == {node.instance, *(other.instance for other in others)}


def seed_owned_by(node: Coordinator, *others: Coordinator) -> str:
    """Return a seed's id that belongs to this coordinator and not to the others."""
    members = [node.instance, *(other.instance for other in others)]
    return next(ident for ident in map(str, range(1000)) if owner(ident, members) == node.instance)

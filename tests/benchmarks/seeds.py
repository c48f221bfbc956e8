"""Many seeds at once, by the coordinator's HTTP side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from tests.benchmarks import payload
from tests.benchmarks.harness import WrongResultError
from tests.helpers.support import PREFIX

AT_ONCE = 20
PATIENCE = 120.0


def api(url: str) -> httpx.AsyncClient:
    """A client of a coordinator."""
    return httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=PATIENCE)


async def create(client: httpx.AsyncClient, seeds: Sequence[str]) -> None:
    """Have these seeds."""
    for begin in range(0, len(seeds), AT_ONCE):
        some = seeds[begin : begin + AT_ONCE]
        await asyncio.gather(*(_create(client, one) for one in some))


async def _create(client: httpx.AsyncClient, seed: str) -> None:
    """Have a seed; the coordinator may ask for patience when a broker is slow to declare so many queues."""
    async with asyncio.timeout(PATIENCE):
        while (
            answer := await client.put(f"/seed/{seed}", json={"batchSize": payload.ITEMS})
        ).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            await asyncio.sleep(float(answer.headers["Retry-After"]))
    answer.raise_for_status()


async def create_released(client: httpx.AsyncClient, seeds: Sequence[str]) -> None:
    """Have these seeds, released, so that they can be filled before any of it is dispatched."""
    await create(client, seeds)
    await act(client, "release", seeds)


async def act(client: httpx.AsyncClient, action: str, seeds: Sequence[str]) -> None:
    """Release or resume seeds by one call.

    Raises:
        WrongResultError: not all of them were found.
    """
    answer = await client.post(f"/{action}/seed", json={"id": list(seeds)})
    if answer.status_code != httpx.codes.OK:
        raise WrongResultError(f"{action}: {answer.text[:300]}")

"""Many seeds at once, by the coordinator's HTTP side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from tests.benchmarks import payload
from tests.benchmarks.harness import WrongResultError
from tests.support import PREFIX

AT_ONCE = 50
PATIENCE = 120.0


def api(url: str) -> httpx.AsyncClient:
    """A client of a coordinator."""
    return httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=PATIENCE)


async def create_released(client: httpx.AsyncClient, seeds: Sequence[str]) -> None:
    """Have these seeds, released, so that they can be filled before any of it is dispatched."""
    for begin in range(0, len(seeds), AT_ONCE):
        some = seeds[begin : begin + AT_ONCE]
        calls = [client.put(f"/seed/{one}", json={"batchSize": payload.ITEMS}) for one in some]
        for answer in await asyncio.gather(*calls):
            answer.raise_for_status()
    await act(client, "release", seeds)


async def act(client: httpx.AsyncClient, action: str, seeds: Sequence[str]) -> None:
    """Release or resume seeds by one call.

    Raises:
        WrongResultError: not all of them were found.
    """
    answer = await client.post(f"/{action}/seed", json={"id": list(seeds)})
    if answer.status_code != httpx.codes.OK:
        raise WrongResultError(f"{action}: {answer.text[:300]}")

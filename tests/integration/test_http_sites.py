"""Requests that a page of another site has a browser send: nothing is done by them."""

from __future__ import annotations

import httpx
import pytest

from tests.helpers.steps import ack, fetch, seed_of, submit

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Host": "rebound.example"},
]
OWN = [
    {},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Host": "localhost"},
    {"Host": "LOCALHOST:8787"},
    {"Host": "[::1]:8787"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_site_does_nothing(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Whatever acts is 403 when a page of another site had it sent, and nothing was done."""
    await submit(api, "s", 3)
    batch = (await fetch(api, worker="w"))[0]
    for method, path in [
        ("GET", "/batch"),
        ("GET", f"/batch/ack/{batch['id']}"),
        ("GET", "/release/seed/s"),
        ("GET", "/release/worker/w"),
        ("POST", "/release/seed/s"),
        ("POST", "/seed/t/items"),
    ]:
        answer = await api.request(method, path, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/json"), (method, path)
        assert answer.json()["message"]
    assert (await seed_of(api, "s"))["state"] == "running"
    await ack(api, [batch])


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_its_own_site_and_other_clients_act(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """The coordinator's own pages, an address typed in, and clients that are no browsers are served."""
    await submit(api, "s", 1)
    assert (await api.get("/release/seed/s", headers=headers)).status_code == 200


async def test_pages_may_be_linked_to(api: httpx.AsyncClient) -> None:
    """What does nothing and lies beside the API may be reached by a link from elsewhere."""
    base = str(api.base_url).partition("/aspire")[0]
    for path in ("/", "/docs", "/health/live"):
        assert (await api.get(base + path, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200

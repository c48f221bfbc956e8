"""Routes, methods, statuses and the shape of every answer."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from coordinator.node.coordinator import Coordinator
from tests.helpers.steps import fetch, seed_of, submit
from tests.helpers.support import PREFIX, client_of, serving

PREFIXES = ("/aspire_api/manager", "/aspire/_api/manager")
METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"}
ROUTES = {
    "/batch": {"GET"},
    "/batch/held": {"GET"},
    "/batch/ack": {"PUT", "POST"},
    "/batch/ack/nobody": {"GET", "PUT", "POST"},
    "/release/worker": {"PUT", "POST"},
    "/release/worker/nobody": {"GET", "PUT", "POST"},
    "/release/seed": {"PUT", "POST"},
    "/release/seed/nothing": {"GET", "PUT", "POST"},
    "/dry-run/release/seed/nothing": {"GET"},
    "/dry-run/release/worker/nobody": {"GET"},
    "/dry-run/drain/worker/nobody": {"GET"},
    "/resume/seed": {"PUT", "POST"},
    "/resume/seed/nothing": {"PUT", "POST"},
    "/seed": {"GET"},
    "/seed/nothing": {"GET", "PUT", "DELETE"},
    "/seed/nothing/items": {"POST"},
    "/worker": {"GET"},
    "/worker/nobody": {"GET", "PUT", "DELETE"},
    "/dead": {"GET"},
    "/dead/nothing": {"GET", "DELETE"},
    "/drain/worker/nobody": {"POST"},
    "/queue": {"GET"},
    "/coordinator": {"GET"},
    "/broker": {"GET"},
    "/event": {"GET"},
    "/dead/nothing/retry": {"POST"},
}
"""Each route of the contract and the methods it takes."""

INVALID = [
    ("POST", "/release/seed", b"{"),
    ("POST", "/release/seed", b""),
    ("PUT", "/release/seed", b'"x"'),
    ("POST", "/release/seed", b"{}"),
    ("POST", "/release/seed", b"[]"),
    ("POST", "/release/seed", b'{"id": []}'),
    ("POST", "/release/seed", b'{"id": 7}'),
    ("POST", "/release/seed", b'{"id": null}'),
    ("POST", "/release/seed", b'{"id": {"id": "x"}}'),
    ("POST", "/release/seed", b'{"id": ["x", 7]}'),
    ("POST", "/release/seed", b'["x"]'),
    ("POST", "/release/seed", b'[{"id": ["x"]}]'),
    ("POST", "/release/seed", b'{"id": "\\ud800"}'),
    ("POST", "/release/seed", b'{"id": "\xff"}'),
    ("POST", "/release/seed", b"[" * 5000),
    ("POST", "/release/seed", b'{"id": ""}'),
    ("POST", "/release/seed", b'{"id": "' + b"x" * 201 + b'"}'),
    ("POST", "/resume/seed", b'{"id": "a\\u0000b"}'),
    ("POST", "/release/worker", b'{"id": "a b"}'),
    ("POST", "/release/worker", b'{"id": ""}'),
    ("POST", "/release/worker", b'{"id": "' + b"x" * 101 + b'"}'),
    ("POST", "/batch/ack", b"7"),
    ("PUT", "/batch/ack", b'[{"handle": "x"}]'),
    ("PUT", "/seed/s", b"[]"),
    ("PUT", "/seed/s", b"nonsense"),
    ("PUT", "/seed/s", b'{"priority": "urgent"}'),
    ("PUT", "/seed/s", b'{"priority": null}'),
    ("PUT", "/seed/s", b'{"batchSize": 0}'),
    ("PUT", "/seed/s", b'{"batchSize": 1001}'),
    ("PUT", "/seed/s", b'{"batchSize": "many"}'),
    ("PUT", "/seed/s", b'{"batchSize": "5"}'),
    ("PUT", "/seed/s", b'{"batchSize": true}'),
    ("PUT", "/seed/s", b'{"batchSize": 5.5}'),
    ("PUT", "/seed/s", b'{"policies": {"type": "throttle"}}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "throttle", "period": "week", "value": 1}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "throttle", "period": "hour", "value": 0}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "throttle", "period": "hour"}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "route"}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "route", "routeTo": ""}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "route", "routeTo": "a,b"}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "route", "routeTo": "a\\nb"}]}'),
    ("PUT", "/seed/s", b'{"policies": [{"type": "divert"}]}'),
    ("PUT", "/seed/s", b'{"colour": "red"}'),
    ("PUT", "/worker/w", b'{"tags": "gpu"}'),
    ("PUT", "/worker/w", b'{"tags": ["a,b"]}'),
    ("PUT", "/worker/w", b'{"transport": "smtp"}'),
    ("PUT", "/worker/w", b"["),
    ("PUT", "/worker/w%20w", b"{}"),
    ("GET", "/batch?batches=0", b""),
    ("GET", "/batch?batches=1001", b""),
    ("GET", "/batch?batches=1.5", b""),
    ("GET", "/batch?batches=many", b""),
    ("GET", "/batch?batches=1_0", b""),
    ("GET", "/batch?batches=%D9%A1", b""),
    ("GET", "/batch?batches=1e400", b""),
    ("GET", "/batch?wait=-1", b""),
    ("GET", "/batch?wait=60.1", b""),
    ("GET", "/batch?wait=nan", b""),
    ("GET", "/batch?worker=a%20b", b""),
    ("GET", "/batch?tags=a%00b", b""),
    ("GET", "/batch?tags=a%0A", b""),
    ("GET", "/batch?tags=" + "x" * 65, b""),
    ("GET", "/seed?limit=0", b""),
    ("GET", "/seed?limit=1e9", b""),
    ("GET", "/worker?offset=-1", b""),
    ("GET", "/dead?offset=x", b""),
    ("GET", "/batch/held?limit=x", b""),
    ("GET", "/seed?sort=colour", b""),
    ("GET", "/seed?state=lost", b""),
    ("GET", "/worker?sort=-", b""),
    ("GET", "/batch/held?sort=id", b""),
    ("GET", "/event?kind=bath", b""),
    ("GET", "/event?after=x", b""),
    ("GET", "/event/stream?kind=bath", b""),
    ("POST", "/drain/worker/w%20w", b""),
]  # fmt: skip
"""Calls that do not validate: method, path, body."""


UNKNOWN_ROUTES = [
    "",
    "/",
    "/bach",
    "/release",
    "/release/item/x",
    "/resume/worker/x",
    "/batch/",
    "/seed/",
    "/release/seed/",
]


def bare(node_url: str) -> httpx.AsyncClient:
    """A client without the prefix."""
    return client_of(node_url)


def assert_json(answer: httpx.Response) -> None:
    """Every answer is a JSON object, kept by no cache; its message, if any, is a text."""
    assert answer.headers["content-type"] == "application/json", answer
    assert answer.headers["cache-control"] == "no-store", answer
    assert isinstance(answer.json(), dict)
    assert isinstance(answer.json().get("message", ""), str)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_each_route_takes_its_methods_and_no_other(node: Coordinator, prefix: str) -> None:
    """A method that a route does not take is 405 with `Allow`, in JSON; those that it takes are served, in JSON."""
    async with serving(node) as url, bare(url) as client:
        for path, allowed in ROUTES.items():
            for method in sorted(METHODS):
                answer = await client.request(method, prefix + path)
                if method in allowed:
                    assert answer.status_code in {200, 202, 404, 406}, (method, path, answer.text)
                    assert_json(answer)
                    continue
                assert answer.status_code == 405, (method, path, answer.text)
                assert set(answer.headers["allow"].split(", ")) == allowed, (method, path)
                if method != "HEAD":
                    assert_json(answer)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_unknown_routes(node: Coordinator, prefix: str) -> None:
    """A path that is no route is 404 in JSON, whatever the method; no redirect leads elsewhere."""
    async with serving(node) as url, bare(url) as client:
        for path in UNKNOWN_ROUTES:
            for method in ("GET", "POST", "DELETE"):
                answer = await client.request(method, prefix + path)
                assert answer.status_code == 404, (method, path, answer)
                assert_json(answer)
        assert (await client.get("/nowhere")).status_code == 404
        assert_json(await client.get("/nowhere"))


async def test_head_does_nothing(api: httpx.AsyncClient) -> None:
    """HEAD is refused where GET acts: nothing is fetched, acked or released by it."""
    await submit(api, "s", 10)
    batch = (await fetch(api))[0]
    for path in ("/batch", f"/batch/ack/{batch['id']}", "/release/seed/s", "/release/worker/w"):
        assert (await api.head(path)).status_code == 405
    assert (await seed_of(api, "s"))["state"] == "running"
    assert (await api.get(f"/batch/ack/{batch['id']}")).status_code == 200


async def test_the_same_state_under_both_prefixes(node: Coordinator) -> None:
    """What is done under one prefix is seen under the other."""
    async with serving(node) as url, bare(url) as client:
        for number, prefix in enumerate(PREFIXES):
            other = PREFIXES[1 - number]
            assert (await client.put(f"{prefix}/seed/s{number}", json={})).status_code == 200
            assert (await client.get(f"{other}/seed/s{number}")).json()["id"] == f"s{number}"
            assert (await client.get(f"{other}/release/seed/s{number}")).status_code == 200
            assert (await client.get(f"{prefix}/seed/s{number}")).json()["state"] == "released"


async def test_what_does_not_validate(api: httpx.AsyncClient) -> None:
    """Input that does not validate is 406, with a message and each fault under the name of its field."""
    for method, path, body in INVALID:
        answer = await api.request(method, path, content=body)
        assert answer.status_code == 406, (method, path, body[:80], answer.text)
        assert_json(answer)
        assert answer.json()["message"]
        assert answer.json()["errors"], (method, path, body[:80])
        for fault in answer.json()["errors"]:
            assert fault["field"], (path, body[:80])
            assert fault["message"], (path, body[:80])
    assert (await api.get("/seed")).json()["count"]["totalItems"] == 0


async def test_overlong_bodies(api: httpx.AsyncClient) -> None:
    """A body or list over its limit is 413 in JSON, and nothing of it is carried out."""
    await submit(api, "s", 1)
    long_list = [{"id": "s"}] + [{"id": f"x{number}"} for number in range(10_000)]
    for answer in (
        await api.post("/release/seed", json=long_list),
        await api.post("/release/seed", content=b'{"id": "' + b"x" * 9 * 1024 * 1024 + b'"}'),
    ):
        assert answer.status_code == 413
        assert_json(answer)
    assert (await seed_of(api, "s"))["state"] == "running"


async def test_health_metrics_and_descriptions(node: Coordinator) -> None:
    """Liveness, readiness, Prometheus metrics, the OpenAPI document, its page, and a first page."""
    async with serving(node) as url, bare(url) as client:
        for path in ("/health/live", "/health/ready"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert_json(answer)
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "coordinator_ready 1.0" in metrics.text
        for path in ("/docs", "/"):
            page = await client.get(path)
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/html")


async def test_the_openapi_document_names_every_route(node: Coordinator) -> None:
    """Each route and method of the contract is described, under both prefixes."""
    async with serving(node) as url, bare(url) as client:
        described = (await client.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.")
    for prefix in PREFIXES:
        for path, methods in ROUTES.items():
            template = path.replace("nobody", "{id}").replace("nothing", "{id}")
            assert {method.lower() for method in methods} <= set(described["paths"][prefix + template]), path


def test_the_client_uses_the_first_prefix() -> None:
    """The other integration tests speak to the first prefix of the contract."""
    assert urlsplit(PREFIX).path == PREFIXES[0]

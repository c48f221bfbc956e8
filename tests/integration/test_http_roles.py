"""Who may do what over HTTP: every route, with every role, without a token, and with a wrong one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from coordinator.http.dashboard.static_files import FILES
from coordinator.http.routes import DASHBOARD, ENDPOINTS, OTHERS, PREFIXES
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.tokens import ROLES, Role, Token, add_token, digest, new_secret, revoke_tokens
from tests.helpers.steps import Json, fetch, submit
from tests.helpers.support import client_of, own_vhost, running_coordinator, serving

MATRIX: list[tuple[str, str, set[Role]]] = [
    ("GET", "/batch", {"worker"}),
    ("GET", "/batch/held", {"operator"}),
    ("GET", "/batch/ack/x", {"worker"}),
    ("PUT", "/batch/ack/x", {"worker"}),
    ("POST", "/batch/ack/x", {"worker"}),
    ("PUT", "/batch/ack", {"worker"}),
    ("POST", "/batch/ack", {"worker"}),
    ("POST", "/batch/return", {"worker"}),
    ("POST", "/results", {"worker"}),
    ("GET", "/release/worker/x", {"manager"}),
    ("PUT", "/release/worker/x", {"manager"}),
    ("POST", "/release/worker/x", {"manager"}),
    ("PUT", "/release/worker", {"manager"}),
    ("POST", "/release/worker", {"manager"}),
    ("GET", "/release/seed/x", {"manager"}),
    ("PUT", "/release/seed/x", {"manager"}),
    ("POST", "/release/seed/x", {"manager"}),
    ("PUT", "/release/seed", {"manager"}),
    ("POST", "/release/seed", {"manager"}),
    ("GET", "/dry-run/release/seed/x", {"operator"}),
    ("GET", "/dry-run/release/worker/x", {"operator"}),
    ("GET", "/dry-run/drain/worker/x", {"operator"}),
    ("PUT", "/resume/seed/x", {"manager"}),
    ("POST", "/resume/seed/x", {"manager"}),
    ("PUT", "/resume/seed", {"manager"}),
    ("POST", "/resume/seed", {"manager"}),
    ("GET", "/seed", {"operator"}),
    ("GET", "/seed/x", {"operator", "worker"}),
    ("PUT", "/seed/y", {"manager"}),
    ("DELETE", "/seed/x", {"manager"}),
    ("POST", "/seed/y/items", {"producer"}),
    ("GET", "/worker", {"operator"}),
    ("GET", "/worker/x", {"operator"}),
    ("PUT", "/worker/y", {"worker"}),
    ("DELETE", "/worker/x", {"manager"}),
    ("GET", "/dead", {"operator"}),
    ("GET", "/dead/x", {"operator"}),
    ("DELETE", "/dead/x", {"manager"}),
    ("POST", "/dead/x/retry", {"manager"}),
    ("POST", "/drain/worker/x", {"manager"}),
    ("GET", "/event", {"operator"}),
    ("GET", "/event/stream?kind=x", {"operator"}),  # refused by its query, since a stream has no end
    ("GET", "/queue", {"operator"}),
    ("GET", "/coordinator", {"operator"}),
    ("GET", "/broker", {"operator"}),
]
"""Each route and method below the prefixes, and the roles that may call it besides an administrator."""

BESIDE: list[tuple[str, str, set[Role]]] = [
    ("GET", "/metrics", {"operator"}),
    ("GET", "/dashboard/summary", {"operator"}),
    ("GET", "/dashboard/who", set(ROLES)),
    ("GET", "/openapi.json", set(ROLES)),
    ("GET", "/dashboard/api/batch/held", {"operator"}),
    ("GET", "/dashboard/api/seed", {"operator"}),
    ("GET", "/dashboard/api/seed/x", {"operator"}),
    ("GET", "/dashboard/api/worker", {"operator"}),
    ("GET", "/dashboard/api/worker/x", {"operator"}),
    ("GET", "/dashboard/api/dead", {"operator"}),
    ("GET", "/dashboard/api/dead/x", {"operator"}),
    ("GET", "/dashboard/api/event", {"operator"}),
    ("GET", "/dashboard/api/queue", {"operator"}),
    ("GET", "/dashboard/api/coordinator", {"operator"}),
    ("GET", "/dashboard/api/broker", {"operator"}),
    ("GET", "/dashboard/api/dry-run/release/seed/x", {"operator"}),
    ("GET", "/dashboard/api/dry-run/release/worker/x", {"operator"}),
    ("GET", "/dashboard/api/dry-run/drain/worker/x", {"operator"}),
]
"""The routes beside the API. Health and static files, which hold no data, need no token."""


class Site:
    """A coordinator that asks for tokens, and one for each role."""

    def __init__(self, url: str, path: Path) -> None:
        self.path = path
        self.client = client_of(url)
        self.secrets: dict[str, str] = {}
        self.clients = [self.client]

    def grant(self, name: str, *roles: Role, worker: str | None = None) -> str:
        """Make a token."""
        secret = self.secrets[name] = new_secret()
        add_token(self.path, Token(name=name, roles=roles, worker=worker, sha256=digest(secret)))
        return secret

    async def call(self, secret: str | None, method: str, path: str, **body: object) -> httpx.Response:
        """Call a route with a token, or without one."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return await self.client.request(method, path, headers=headers, json=body or None)

    async def api(self, secret: str, method: str, path: str, **body: object) -> httpx.Response:
        """Call a route below the first prefix."""
        return await self.call(secret, method, PREFIXES[0] + path, **body)

    def as_bearer(self, name: str) -> httpx.AsyncClient:
        """A client below the first prefix that shows this token."""
        headers = {"Authorization": f"Bearer {self.secrets[name]}"}
        base = str(self.client.base_url).rstrip("/") + PREFIXES[0]
        client = client_of(base, headers=headers)
        self.clients.append(client)
        return client


@pytest_asyncio.fixture
async def site(broker: BrokerUrls, tmp_path: Path) -> AsyncIterator[Site]:
    """A coordinator that asks for tokens."""
    path = tmp_path / "tokens.json"
    async with (
        own_vhost(broker, tokens_file=path) as settings,
        running_coordinator(settings) as node,
        serving(node) as url,
    ):
        site = Site(url, path)
        for role in ROLES:
            site.grant(role, role)
        yield site
        for client in site.clients:
            await client.aclose()


def test_the_matrix_names_every_route() -> None:
    """A route that is added without a line here fails."""
    here = {
        (method, path.partition("?")[0].replace("/x", "/{id}").replace("/y", "/{id}")) for method, path, _ in MATRIX
    }
    assert here == {(method, endpoint.template) for endpoint in ENDPOINTS for method in endpoint.methods}
    beside = {path.replace("/x", "/{id}") for _, path, _ in BESIDE} - {"/openapi.json"}
    assert beside == {one.template for one in (*OTHERS, *DASHBOARD) if one.roles is not None}


def assert_unauthorized(answer: httpx.Response, what: object) -> None:
    """The answer is 401 in JSON, and says what is asked for."""
    assert answer.status_code == 401, (what, answer.text)
    assert answer.headers["www-authenticate"].startswith("Bearer "), what
    assert answer.json()["message"], what


async def test_every_route_with_every_role(site: Site) -> None:
    """Each role may call its own routes and is 403 on all others, under both prefixes; an administrator calls all."""
    table = [(method, prefix + path, roles) for prefix in PREFIXES for method, path, roles in MATRIX]
    for method, path, allowed in [*table, *BESIDE]:
        for role in ROLES:
            answer = await site.call(site.secrets[role], method, path)
            if role in {*allowed, "administrator"}:
                assert answer.status_code in {200, 202, 404, 406}, (role, method, path, answer.text)
            else:
                assert answer.status_code == 403, (role, method, path, answer.text)
                assert role in answer.json()["message"]


async def test_every_route_without_a_valid_token(site: Site) -> None:
    """Without a token, or with one that is wrong, revoked, or shown otherwise, every path is 401, route or not."""
    revoked = site.grant("gone", "administrator")
    assert revoke_tokens(site.path, ["gone"]) == {"gone"}
    table = [(method, prefix + path) for prefix in PREFIXES for method, path, _ in MATRIX]
    table += [(method, path) for method, path, _ in BESIDE]
    for method, path in [*table, ("GET", "/nowhere"), ("PATCH", f"{PREFIXES[0]}/seed"), ("GET", PREFIXES[0])]:
        for secret in (None, "wrong", new_secret(), revoked):
            assert_unauthorized(await site.call(secret, method, path), (method, path, secret))
    admin = site.secrets["administrator"]
    for header in (f"Basic {admin}", admin, f"Bearer{admin}", "Bearer", f"Bearer {admin} x", ""):
        answer = await site.client.get(f"{PREFIXES[0]}/seed", headers={"Authorization": header})
        assert_unauthorized(answer, header)
    by_query = await site.client.get(f"{PREFIXES[0]}/seed", params={"access_token": admin})
    assert_unauthorized(by_query, "in the query")


async def test_health_is_open(site: Site) -> None:
    """Whoever restarts a coordinator that does not answer needs no token to ask."""
    for path in ("/health/live", "/health/ready"):
        assert (await site.call(None, "GET", path)).status_code == 200


async def test_static_files_are_open(site: Site) -> None:
    """The page must be there to ask for a token; a path below it that is no file of its is not."""
    for path in FILES:
        for secret in (None, "wrong", site.secrets["worker"]):
            assert (await site.call(secret, "GET", path)).status_code == 200, path
    assert_unauthorized(await site.call(None, "GET", "/dashboard/other.js"), "no file")


async def test_several_roles_add_up(site: Site) -> None:
    """A token of two roles may do what either may."""
    both = site.grant("both", "producer", "operator")
    assert (await site.api(both, "POST", "/seed/s/items", id="x")).status_code == 202
    assert (await site.api(both, "GET", "/seed/s")).status_code == 200
    assert (await site.api(both, "PUT", "/release/seed/s")).status_code == 403


async def test_what_was_refused_was_not_done(site: Site) -> None:
    """A call that is 401 or 403 changes nothing."""
    admin = site.secrets["administrator"]
    assert (await site.api(admin, "POST", "/seed/s/items", id="x")).status_code == 202
    for secret, status in ((site.secrets["worker"], 403), ("wrong", 401)):
        assert (await site.api(secret, "GET", "/release/seed/s")).status_code == status
        assert (await site.api(secret, "DELETE", "/seed/s")).status_code == status
        assert (await site.api(secret, "POST", "/seed/t/items", id="x")).status_code == status
    assert (await site.api(admin, "GET", "/seed/s")).json()["state"] == "running"
    assert [seed["id"] for seed in (await site.api(admin, "GET", "/seed")).json()["seeds"]] == ["s"]


async def test_a_bound_token_is_one_worker(site: Site) -> None:
    """Bound to a worker, a token fetches, registers and tells results as that worker, and as no other."""
    bound = site.grant("one", "worker", worker="one")
    await submit(site.as_bearer("administrator"), "s", 3)
    assert (await site.api(bound, "GET", "/batch?worker=two")).status_code == 403
    assert (await site.api(bound, "PUT", "/worker/two", transport="http")).status_code == 403
    assert (await site.api(bound, "PUT", "/worker/one", transport="http")).status_code == 200
    results: Json = {"batch": "b", "seed": "s", "attempt": 1, "results": []}
    assert (await site.api(bound, "POST", "/results", **results, worker="two")).status_code == 403
    assert (await site.api(bound, "POST", "/results", **results, worker="one")).status_code == 202
    answer = await site.api(bound, "GET", "/batch?wait=10")
    assert len(answer.json()["batches"]) == 1
    held = (await site.api(site.secrets["operator"], "GET", "/batch/held")).json()["batches"]
    assert [batch["worker"] for batch in held] == ["one"]


@pytest.mark.parametrize("route", ["/batch/ack", "/batch/return"])
async def test_nobody_settles_anothers_batch(site: Site, route: str) -> None:
    """To a token that is bound to another worker a handle is not held, and the batch stays where it is."""
    site.grant("one", "worker", worker="one")
    other = site.grant("two", "worker", worker="two")
    await submit(site.as_bearer("administrator"), "s", 3)
    batch = (await fetch(site.as_bearer("one"), worker="one"))[0]
    answer = await site.api(other, "POST", route, id=batch["id"])
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (404, 404)
    held = (await site.api(site.secrets["operator"], "GET", "/batch/held")).json()["batches"]
    assert [one["batch"] for one in held] == [batch["batch"]]
    assert (await site.api(site.secrets["one"], "POST", route, id=batch["id"])).status_code == 200

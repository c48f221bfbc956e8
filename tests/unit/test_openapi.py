"""The API's description: it is whole, it is served as described, and its examples hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import BaseModel, SecretStr
from starlette.applications import Starlette

from coordinator import api_models, api_results
from coordinator.http.app import create_app
from coordinator.http.auth import OPEN
from coordinator.http.examples import EXAMPLES
from coordinator.http.routes import DASHBOARD, PREFIXES, description
from coordinator.models import BatchResults, SeedSpec, WorkerSpec
from coordinator.node.coordinator import Coordinator
from coordinator.settings import Settings
from coordinator.validation import parse_ids, parse_items

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")


def described(*, asks_for_tokens: bool = True, **limits: int) -> dict[str, Any]:
    """The document of a coordinator with these settings."""
    settings: dict[str, Any] = dict(limits)
    return description(Settings(**settings), asks_for_tokens=asks_for_tokens)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation: path, method, what is said of it."""
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def refs(value: object) -> Iterator[str]:
    """The names of all schemas that are referred to."""
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref.removeprefix("#/components/schemas/")
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from refs(one)


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    """The application of a coordinator without a broker."""
    return create_app(Coordinator(Settings(amqp_url=SecretStr("amqp://127.0.0.1:1/"), home=tmp_path)))


async def test_every_documented_path_is_served(app: Starlette) -> None:
    """Each path takes just the methods that are described, and answers by statuses that are."""
    documented: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations():
        documented.setdefault(path, {})[method] = operation
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path, methods in documented.items():
            for method in METHODS:
                answer = await client.request(method, path.replace("{id}", "x"), content=b"{}")
                if method not in methods:
                    assert answer.status_code == 405, (method, path)
                    assert set(methods) <= set(answer.headers["allow"].split(", ")), (method, path)
                    continue
                assert str(answer.status_code) in methods[method]["responses"], (method, path, answer.text)
                assert answer.headers["content-type"].partition(";")[0] in str(methods[method]["responses"])


def test_every_served_route_is_documented(app: Starlette) -> None:
    """No route is left out but the description itself."""
    served = set()
    for route in app.routes:
        inner = getattr(route, "routes", None) or [route]
        prefix = getattr(route, "path", "") if inner != [route] else ""
        served |= {prefix + re.sub(r":\w+}", "}", one.path) for one in inner}
    own = {endpoint.template for endpoint in DASHBOARD}
    assert served - {path for path, _, _ in operations()} == {"/openapi.json", *own}


def test_names_and_links_resolve() -> None:
    """Operations have names of their own; every reference, and every link, leads somewhere."""
    whole = described()
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    assert set(refs(whole)) <= set(whole["components"]["schemas"])
    links = [
        link
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert links
    assert {link["operationId"] for link in links} <= set(names)


def test_limits_are_those_in_force() -> None:
    """What a setting bounds is described by its value, not by the default."""
    document = described(max_list=7, max_batches=3, max_ids=5, max_text=100)
    queries = {
        name: {one["name"]: one["schema"] for one in document["paths"][PREFIXES[0] + name]["get"]["parameters"]}
        for name in ("/seed", "/batch")
    }
    assert (queries["/seed"]["limit"]["maximum"], queries["/seed"]["limit"]["default"]) == (7, 7)
    assert queries["/batch"]["batches"]["maximum"] == 3
    schemas = document["components"]["schemas"]
    assert [form["maxItems"] for form in schemas["SeedIds"]["anyOf"] if "maxItems" in form] == [5]
    assert schemas["Item"]["properties"]["id"]["maxLength"] == 100


def test_tokens_are_asked_for_where_there_are_some() -> None:
    """Each operation names the roles that are enough, health and pages none; without tokens none asks for one."""
    assert set(described()["components"]["securitySchemes"]) == {"bearer"}
    for path, method, operation in operations():
        roles = [one["bearer"] for one in operation["security"]]
        if path in {*OPEN, "/", "/docs"}:
            assert (roles, "401" in operation["responses"]) == ([], False)
            continue
        assert ["administrator"] in roles, (method, path)
        assert {"401", "403", "429"} <= set(operation["responses"]), (method, path)
    fetch = described()["paths"][f"{PREFIXES[0]}/batch"]["get"]
    assert fetch["security"] == [{"bearer": ["worker"]}, {"bearer": ["administrator"]}]
    open_to_all = described(asks_for_tokens=False)
    assert all("security" not in one for methods in open_to_all["paths"].values() for one in methods.values())


def test_every_json_body_has_a_schema_and_an_example() -> None:
    """In both directions, for each operation and status."""
    for path, method, operation in operations():
        contents = [response["content"] for response in operation["responses"].values()]
        if "requestBody" in operation:
            contents.append(operation["requestBody"]["content"])
        for content in contents:
            for kind, body in content.items():
                if kind in {"application/json", "application/x-ndjson"}:
                    assert body["schema"], (method, path)
                    assert body["example"], (method, path)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_hold(name: str) -> None:
    """Each example is what it is an example of."""
    example = EXAMPLES[name]
    models: dict[str, type[BaseModel]] = {one.__name__: one for one in (SeedSpec, WorkerSpec, BatchResults)}
    if name.endswith("Ids") or name == "Handles":
        assert parse_ids(example)
    elif name == "Items":
        assert parse_items(orjson.dumps(example))
    elif name == "ItemLines":
        assert [parse_items(line) for line in str(example).encode().splitlines()]
    elif name in models:
        models[name].model_validate(example)
    else:
        model = getattr(api_models, name, None) or getattr(api_results, name)
        known = model.model_validate(example)
        assert orjson.loads(known.model_dump_json(by_alias=True, exclude_unset=True)) == example

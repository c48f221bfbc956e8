"""The API's description: it is whole, it is served as described, and its examples and its page hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from pydantic import BaseModel, SecretStr
from starlette.applications import Starlette

from coordinator import answers
from coordinator.http.app import PREFIXES, create_app, description
from coordinator.http.docs import page
from coordinator.http.examples import EXAMPLES
from coordinator.models import BatchResults, SeedSpec, WorkerSpec, parse_ids, parse_items
from coordinator.node.node import Node
from coordinator.settings import Settings

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation: path, method, what is said of it."""
    for path, methods in description()["paths"].items():  # type: ignore[attr-defined]
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
def app() -> Starlette:
    """The application of a coordinator without a broker."""
    return create_app(Node(Settings(amqp_url=SecretStr("amqp://127.0.0.1:1/"))))


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
    assert served - {path for path, _, _ in operations()} == {"/openapi.json"}


def test_names_and_links_resolve() -> None:
    """Operations have names of their own; every reference, and every link, leads somewhere."""
    whole: dict[str, Any] = description()
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
        model = getattr(answers, name)
        known = model.model_validate(example)
        assert orjson.loads(known.model_dump_json(by_alias=True, exclude_unset=True)) == example


def test_the_page_tells_all_of_it() -> None:
    """The page for people names every route and schema, leads nowhere else, and takes nothing as markup."""
    html = page(description(), PREFIXES, "http://<here>")
    for path, method, operation in operations():
        if not path.startswith(PREFIXES[1]):
            assert f"<code>{path.removeprefix(PREFIXES[0])}</code>" in html, path
            assert operation["summary"] in html
            assert re.search(rf"<b>[A-Z ]*{method}", html)
    for target in re.findall(r'href=["\']#(\w+)', html):
        assert f'id="{target}"' in html, target
    assert not re.search(r'(src|href|url)=?["\'(]+(https?:)?//', html)
    assert "<script" not in html
    assert "<here>" not in html
    assert "curl -X PUT 'http://&lt;here&gt;" in html

"""The API's description, made from the route table itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version

from pydantic import BaseModel

from coordinator.http.seeds import Handler
from coordinator.models import BatchResults, SeedSpec, WorkerSpec

Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route: its path below the prefix, its methods, and what is said of it."""

    path: str
    methods: tuple[str, ...]
    handler: Handler
    summary: str
    statuses: dict[int, str]
    body: str | None = None
    query: dict[str, str] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return re.sub(r":\w+}", "}", self.path)


BODIES: dict[str, Schema] = {
    "Ids": {
        "oneOf": [
            {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
            },
            {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            },
        ]
    },
    "Items": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "action": {"enum": ["process", "scan"]},
                "url": {"type": ["string", "null"]},
                "metadata": {"type": ["object", "null"]},
            },
        },
    },
}
MODELS: tuple[type[BaseModel], ...] = (SeedSpec, WorkerSpec, BatchResults)


def describe(endpoints: list[Endpoint], prefixes: tuple[str, ...]) -> Schema:
    """The OpenAPI 3.1 document.

    Args:
        endpoints: the routes below each prefix.
        prefixes: where they are mounted.
    """
    paths: dict[str, Schema] = {}
    for prefix in prefixes:
        for endpoint in endpoints:
            path = prefix + endpoint.template
            entry = paths.setdefault(path, {})
            for method in endpoint.methods:
                entry[method.lower()] = _operation(endpoint)
    schemas: dict[str, Schema] = dict(BODIES)
    for model in MODELS:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return {
        "openapi": "3.1.0",
        "info": {"title": "Batch coordinator", "version": version("batch-coordinator")},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _operation(endpoint: Endpoint) -> Schema:
    parameters: list[Schema] = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in endpoint.query.items()
    ]
    if "{id" in endpoint.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    operation: Schema = {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {
            str(status): {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
            for status, text in endpoint.statuses.items()
        },
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{endpoint.body}"}}}
        operation["requestBody"] = {"content": content}
    return operation


def page(endpoints: list[Endpoint], prefixes: tuple[str, ...]) -> str:
    """The same for people: one HTML page that needs nothing from elsewhere."""
    rows = "".join(
        f"<tr><td>{', '.join(endpoint.methods)}</td><td><code>{escape(endpoint.template)}</code></td>"
        f"<td>{escape(endpoint.summary)}</td><td>{', '.join(map(str, endpoint.statuses))}</td></tr>"
        for endpoint in endpoints
    )
    places = " and ".join(f"<code>{escape(prefix)}</code>" for prefix in prefixes)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Batch coordinator: API</title>'
        f"<h1>API</h1><p>Each route stands below {places}. The whole description is in "
        '<a href="/openapi.json">openapi.json</a>.</p>'
        "<table><thead><tr><th>Methods<th>Route<th>What it does<th>Statuses</thead>"
        f"<tbody>{rows}</tbody></table></html>"
    )

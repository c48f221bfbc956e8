"""The OpenAPI document, made from the route table and the models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from pydantic import BaseModel

from coordinator.api_results import Invalid, Results, Said, Stopped
from coordinator.http.examples import EXAMPLES
from coordinator.http.schemas import SENT_BACK, Schema, ref_to, schemas_of
from coordinator.http.seeds import Handler
from coordinator.settings import Settings
from coordinator.tokens import ADMINISTRATOR, ROLES, Roles

JSON: Final = "application/json"
ABOUT: Final = """\
Hands a crawl's items to workers in batches, and takes them back on command.

Both prefixes serve the same routes. An id in a path is percent-encoded; a plain one need not be. A last segment
`/items` or `/retry` belongs to the route, unless it is encoded. Every response is JSON with an optional `message`.
Caches must not keep a response, since even a `GET` may act. It does no harm to repeat a call.
"""
GROUPS: Final = {
    "batch": "batches",
    "results": "batches",
    "drain": "seeds and workers",
    "queue": "what there is",
    "coordinator": "what there is",
    "broker": "what there is",
    "event": "what there is",
    "release": "seeds and workers",
    "resume": "seeds and workers",
    "seed": "seeds and workers",
    "worker": "seeds and workers",
    "dead": "dead letters",
}
GUARDED: Final = {
    401: "no valid token",
    403: "a token that may not do this, or a browser on another site",
    429: "too many requests, or too much at once: nothing was done",
}
"""The answers of the checks before each request."""
FAILURE: Final = 300
LATER: Final = {429, 503}
"""Statuses with a Retry-After header."""
SCHEME: Final = "bearer"
ABOUT_TOKENS: Final = "A token that `coordinator token create` made; its roles say what it may do."


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query."""

    about: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Link:
    """An operation that may follow: it is below the same prefix, and takes its id from this response."""

    method: str
    template: str
    ident: str


def _no_query(_: Settings) -> Mapping[str, Parameter]:
    return {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route: its path below the prefix, its methods, and its description.

    `roles` may call it, and so may an administrator; None means that it needs no token. `links` may follow on success.
    """

    path: str
    methods: tuple[str, ...]
    roles: Roles | None
    handler: Handler
    summary: str
    statuses: dict[int, str]
    answer: type[BaseModel] | str
    body: str | None = None
    query: Callable[[Settings], Mapping[str, Parameter]] = _no_query
    links: Mapping[str, Link] = field(default_factory=dict)

    @property
    def template(self) -> str:
        """Return the path as OpenAPI writes it."""
        return re.sub(r":\w+}", "}", self.path)

    @property
    def all_statuses(self) -> dict[int, str]:
        """Return its statuses, with those of the checks before it."""
        return dict(sorted((self.statuses | (GUARDED if self.roles is not None else {})).items()))


IDS: Final = {"seed": "SeedId", "worker": "WorkerId", "batch": "Handle", "dead": "DeadId"}
"""The schema of an id in the path, by the last word before it."""


def describe(
    endpoints: list[Endpoint],
    prefixes: tuple[str, ...],
    others: list[Endpoint],
    settings: Settings,
    *,
    asks_for_tokens: bool,
) -> Schema:
    """Return the OpenAPI 3.1 document.

    Args:
        endpoints: the routes below each prefix.
        prefixes: where they are mounted.
        others: the routes below no prefix.
        settings: hold the limits.
        asks_for_tokens: whether callers need one.
    """
    answers = [one.answer for one in (*endpoints, *others) if not isinstance(one.answer, str)]
    paths: dict[str, Schema] = {}
    for prefix, endpoint in [*((prefix, one) for prefix in prefixes for one in endpoints), *(("", o) for o in others)]:
        entry = paths.setdefault(prefix + endpoint.template, {})
        for method in endpoint.methods:
            security = {"security": _security(endpoint)} if asks_for_tokens else {}
            entry[method.lower()] = _operation(endpoint, method, prefix, settings) | security
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Batch coordinator",
            "version": version("batch-coordinator"),
            "description": ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas_of(answers, settings),
            "securitySchemes": {SCHEME: {"type": "http", "scheme": SCHEME, "description": ABOUT_TOKENS}},
        },
    }


def _security(endpoint: Endpoint) -> list[Schema]:
    """Return the roles, of which one is enough."""
    return [] if endpoint.roles is None else [{SCHEME: [role]} for role in _roles(endpoint.roles)]


def _roles(roles: Roles) -> list[str]:
    return [role for role in ROLES if role in {*roles, ADMINISTRATOR}]


def _operation(endpoint: Endpoint, method: str, prefix: str, settings: Settings) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(method, prefix + endpoint.template),
        "tags": [_group(endpoint)],
        "summary": endpoint.summary,
        "parameters": list(_parameters(endpoint, settings)),
        "responses": {str(status): _response(endpoint, status, prefix) for status in endpoint.all_statuses},
    }
    if endpoint.roles is not None and not endpoint.roles.issuperset(ROLES):
        operation["description"] = f"Where there are tokens, for the roles {' and '.join(_roles(endpoint.roles))}."
    if endpoint.body is not None:
        content = {JSON: {"schema": ref_to(endpoint.body), "example": EXAMPLES[endpoint.body]}}
        if endpoint.body == "Items":
            content["application/x-ndjson"] = {"schema": ref_to("ItemLines"), "example": EXAMPLES["ItemLines"]}
        operation["requestBody"] = {"content": content, "required": endpoint.body not in {*SENT_BACK, "Items"}}
    return operation


def _operation_id(method: str, path: str) -> str:
    """Return the name of an operation: its method and the words of its path."""
    return "_".join([method.lower(), *re.findall(r"\w+", path)])


def _group(endpoint: Endpoint) -> str:
    return GROUPS.get(endpoint.path.split("/")[1], "this coordinator")


def _parameters(endpoint: Endpoint, settings: Settings) -> Iterator[Schema]:
    if "{id" in endpoint.path:
        kind = re.findall(r"[a-z]+", endpoint.path.partition("/{id")[0])[-1].replace("ack", "batch")
        yield {"name": "id", "in": "path", "required": True, "schema": ref_to(IDS[kind])}
    for name, parameter in endpoint.query(settings).items():
        yield {"name": name, "in": "query", "description": parameter.about, "schema": parameter.schema}


def _response(endpoint: Endpoint, status: int, prefix: str) -> Schema:
    description = endpoint.all_statuses[status]
    if isinstance(endpoint.answer, str) and status < FAILURE:
        return {"description": description, "content": {endpoint.answer: {"schema": {"type": "string"}}}}
    name = answer_name(endpoint, status)
    headers = {"Cache-Control": {"description": "no-store", "required": True, "schema": {"const": "no-store"}}}
    if status in LATER:
        headers["Retry-After"] = _text_header("seconds after which to try again")
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = _text_header("asks for a bearer token")
    response: Schema = {
        "description": description,
        "headers": headers,
        "content": {JSON: {"schema": ref_to(name), "example": EXAMPLES[name]}},
    }
    if endpoint.links and status < FAILURE:
        response["links"] = {name: _link(link, prefix) for name, link in endpoint.links.items()}
    return response


def _text_header(about: str) -> Schema:
    return {"description": about, "required": True, "schema": {"type": "string"}}


def answer_name(endpoint: Endpoint, status: int) -> str:
    """Return the name of a response's schema. A call on several ids has a result for each, even if one is unknown."""
    if not isinstance(endpoint.answer, str) and (
        status < FAILURE or (status == HTTPStatus.NOT_FOUND and issubclass(endpoint.answer, Results))
    ):
        return endpoint.answer.__name__
    if status == HTTPStatus.NOT_ACCEPTABLE:
        return Invalid.__name__
    return (Stopped if endpoint.body == "Items" else Said).__name__


def _link(link: Link, prefix: str) -> Schema:
    linked: Schema = {"operationId": _operation_id(link.method, prefix + link.template)}
    if "{id}" in link.template:
        linked["parameters"] = {"id": link.ident}
    else:
        linked["requestBody"] = {"id": link.ident}
    return linked

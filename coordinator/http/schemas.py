"""The schemas of the OpenAPI document, made from the models of requests and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import CoreSchema

from coordinator.api_results import Invalid, Said, Stopped
from coordinator.http.examples import EXAMPLES
from coordinator.http.seeds import READ_ONLY as SEED_READ_ONLY
from coordinator.http.workers import READ_ONLY as WORKER_READ_ONLY
from coordinator.models import BatchResults, Item, SeedId, SeedSpec, WorkerId, WorkerSpec
from coordinator.settings import Settings

Schema = dict[str, object]

REF: Final = "#/components/schemas/{model}"


class _Schemas(GenerateJsonSchema):
    """Makes schemas without titles, which would only repeat the fields' names."""

    def field_title_should_be_set(self, schema: CoreSchema) -> bool:
        """Return False."""
        del schema
        return False


def _ids(name: str, most: int) -> Schema:
    """Return the schema of a body that names ids, in one of three forms."""
    ident = ref_to(name)
    bounds = {"minItems": 1, "maxItems": most}
    return {
        "anyOf": [
            {"type": "object", "required": ["id"], "properties": {"id": ident}},
            {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "array", **bounds, "items": ident}},
            },
            {
                "type": "array",
                **bounds,
                "items": {"type": "object", "required": ["id"], "properties": {"id": ident}},
            },
        ],
    }


def ref_to(name: str) -> Schema:
    """Return a reference to the schema of this name."""
    return {"$ref": REF.format(model=name)}


SEED_ID: Final[Schema] = {
    **TypeAdapter(SeedId).json_schema(),
    "description": "1 to 200 bytes of UTF-8 without control characters",
}
WORKER_ID: Final[Schema] = TypeAdapter(WorkerId).json_schema()
CALLER: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{0,100}$"}
HANDLE: Final[Schema] = {"type": "string", "description": "from a fetch; each delivery has a new one"}
DEAD_ID: Final[Schema] = {"type": "string"}
TAGS: Final[Schema] = {
    "type": "array",
    "maxItems": 32,
    "items": {
        "type": "string",
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f,]{0,64}(,[^\\u0000-\\u001f\\u007f-\\u009f,]{0,64})*$",
    },
}
BODIES: Final[dict[str, Schema]] = {
    "SeedId": SEED_ID,
    "WorkerId": WORKER_ID,
    "Handle": HANDLE,
    "DeadId": DEAD_ID,
    "Items": {
        "description": "An array, of which all or nothing is accepted; or one item, on one line.",
        "anyOf": [{"type": "array", "items": ref_to("Item")}, ref_to("Item")],
    },
    "ItemLines": {
        "type": "string",
        "format": "item-lines",
        "description": "One item a line, accepted as they arrive; an error response has the number of accepted items.",
    },
}
LISTS: Final = {"SeedIds": "SeedId", "WorkerIds": "WorkerId", "Handles": "Handle"}
"""Bodies that name ids, with the schema of an id."""
MODELS: Final[tuple[type[BaseModel], ...]] = (SeedSpec, WorkerSpec, BatchResults)
SENT_BACK: Final = {"SeedSpec": SEED_READ_ONLY, "WorkerSpec": WORKER_READ_ONLY}
"""Fields that a client may send back as it read them. They are ignored."""


def schemas_of(answers: Iterable[type[BaseModel]], settings: Settings) -> dict[str, Schema]:
    """Return all schemas by name: those of bodies, of these responses, and those that they refer to."""
    models: list[type[BaseModel]] = list(dict.fromkeys([*MODELS, *answers, Said, Stopped, Invalid]))
    _, made = models_json_schema(
        [(model, "validation") for model in models], ref_template=REF, schema_generator=_Schemas
    )
    schemas: dict[str, Schema] = {
        **BODIES,
        **{name: _ids(ident, settings.max_ids) for name, ident in LISTS.items()},
        **made["$defs"],
        "Item": _shortened(TypeAdapter(Item).json_schema(schema_generator=_Schemas), settings.max_text),
    }
    for name, ignored in SENT_BACK.items():
        properties = schemas[name]["properties"]
        if isinstance(properties, dict):
            properties |= {
                one: {"description": "ignored; a client may send it back as it read it"} for one in sorted(ignored)
            }
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    return schemas


def _shortened(schema: Schema, most: int) -> Schema:
    """Return the schema with no maxLength above this."""

    def shorten(value: object) -> object:
        if isinstance(value, dict):
            return {
                name: min(one, most) if name == "maxLength" and isinstance(one, int) else shorten(one)
                for name, one in value.items()
            }
        return [shorten(one) for one in value] if isinstance(value, list) else value

    return {name: shorten(one) for name, one in schema.items()}

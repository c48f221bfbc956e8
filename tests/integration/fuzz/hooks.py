"""What schemathesis may generate: what JSON schema cannot say is left out, and no call waits for long."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import quote

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure

from coordinator.http.batches import MAX_WAIT

SEEDS = [
    "s",
    "AAABcID5GBc=",
    "a/b+c=",
    "ü 漢 🦊",
    "%2F",
    "..a",
    "items",
    "x" * 200,
    "é" * 100,
    "?#&",
    "\u202e",
    "\u00a0",
]
LONGEST_WAIT = 0.05
VALID_REFUSED, WRONG_ACCEPTED = "ST202", "ST201"
NO_BREACH = "violates `format`"
MAX_TAGS = 32
LONGEST_NAMES = 200

LINE = st.fixed_dictionaries(
    {"id": st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20)},
    optional={
        "action": st.sampled_from(["process", "scan"]),
        "metadata": st.dictionaries(st.text("abc"), st.floats(-1, 1)),
    },
)
LINES = st.lists(LINE, max_size=20).map(lambda items: "\n".join(json.dumps(item) for item in items))

schemathesis.openapi.format("seed-id", st.sampled_from(SEEDS))
schemathesis.openapi.format("item-lines", LINES)
schemathesis.openapi.format("callback", st.sampled_from(["http://127.0.0.1:9", "https://localhost:9/a/b/"]))


@schemathesis.serializer("application/x-ndjson")
def write_lines(context: schemathesis.SerializationContext, value: object) -> bytes:
    """Lines are text already; what is none was made to be refused."""
    del context
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def filter_query(context: schemathesis.HookContext, query: dict[str, Any] | None) -> bool:
    """Leave out more tags than a worker may have: the bound is on all parts between commas together."""
    del context
    tags = (query or {}).get("tags", [])
    return not isinstance(tags, list) or sum(str(one).count(",") + 1 for one in tags) <= MAX_TAGS


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: object) -> bool:
    """Leave out routes whose tags together make too long a name of a queue."""
    del context
    policies = body.get("policies") if isinstance(body, dict) else None
    tags = (
        [policy.get("routeTo") for policy in policies or () if isinstance(policy, dict)]
        if isinstance(policies, list)
        else []
    )
    return sum(len(quote(tag)) for tag in tags if isinstance(tag, str)) < LONGEST_NAMES


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Let no valid call wait for long."""
    del context, kwargs
    if case.query and "wait" in case.query:
        with contextlib.suppress(TypeError, ValueError):
            if LONGEST_WAIT < float(case.query["wait"]) <= MAX_WAIT:
                case.query["wait"] = LONGEST_WAIT


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: schemathesis.Response
) -> bool:
    """Accept what the description cannot say.

    A callback is refused where its host did not register. Formats are hints for the generator: what it takes for a
    breach of one is none where patterns and bounds hold.
    """
    del context
    if failure.code == WRONG_ACCEPTED and (NO_BREACH in failure.message or _is_taken_as_it_is(case)):
        return False
    faults = response.json().get("errors", []) if failure.code == VALID_REFUSED else []
    return [fault["field"] for fault in faults] != ["callback"]


def _is_taken_as_it_is(case: schemathesis.Case[Any]) -> bool:
    """Whether lines were asked for and an array, an item or nothing came: the body tells its form, not its type."""
    is_lines = case.media_type == "application/x-ndjson"
    return is_lines and (isinstance(case.body, list | dict) or not str(case.body).strip())

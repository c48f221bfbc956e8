"""The API's description for people: a page made of the OpenAPI document, which needs nothing from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from html import escape
from string import Template
from typing import Any, Final

import orjson

from coordinator.http.examples import BATCH, HANDLE, SEED, WORKER

Node = dict[str, Any]

STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2.5rem 0 .5rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: 0 .8rem; }
summary { cursor: pointer; padding: .5rem 0; }
summary b { font: 600 13px ui-monospace, monospace; }
summary span { opacity: .75; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
h4 { margin: .8rem 0 .2rem; }
""".strip()

PAGE: Final = Template(
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>$title: API</title><style>$style</style><h1>$title</h1>$about"
    "<p>Below $places; the whole of it for programs: <a href='/openapi.json'>openapi.json</a>.</p>"
    "$operations<h2>Bodies</h2>$schemas</html>\n"
)
IDENTS: Final = {"SeedId": SEED, "WorkerId": WORKER, "Handle": HANDLE, "DeadId": BATCH}


def page(description: Node, prefixes: tuple[str, ...], base: str) -> str:
    """The page.

    Args:
        description: the OpenAPI document.
        prefixes: where the routes are mounted; those below the first are shown, once.
        base: where this server answers, for the examples, such as `http://127.0.0.1:8787`.
    """
    info = description["info"]
    about = "".join(f"<p>{_text(part)}</p>" for part in info["description"].strip().split("\n\n"))
    return PAGE.substitute(
        title=escape(info["title"]),
        style=STYLE,
        about=about,
        places=" and ".join(f"<code>{escape(prefix)}</code>" for prefix in prefixes),
        operations="".join(_groups(description, prefixes, base)),
        schemas="".join(_schema(name, one) for name, one in sorted(description["components"]["schemas"].items())),
    )


def _groups(description: Node, prefixes: tuple[str, ...], base: str) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        if path.startswith(prefixes[1:]):
            continue
        for names, operation in _alike(methods):
            shown = _operation(path.removeprefix(prefixes[0]), path, names, operation, base)
            groups.setdefault(operation["tags"][0], []).append(shown)
    for name, operations in groups.items():
        yield f"<h2>{escape(name.capitalize())}</h2>{''.join(operations)}"


def _alike(methods: Node) -> Iterator[tuple[list[str], Node]]:
    """A path's operations, those that do the same as one."""
    alike: dict[str, tuple[list[str], Node]] = {}
    for method, operation in methods.items():
        alike.setdefault(operation["summary"], ([], operation))[0].append(method.upper())
    yield from alike.values()


def _operation(short: str, path: str, methods: list[str], operation: Node, base: str) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    head = f"<b>{' '.join(methods)}</b> <code>{escape(short)}</code> <span>{escape(operation['summary'])}</span>"
    parts = [
        f"<summary>{head}</summary>",
        f"<p>{_text(operation['description'])}</p>" if "description" in operation else "",
        f"<pre>{escape(_curl(path, methods[-1], operation, base), quote=False)}</pre>",
        _table("Parameters", (_parameter(one) for one in operation["parameters"])),
        _table("Body", ((f"<code>{kind}</code>", _type(one["schema"])) for kind, one in body.items())),
        _table("Answers", (_answer(status, one) for status, one in operation["responses"].items())),
        _sample(operation),
    ]
    return f"<details>{''.join(parts)}</details>"


def _curl(path: str, method: str, operation: Node, base: str) -> str:
    """A call to try; parameters of the query have defaults."""
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace("{id}", IDENTS[parameter["schema"]["$ref"].rpartition("/")[2]])
    command = ["curl"] if method == "GET" else ["curl", "-X", method]
    command.append(base.rstrip("/") + path)
    if operation.get("security"):
        command += ["-H", "Authorization: Bearer bct_…"]
    for content in list(operation.get("requestBody", {}).get("content", {}).values())[:1]:
        command += ["-d", orjson.dumps(content["example"]).decode()]
    return shlex.join(command)


def _sample(operation: Node) -> str:
    """What it answers on success, if that is JSON."""
    content = next(iter(operation["responses"].values()))["content"]
    example = next(iter(content.values())).get("example")
    return "" if example is None else f"<h4>Such as</h4><pre>{_json(example)}</pre>"


def _parameter(one: Node) -> tuple[str, str]:
    about = f" {_text(one['description'])}" if "description" in one else ""
    return f"<code>{escape(one['name'])}</code> in the {one['in']}", f"{_type(one['schema'])}{about}"


def _answer(status: str, one: Node) -> tuple[str, str]:
    kind, content = next(iter(one["content"].items()))
    shape = _type(content["schema"]) if "$ref" in content["schema"] else escape(kind)
    return f"<code>{status}</code> {_text(one['description'])}", shape


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f"<h4>{title}</h4><table>{lines}</table>" if lines else ""


def _schema(name: str, schema: Node) -> str:
    required = schema.get("required", ())
    rows = (
        (f"<code>{escape(field)}</code>", _type(one), "" if field in required else "optional")
        for field, one in schema.get("properties", {}).items()
    )
    shape = _table("", rows) if "properties" in schema else f"<p>{_type(schema)}</p>"
    examples = "".join(f"<pre>{_json(example)}</pre>" for example in schema.get("examples", ()))
    about = f"<p>{_text(schema['description'])}</p>" if "description" in schema and "properties" in schema else ""
    return f'<h3 id="{escape(name)}">{escape(name)}</h3>{about}{shape}{examples}'.replace("<h4></h4>", "")


def _type(schema: Node) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        words = f'<a href="#{name}">{name}</a>'
    elif "enum" in schema or "const" in schema:
        words = " | ".join(f"<code>{_json(one)}</code>" for one in schema.get("enum", [schema.get("const")]))
    elif "anyOf" in schema or "oneOf" in schema:
        words = " or ".join(dict.fromkeys(_type(one) for one in schema.get("anyOf") or schema["oneOf"]))
    elif schema.get("type") == "array":
        words = f"list of {_type(schema['items'])}"
    elif schema.get("type") == "object" and "properties" in schema:
        inner = ", ".join(f'"{escape(name)}": {_type(one)}' for name, one in schema["properties"].items())
        words = f"{{{inner}}}"
    else:
        words = escape(str(schema.get("type", "anything")))
    notes = [*_bounds(schema), *([_text(schema["description"])] if "description" in schema else [])]
    return "; ".join([words, *notes])


def _bounds(schema: Node) -> Iterator[str]:
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " entries"),
    ):
        match schema.get(low), schema.get(high):
            case None, None:
                pass
            case least, None:
                yield f"at least {least}{unit}"
            case None, most:
                yield f"at most {most}{unit}"
            case least, most:
                yield f"{least} to {most}{unit}"
    if schema.get("default") is not None:
        yield f"by default <code>{_json(schema['default'])}</code>"


def _json(value: object) -> str:
    pretty = isinstance(value, dict | list) and bool(value)
    return escape(orjson.dumps(value, option=orjson.OPT_INDENT_2 if pretty else None).decode(), quote=False)


def _text(text: str) -> str:
    """Plain text with words `like this` set as code."""
    parts = escape(" ".join(text.split()), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))

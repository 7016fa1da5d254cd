"""The HTTP API as an HTML page, generated from its OpenAPI document. The page loads nothing and runs no script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #5b6470; --line: #d8dce2; --paper: #fff; --accent: #2f6fc0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a8b3; --line: #363c45; --paper: #16181c;
  --accent: #6aa8ee; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 56rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font: 600 1rem/1.4 ui-monospace, monospace; margin: 2.2rem 0 .3rem; }
h2 b { color: var(--accent); display: inline-block; min-width: 3.2rem; } p { margin: .3rem 0; } a { color: inherit; }
h3 { font-size: .85rem; margin: .8rem 0 .2rem; color: var(--soft); font-weight: 600; }
code { font: .9em ui-monospace, monospace; } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0 0 0 1rem; }
dd { margin: 0; } nav ul { columns: 2; list-style: none; padding: 0; font: .9rem/1.7 ui-monospace, monospace; }
"""
METHODS = ("get", "post")
Document = Mapping[str, Any]


def render_page(document: Document) -> str:
    """Convert an OpenAPI document to an HTML page."""
    info = document["info"]
    routes = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    listed = "".join(
        f'<li><a href="#{anchor(method, path)}">{method.upper()} {escape(path)}</a></li>' for method, path, _ in routes
    )
    described = "\n".join(route(method, path, operation, document) for method, path, operation in routes)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(info["title"])}</title><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/docs/style.css">'
    )
    said = f"{escape(info['description'])} Machine-readable version: <a href='/openapi.json'>openapi.json</a>."
    title = f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{title}\n<p class="soft">{said} '
        f"Errors are <code>{{&quot;error&quot;: text}}</code>.</p>\n<nav><ul>{listed}</ul></nav>\n{described}\n"
        "</body></html>\n"
    )


def mark_code(text: str) -> str:
    """Escape a text and mark what is between `backticks` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def anchor(method: str, path: str) -> str:
    return method + "".join(c if c.isalnum() else "-" for c in path)


def route(method: str, path: str, operation: Document, document: Document) -> str:
    parts = [f'<h2 id="{anchor(method, path)}"><b>{method.upper()}</b> {escape(path)}</h2>']
    parts.append(f"<p>{mark_code(operation.get('description', ''))}</p>")
    parameters = [
        (f"{one['name']} ({one['in']})", describe_type(one["schema"], document), one.get("description", ""))
        for one in operation.get("parameters", [])
    ]
    parts.append(section("Parameters", parameters))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(section(f"Body, {media}", list(fields(content["schema"], document))))
    answer = operation["responses"]["200"]
    for media, content in answer.get("content", {}).items():
        schema = content.get("schema", {})
        what = list(fields(schema, document)) if media == "application/json" else [("", answer["description"], "")]
        parts.append(section(f"Response, {media}", what))
    return "\n".join(part for part in parts if part)


def section(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    told = "".join(
        f"<dt><code>{escape(name)}</code></dt><dd><code>{escape(kind)}</code> "
        f'<span class="soft">{mark_code(text)}</span></dd>'
        for name, kind, text in rows
    )
    return f"<h3>{escape(title)}</h3><dl>{told}</dl>"


def fields(schema: Document, document: Document, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """List (name, type, description) of the fields of an object, with nested fields indented; or of a plain value."""
    found = resolve_schema(schema, document)
    inner = resolve_schema(found["items"], document) if found.get("type") == "array" else found
    if "properties" not in inner:
        if not depth:
            yield "", describe_type(schema, document), found.get("description", "")
        return
    for name, one in inner["properties"].items():
        yield "\u00a0\u00a0" * depth + name, describe_type(one, document), one.get("description", "")
        for choice in one.get("anyOf", [one]):
            yield from fields(choice, document, depth + 1)


def resolve_schema(schema: Document, document: Document) -> Document:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def describe_type(schema: Document, document: Document) -> str:
    """Describe a schema in a few words: "array of integer", "string or null"."""
    if "$ref" in schema:
        return describe_type(resolve_schema(schema, document), document)
    if "anyOf" in schema:
        return " or ".join(describe_type(one, document) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = "the bytes of a file" if schema.get("format") == "binary" else str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {describe_type(schema['items'], document)}" if "items" in schema else kind
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {describe_type(schema['additionalProperties'], document)}"
    bounds = [f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema]
    return ", ".join([kind, *bounds])


BOUNDS = {"minimum": "≥", "maximum": "≤"}

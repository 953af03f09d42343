"""The API's description as a page, made of its OpenAPI schema, in the dress of the other page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

# Questions that can be asked by a click, of routes that need no more than these.
_EXAMPLES = {
    "/api/v1/search": "/api/v1/search?q=a+dog&k=3",
    "/api/v1/facets": "/api/v1/facets?orientation=portrait",
    "/api/v1/tags": "/api/v1/tags",
    "/api/v1/status": "/api/v1/status",
}

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/style.css">
<link rel="stylesheet" href="static/docs.css">
<script src="static/theme.js"></script>
</head>
<body class="docs">
<a class="skip" href="#routes">To the routes</a>
<header><a id="home" href="./" aria-label="clipsearch, all photos"><img src="static/icon.svg" alt=""
width="28" height="28"><span>clipsearch</span></a></header>
<main>"""


class _Route(NamedTuple):
    """What is asked with one method at one path."""

    method: str
    path: str
    operation: dict[str, Any]

    @property
    def anchor(self) -> str:
        """Its name within the page."""
        return re.sub(r"\W+", "-", f"{self.method} {self.path}".lower()).strip("-")

    @property
    def says(self) -> str:
        """What it does."""
        description: str = self.operation.get("description", "")
        return description


class _Row(NamedTuple):
    """A parameter, or a part of an answer: its name, what it is (in HTML), and what it means."""

    name: str
    kind: str
    meaning: str


def docs_page(schema: dict[str, Any]) -> str:
    """An HTML page of all routes, their parameters and their answers."""
    return "\n".join(_page(schema))


def _page(schema: dict[str, Any]) -> Iterator[str]:
    info = schema["info"]
    routes = [
        _Route(method.upper(), path, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    yield _HEAD.format(title=f"The HTTP API · {escape(info['title'])}")
    yield "<h1>The HTTP API</h1><p>All that the page can do, for programs, as"
    yield f" clipsearch {escape(info['version'])} has it."
    yield '<a href="openapi.json">openapi.json</a> says the same to them, and'
    yield ' <a href="metrics">metrics</a> tells Prometheus how the server does.</p>'
    yield '<nav id="routes" aria-label="Routes"><ul>'
    for route in routes:
        yield f'<li><a href="#{route.anchor}">{_name(route)}</a>'
        yield f" <span>{_first(route.says)}</span></li>"
    yield "</ul></nav>"
    for route in routes:
        yield from _section(route, schema)
    yield from _forms(schema)
    yield "</main>\n</body>\n</html>"


def _section(route: _Route, schema: dict[str, Any]) -> Iterator[str]:
    yield f'<section aria-labelledby="{route.anchor}">'
    yield f'<h2 id="{route.anchor}">{_name(route)}</h2>'
    yield from (f"<p>{_text(part)}</p>" for part in route.says.split("\n\n"))
    if route.method == "GET" and (example := _EXAMPLES.get(route.path)):
        link = escape(example.lstrip("/"))  # this page may lie below a path
        yield f'<p class="try">Try it: <a href="{link}">{escape(example)}</a></p>'
    yield from _table("Parameters", _parameters(route.operation, schema))
    yield from _answer(route.operation, schema)
    yield "<details><summary>Errors</summary>"
    yield from _table("", _errors(route.operation))
    yield "</details></section>"


def _answer(operation: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    for kind, content in operation["responses"]["200"].get("content", {}).items():
        form = _resolved(content.get("schema", {}), schema)
        if "properties" in form:
            yield from _table("Answer", _properties(form))
        elif kind != "application/json":
            yield f"<p>Answer: <code>{escape(kind)}</code></p>"


def _forms(schema: dict[str, Any]) -> Iterator[str]:
    """What answers hold lists of."""
    used = set(re.findall(r'"#form-(\w+)"', "".join(_all_kinds(schema))))
    if not used:
        return
    yield '<section aria-labelledby="forms"><h2 id="forms">What answers are made of</h2>'
    for name, form in schema["components"]["schemas"].items():
        if name in used:
            yield f'<h3 id="form-{escape(name)}">{escape(name)}</h3>'
            yield from _table("", _properties(form))
    yield "</section>"


def _all_kinds(schema: dict[str, Any]) -> Iterator[str]:
    for form in schema["components"]["schemas"].values():
        yield from (row.kind for row in _properties(form))


def _table(title: str, rows: list[_Row]) -> Iterator[str]:
    if not rows:
        return
    yield '<div class="wide" tabindex="0" role="region" aria-label="A table"><table>'
    if title:
        yield f"<caption>{title}</caption>"
    for name, kind, meaning in rows:
        yield f'<tr><th scope="row"><code>{escape(name)}</code></th>'
        yield f"<td>{kind}</td><td>{_text(meaning)}</td></tr>"
    yield "</table></div>"


def _parameters(operation: dict[str, Any], schema: dict[str, Any]) -> list[_Row]:
    found = [
        _row(it["name"], it["schema"], it.get("description"))
        for it in operation.get("parameters", [])
    ]
    for kind in operation.get("requestBody", {}).get("content", {}).values():
        found += _properties(_resolved(kind["schema"], schema))
    return found


def _properties(form: dict[str, Any]) -> list[_Row]:
    return [_row(name, part) for name, part in form.get("properties", {}).items()]


def _row(name: str, part: dict[str, Any], meaning: str | None = None) -> _Row:
    return _Row(name, _kind(part), meaning or part.get("description", ""))


def _errors(operation: dict[str, Any]) -> list[_Row]:
    return [
        _Row(status, "", it["description"])
        for status, it in operation["responses"].items()
        if status >= "400"
    ]


def _kind(part: dict[str, Any]) -> str:
    """What a value is, as "text", "list of whole numbers" or a link to a form."""
    if "$ref" in part:
        name = escape(part["$ref"].rpartition("/")[2])
        return f'<a href="#form-{name}">{name}</a>'
    if "anyOf" in part:
        return " or ".join(_kind(it) for it in part["anyOf"])
    if "enum" in part:
        return escape(", ".join(map(str, part["enum"])))
    if part.get("type") == "array":
        return f"several: {_kind(part['items'])}"
    kind = "file" if _is_file(part) else _KINDS.get(part.get("type", ""), "")
    default = part.get("default")
    return kind if default in (None, "", False) else f"{kind}; {escape(str(default))}"


_KINDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
    "null": "null",
}  # fmt: skip


def _is_file(part: dict[str, Any]) -> bool:
    return part.get("format") == "binary" or "contentMediaType" in part


def _resolved(form: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in form:
        return form
    found: dict[str, Any] = schema["components"]["schemas"][form["$ref"].rpartition("/")[2]]
    return found


def _name(route: _Route) -> str:
    method = f'<b class="method {route.method.lower()}">{route.method}</b>'
    return f"{method} <code>{escape(route.path)}</code>"


def _first(text: str) -> str:
    """The first sentence of a description."""
    return _text(re.split(r"(?<=\.)\s", text, maxsplit=1)[0])


def _text(text: str) -> str:
    """A text in HTML, with code as such."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))

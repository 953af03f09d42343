"""The API's description as a plain page, made of its OpenAPI schema, without scripts or styles."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any


def docs_page(schema: dict[str, Any]) -> str:
    """An HTML page of all routes, their parameters and their answers."""
    return "\n".join(_page(schema))


def _page(schema: dict[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])} API</title>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}: the API</h1>"
    yield '<p>For programs: <a href="/openapi.json">openapi.json</a>, and '
    yield '<a href="/metrics">metrics</a> for Prometheus.</p>'
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(operation.get('description', ''))}</p>"
            yield from _table("Parameters", _parameters(operation, schema))
            yield from _table("Answers", _answers(operation))
    yield "</html>"


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield f'<table border="1" cellpadding="4"><caption>{title}</caption>'
    for name, meaning in rows:
        yield f"<tr><th align=left><code>{escape(name)}</code><td>{escape(meaning)}"
    yield "</table>"


def _parameters(operation: dict[str, Any], schema: dict[str, Any]) -> list[tuple[str, str]]:
    found = [
        (it["name"], it.get("description", "") or it["schema"].get("description", ""))
        for it in operation.get("parameters", [])
    ]
    for kind in operation.get("requestBody", {}).get("content", {}).values():
        body = schema["components"]["schemas"][kind["schema"]["$ref"].rpartition("/")[2]]
        found += [(name, it.get("description", "")) for name, it in body["properties"].items()]
    return found


def _answers(operation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(status, it["description"]) for status, it in operation["responses"].items()]

"""The API's description, so that programs that write clients can use it; and its version."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from clipsearch.web import forms

API, V1 = "/api/", "/api/v1/"
_REFERENCES = "#/components/schemas/{model}"
_TAGS = {
    "search": "Finding photos",
    "photos": "What is known of photos, and their files",
    "index": "The index as a whole",
    "server": "Whether the server is well",
}


def as_version_1(path: str) -> str:
    """A path of the API with its version, which is what the description shows."""
    is_bare = path.startswith(API) and not path.startswith(V1)
    return V1 + path.removeprefix(API) if is_bare else path


class Versioned:
    """An application whose paths below /api/ are those below /api/v1/ too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            root = scope.get("root_path", "")
            if scope["path"].startswith(root + V1):
                scope["path"] = root + API + scope["path"].removeprefix(root + V1)
        await self._app(scope, receive, send)


def described(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of an application, made once."""
    if api.openapi_schema is None:
        api.openapi_schema = _described(api)
    return api.openapi_schema


def _described(api: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=api.title, version=api.version, summary=api.summary, routes=api.routes,
        tags=[{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
    )  # fmt: skip
    schema["paths"] = {as_version_1(path): it for path, it in schema["paths"].items()}
    parts = schema["components"]
    _, own = models_json_schema(
        [(forms.Error, "serialization"), (forms.JsonQuestion, "validation")],
        ref_template=_REFERENCES,
    )
    parts["schemas"] = {**own["$defs"], **parts["schemas"]}
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    # Of two ways to ask by POST the framework describes the one that comes last.
    sent = schema["paths"][V1 + "search"]["post"]["requestBody"]["content"]
    sent["application/json"] = {"schema": {"$ref": _REFERENCES.format(model="JsonQuestion")}}
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"token": []}]
    return schema

"""The API's description, so that programs that write clients can use it; and its version."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from clipsearch.web import forms, told
from clipsearch.web.guard import HEALTH

API, V1 = "/api/", "/api/v1/"
_REFERENCES = "#/components/schemas/{model}"
# Which name no photo, so that none can be missing.
_WITHOUT_PHOTOS = {
    f"{V1}{it}"
    for it in ("facets", "map", "tags", "status", "photos", "embed", "embed/pictures", "events")
}
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
        servers=api.servers,
        tags=[{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
    )  # fmt: skip
    schema["paths"] = {as_version_1(path): it for path, it in schema["paths"].items()}
    parts = schema["components"]
    _, own = models_json_schema([(told.Error, "validation")], ref_template=_REFERENCES)
    parts["schemas"] = {**own["$defs"], **parts["schemas"]}
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    for form in (forms.PictureForm, forms.PictureToEmbed):
        sent = parts["schemas"][form.__name__]["properties"]
        sent.update({name: _not_null(it) for name, it in sent.items()})
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _tell_statuses(path, method, operation)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _not_null(parameter["schema"])
    parts["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "what `clipsearch serve` was given, or printed",
        }
    }
    schema["security"] = [{}, {"token": []}]  # a server that only this machine reaches has none
    for path in HEALTH:
        schema["paths"][path]["get"]["security"] = []
    return schema


def _tell_statuses(path: str, method: str, operation: dict[str, Any]) -> None:
    """Have an operation tell those statuses that it comes to."""
    answers = operation["responses"]
    if "requestBody" not in operation:
        for status in ("408", "413"):
            answers.pop(status, None)
    else:
        answers["415"] = answers["413"] | {"description": "sent in a form that is not taken here"}
    if path in _WITHOUT_PHOTOS:
        answers.pop("404", None)
    if method == "get" and "application/json" in answers["200"].get("content", {}):
        answers["304"] = {"description": "what If-None-Match names"}
    operation["responses"] = dict(sorted(answers.items()))


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What a parameter may be where it is given; in an address and in a form nothing is null."""
    for file in (schema.get("items", {}), *schema.get("anyOf", ())):
        if "contentMediaType" in file:
            file["format"] = "binary"  # which most generators know files by
    kinds = [it for it in schema.get("anyOf", ()) if it.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    (kind,) = kinds
    own = {name: it for name, it in schema.items() if name not in ("anyOf", "default")}
    return {**own, **kind}

"""The API's description: it is valid, complete, and programs write clients by it that work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from served import Serve
from test_serve import Served, served

__all__ = ["served"]  # a fixture

GENERATED = """
import sys, json
from made.client import Client, AuthenticatedClient
from made.api.photos import photo, thumbnail
from made.api.search import search, search_by_json, search_by_pictures, search_batch
from made.models import Batch, Error, FilterForm, Found, JsonQuestion
from made.models import PictureForm, SearchOrientation, ThumbnailSize
from made.types import File

client = Client(base_url=sys.argv[1])
ids, cursor = [], None
while True:
    more = {} if cursor is None else {"cursor": cursor}
    page = search.sync(client=client, q="a boat", k=5, **more)
    assert isinstance(page, Found), page
    ids += [hit.id for hit in page.hits]
    if (cursor := page.next_) is None:
        break
assert len(ids) == len(set(ids)) == 12, ids
question = JsonQuestion(q="a boat", k=2, filters=FilterForm(type_=["jpeg"]))
sent = search_by_json.sync(client=client, body=question)
assert [hit.id for hit in sent.hits] == ids[:2]
both = search_batch.sync(client=client, body=Batch(questions=[question, question]))
assert [hit.id for hit in both.answers[1].hits] == ids[:2]
wide = search.sync(client=client, q="a boat", orientation=SearchOrientation.LANDSCAPE)
assert wide.total == 12
assert photo.sync(ids[0], client=client).id == ids[0]
wrong = search.sync(client=client, near="0,0", within="5km", type_=["nix"])
assert isinstance(wrong, Error) and wrong.errors[0].parameter == "type", wrong
picture = thumbnail.sync_detailed(ids[0], client=client, size=ThumbnailSize.VALUE_160)
assert picture.content[:4] == b"RIFF"
sent = PictureForm(image=[File(payload=picture.parsed.payload, file_name="a.webp")], k=1)
picture.parsed.payload.seek(0)
found = search_by_pictures.sync(client=client, body=sent)
assert isinstance(found, Found), found
(same,) = found.hits
assert same.id == ids[0]
with_token = AuthenticatedClient(base_url=sys.argv[1], token="a-token")
assert photo.sync(ids[0], client=with_token).id == ids[0]
"""

# Which kinds of answers a client takes as bytes, and not to run formatters.
SETTINGS = """
post_hooks: []
content_type_overrides:
  image/webp: application/octet-stream
  image/*: application/octet-stream
  application/zip: application/octet-stream
"""


def test_the_description_is_valid_openapi(served: Served) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(served.get("/openapi.json"))


def test_a_client_that_a_program_writes_searches_pages_and_fetches(
    indexed: Path, serve: Serve, tmp_path: Path
) -> None:
    pytest.importorskip("openapi_python_client")
    server = serve()
    (tmp_path / "openapi.json").write_bytes(server.get("/openapi.json"))
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json",
         "--meta", "none", "--output-path", "made", "--config", "settings.yaml",
         "--fail-on-warning"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    asked = subprocess.run(
        [sys.executable, "-c", GENERATED, server.address],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr


def test_the_description_says_all_that_a_client_is_written_by(served: Served) -> None:
    schema = served.get("/openapi.json")
    tags = {it["name"] for it in schema["tags"]}
    names = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            assert set(operation["tags"]) <= tags
            assert operation["description"], path
            told = operation["responses"]
            assert {"200", "403"} <= set(told), path
            for status, answer in told.items():
                if status >= "400":
                    assert set(answer["content"]) == {"application/problem+json"}, (path, status)
            assert ("415" in told) == ("requestBody" in operation), path
            assert method in ("get", "post")
    assert len(names) == len(set(names))
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert schema["paths"]["/healthz"]["get"]["security"] == []
    parameters = {
        it["name"]: it["schema"] for it in schema["paths"]["/api/v1/search"]["get"]["parameters"]
    }
    assert "portrait" in json.dumps(parameters["orientation"])
    assert "pattern" in json.dumps(parameters["near"])
    assert "examples" in json.dumps(parameters["since"])


@pytest.mark.parametrize("name", ["near", "within", "min_size", "box"])
def test_examples_fit_their_patterns_and_are_understood(served: Served, name: str) -> None:
    parameters = served.get("/openapi.json")["paths"]["/api/v1/search"]["get"]["parameters"]
    (own,) = (it["schema"] for it in parameters if it["name"] == name)
    for example in own["examples"]:
        assert re.search(own["pattern"], example)
        place = {"near": "1,1"} if name == "within" else {}
        served.get("/api/search", **place, **{name: example})


# Not every text is a date or a place, which no schema can tell; a batch tells them one by one.
BATCH = "/api/v1/search/batch"
ALL_BUT = ["--exclude-path", BATCH, "--exclude-checks", "positive_data_acceptance"]
BATCHES = ["--include-path", BATCH, "--exclude-checks",
           "positive_data_acceptance,negative_data_rejection"]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("which", [ALL_BUT, BATCHES], ids=["all-but-batches", "batches"])
def test_nothing_that_can_be_asked_breaks_the_server_or_its_description(
    indexed: Path, serve: Serve, tmp_path: Path, which: list[str]
) -> None:
    pytest.importorskip("schemathesis")
    address = serve().address
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json",
         "--exclude-path", "/api/v1/events",  # which has no end
         *which,
         "--max-examples", "200", "--seed", "1", "--no-color", "--request-timeout", "120"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-20_000:]

"""The HTTP API as who writes a client meets it: questions, problems, pages, what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from test_serve import Served, served, serving
from tiny import open_tiny

__all__ = ["served"]  # a fixture


def problem(answer: Any, status: int) -> Any:
    """What a problem says, which has what RFC 9457 asks for."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert {"type", "title", "detail", "error"} <= set(told)
    return told


# Questions in JSON


def test_a_question_in_json_is_answered_as_in_an_address(served: Served) -> None:
    trip = str(served.photos / "trip")
    asked = {"q": "a boat", "minus": ["snow"], "k": 3, "filters": {"folder": [trip]}}
    sent = served.client.post("/api/search", json=asked)
    assert sent.status_code == 200
    assert sent.json() == served.get("/api/search", q="a boat", minus="snow", k=3, folder=trip)
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    again = served.client.post("/api/search", content=sent.request.content, headers=kind)
    assert again.json() == sent.json()


def test_other_forms_of_a_question_are_refused_with_those_there_are(served: Served) -> None:
    for path in ("/api/search", "/api/search/batch"):
        answer = served.client.post(path, content="q=a", headers={"Content-Type": "text/plain"})
        problem(answer, 415)
        assert "application/json" in answer.headers["accept-post"]


@pytest.mark.parametrize("body", [b"{", b"[" * 50_000, b'{"k": ' + b"9" * 5000 + b"}", b"\xff"])
def test_what_is_no_json_is_refused(served: Served, body: bytes) -> None:
    answer = served.client.post(
        "/api/search", content=body, headers={"Content-Type": "application/json"}
    )
    problem(answer, answer.status_code)
    assert answer.status_code in (400, 422)


def test_an_empty_question_in_json_is_refused(served: Served) -> None:
    told = problem(served.client.post("/api/search", json={"k": 3}), 400)
    assert "nothing was asked" in told["error"]


# Problems


def test_all_mistakes_are_told_at_once_by_their_names(served: Served) -> None:
    wrong = {"k": 0, "nix": 1, "offset": "x", "orientatoin": "portrait"}
    told = problem(served.client.get("/api/search", params=wrong), 422)
    found = {it["parameter"]: it["detail"] for it in told["errors"]}
    assert set(found) == set(wrong)
    assert "did you mean 'orientation'?" in found["orientatoin"]
    assert all(name in told["detail"] for name in wrong)
    wrong = {"q": "+", "near": "x", "since": "nonsense", "type": "nix", "model": "B"}
    told = problem(served.client.get("/api/search", params=wrong), 400)
    assert {it.get("parameter") for it in told["errors"]} == set(wrong), told
    assert told["type"] == "urn:clipsearch:problem:invalid-request"
    assert "--" not in told["detail"]


def test_mistakes_in_json_are_pointed_at(served: Served) -> None:
    asked = {"q": "a", "filters": {"near": "x", "has": ["nix"]}, "model": "B"}
    told = problem(served.client.post("/api/search", json=asked), 400)
    pointers = {it["pointer"] for it in told["errors"]}
    assert pointers == {"#/filters/near", "#/filters/has", "#/model"}
    told = problem(served.client.post("/api/search", json={"filters": {"nix/": 1}, "k": 0}), 422)
    assert {it["pointer"] for it in told["errors"]} == {"#/filters/nix~1", "#/k"}


def test_unknown_parameters_are_refused_by_every_route(served: Served) -> None:
    for path, operations in served.get("/openapi.json")["paths"].items():
        if not path.startswith("/api/v1/") or path == "/api/v1/events":
            continue
        for method in operations:
            url = path.replace("{id}", "1")
            answer = served.client.request(method, url, params={"nix": "1"})
            told = problem(answer, 422)
            assert "nix" in [it.get("parameter") for it in told["errors"]], (method, path)


@pytest.mark.parametrize("asked", [{}, {"q": "boat"}, {"like": 1}])
def test_unknown_models_are_refused_everywhere(served: Served, asked: dict[str, Any]) -> None:
    told = problem(served.client.get("/api/search", params=asked | {"model": "B"}), 400)
    assert [it["parameter"] for it in told["errors"]] == ["model"]
    problem(served.client.get("/api/photos/1/similar", params={"model": "B"}), 400)


def test_refusals_of_every_kind_are_problems(indexed: Path, photos: Path, served: Served) -> None:
    problem(served.client.get("/api/photos/999"), 404)
    problem(served.client.get("/nothing"), 404)
    problem(served.client.delete("/api/status"), 405)
    problem(served.client.get("/api/status", headers={"Host": "evil.example"}), 400)
    problem(served.client.get("/api/status", headers={"Sec-Fetch-Site": "cross-site"}), 403)
    with serving(indexed, photos, token="a-token-of-ours") as guarded:
        problem(guarded.client.get("/api/status"), 401)
    sent = served.client.post("/api/search", files={"image": b"junk"})
    told = problem(sent, 400)
    assert (told["type"], told["image"]) == ("urn:clipsearch:problem:unusable-picture", 0)


# The version in paths


def test_every_path_has_its_version_and_works_without(served: Served) -> None:
    assert served.get("/api/v1/search", q="boat") == served.get("/api/search", q="boat")
    assert served.client.get("/api/v1/photos/1/thumbnail").headers["etag"]
    refused = served.client.delete("/api/v1/search")
    assert refused.headers["allow"] == "GET, HEAD, POST"
    assert all(it.startswith(("/api/v1/", "/healthz", "/readyz"))
               for it in served.get("/openapi.json")["paths"])  # fmt: skip


# By photos of the index


def test_photos_of_the_index_are_asked_with_by_their_ids(served: Served) -> None:
    id = served.id_of("07.jpg")
    alike = served.get("/api/search", like=id, k=20)["hits"]
    assert [it["id"] for it in alike] == [
        it["id"] for it in served.get(f"/api/photos/{id}/similar", k=20)["hits"]
    ]
    with_words = served.get("/api/search", like=id, q="boat", minus_like=served.id_of("03.jpg"))
    assert len(with_words["hits"]) == 10
    problem(served.client.get("/api/search", params={"like": 999}), 404)


@pytest.mark.parametrize("question", [{}, {"q": "boat"}])
def test_photos_are_excluded_by_their_ids(served: Served, question: dict[str, Any]) -> None:
    whole = [it["id"] for it in served.get("/api/search", **question)["hits"]]
    rest = served.get("/api/search", exclude=[whole[0], whole[5], 999], **question)["hits"]
    assert [it["id"] for it in rest] == [id for id in whole if id not in (whole[0], whole[5])]
    assert [it["rank"] for it in rest] == list(range(1, 11))


# Pages by a cursor


def followed(served: Served, changing: Any, **asked: Any) -> list[int]:
    ids, page = [], served.get("/api/search", **asked)
    while True:
        ids += [it["id"] for it in page["hits"]]
        assert [it["rank"] for it in page["hits"]] == list(
            range(len(ids) - len(page["hits"]) + 1, len(ids) + 1)
        )
        if page["next"] is None:
            return ids
        changing()
        page = served.get("/api/search", **asked | {"cursor": page["next"]})


@pytest.mark.parametrize(
    "asked", [{}, {"sort": "path"}, {"sort": "added"}, {"q": "boat"}, {"q": "trip"}, {"like": 1}]
)
def test_a_cursor_holds_while_the_index_changes(served: Served, asked: dict[str, Any]) -> None:
    before = {it["id"] for it in served.get("/api/search", k=100)["hits"]} - {asked.get("like")}
    assert followed(served, lambda: None, k=5, **asked) == [
        it["id"] for it in served.get("/api/search", k=100, **asked)["hits"]
    ]
    gone = served.id_of("11.jpg")
    number = 100

    def change() -> None:
        nonlocal number
        number += 1
        picture(number).save(served.photos / f"{'az'[number % 2]}{number}.jpg")
        (served.photos / "trip" / "11.jpg").unlink(missing_ok=True)
        with open_tiny(served.index) as library:
            library.index()

    ids = followed(served, change, k=3, **asked)
    assert len(ids) == len(set(ids))
    assert before - {gone} <= set(ids)


def test_a_cursor_that_is_none_is_refused(served: Served) -> None:
    cursor = served.get("/api/search", k=3)["next"]
    for wrong in ("x", cursor[:-3], "AAAA", cursor + "!"):
        answer = served.client.get("/api/search", params={"cursor": wrong})
        assert problem(answer, answer.status_code)["errors"][0]["parameter"] == "cursor"
    both = served.client.get("/api/search", params={"cursor": cursor, "offset": 3})
    assert "offset" in problem(both, 400)["detail"]


def test_lists_have_the_order_that_is_asked_for(served: Served) -> None:
    def paths(**asked: Any) -> list[str]:
        return [it["path"] for it in served.get("/api/search", k=12, **asked)["hits"]]

    ids = [it["id"] for it in served.get("/api/search", sort="added")["hits"]]
    assert ids == sorted(ids, reverse=True)
    assert paths(sort="path") == sorted(paths())
    assert paths(sort="latest") == paths()
    assert paths(sort="path", offset=4) == sorted(paths())[4:]
    times = [it["taken_at"] for it in served.get("/api/search", sort="oldest")["hits"]]
    assert times == sorted(times)
    problem(served.client.get("/api/search", params={"sort": "size"}), 422)
    told = problem(served.client.get("/api/search", params={"sort": "path", "q": "a"}), 400)
    assert told["errors"][0]["parameter"] == "sort"


# Many questions


def test_a_batch_answers_each_question_and_tells_what_is_wrong_with_one(served: Served) -> None:
    asked = [{"q": "boat", "k": 2}, {"q": "a", "filters": {"near": "x"}}, {"like": [1]}, {}]
    told = served.client.post("/api/v1/search/batch", json={"questions": asked}).json()["answers"]
    assert told[0] == served.get("/api/search", q="boat", k=2)
    assert told[1]["errors"][0]["pointer"] == "#/questions/1/filters/near"
    assert told[2] == served.get("/api/search", like=1)
    assert told[3]["status"] == 400
    many = {"questions": [{"q": "a"}] * 33}
    problem(served.client.post("/api/v1/search/batch", json=many), 422)


# What is sent


def test_json_that_is_known_is_not_sent_again_until_the_index_changes(served: Served) -> None:
    for path in ("/api/search?q=boat", "/api/search", "/api/photos/2", "/api/facets"):
        first = served.client.get(path)
        assert first.headers["cache-control"] == "private, no-cache"
        tag = {"If-None-Match": first.headers["etag"]}
        again = served.client.get(path, headers=tag)
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"]
        assert served.client.head(path, headers=tag).status_code == 304
    tag = {"If-None-Match": served.client.get("/api/search").headers["etag"]}
    moved = served.photos.rename(served.photos.with_name("unplugged"))  # which is no change of it
    assert served.client.get("/api/search", headers=tag).status_code == 200
    moved.rename(served.photos)
    assert served.client.get("/api/search", headers=tag).status_code == 304
    picture(70).save(served.photos / "new.jpg")
    with open_tiny(served.index) as library:
        library.index()
    assert served.client.get("/api/search", headers=tag).status_code == 200
    assert "etag" not in served.client.get("/nothing").headers


def test_json_and_texts_are_packed_and_pictures_are_not(served: Served) -> None:
    for path in ("/api/search", "/openapi.json", "/docs", "/static/style.css"):
        packed = served.client.get(path, headers={"Accept-Encoding": "gzip"})
        plain = served.client.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip", path
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
        assert packed.content == plain.content
        assert "content-encoding" not in plain.headers
        assert "Accept-Encoding" in packed.headers["vary"]
    for path in ("/api/photos/1/original", "/api/photos/1/thumbnail", "/api/zip?id=1"):
        plain = served.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers, path


def test_a_token_is_in_no_answer_that_is_packed(indexed: Path, photos: Path) -> None:
    token = "a-token-of-ours"
    with serving(indexed, photos, token=token) as served:
        served.client.headers |= {"Authorization": f"Bearer {token}"}
        for path in ("/", "/api/search?q=a", "/api/status", "/docs", "/openapi.json", "/metrics"):
            answer = served.client.get(path)
            assert token not in answer.text
            assert "set-cookie" not in answer.headers

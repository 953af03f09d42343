"""The HTTP API as who writes a client meets it: questions, problems, pages, what is known."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture, soon
from served import DEADLINE, Process, Serve
from test_serve import Served, served, serving
from tiny import open_tiny

from clipsearch import InvalidInput
from clipsearch.store.lock import write_lock
from clipsearch.store.running import telling
from clipsearch.web.asking.cursors import MOST_SEEN, cursor_of, seen_by
from clipsearch.web.guard import MOST_JSON
from clipsearch.web.sending.events import MOST_LISTENING, Events

__all__ = ["served"]  # a fixture

Asking = Callable[..., socket.socket]


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
    form, json = "multipart/form-data", "application/json"
    for path, kinds in (
        ("/api/search", {json, form}), ("/api/search/batch", {json}), ("/api/embed", {json}),
        ("/api/search/pictures", {form}), ("/api/embed/pictures", {form}),
    ):  # fmt: skip
        answer = served.client.post(path, content="q=a", headers={"Content-Type": "text/plain"})
        problem(answer, 415)
        assert kinds <= set(answer.headers["accept-post"].split(", ")), path


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
    kind = {"Content-Type": "application/json"}
    for path in ("/api/search", "/api/search/batch", "/api/embed"):
        told = problem(served.client.post(path, content=b"", headers=kind), 400)
        assert told["error"] == "the body is empty"


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"k": True}, "#/k"), ({"k": "3"}, "#/k"), ({"like": ["1"]}, "#/like/0"),
        ({"like": [True]}, "#/like/0"), ({"q": "a", "exclude": [1.5]}, "#/exclude/0"),
        ({"q": "a", "filters": {"min_rating": "3"}}, "#/filters/min_rating"),
        ({"q": "a", "relevant": "true"}, "#/relevant"), ({"q": "a", "hybrid": 1}, "#/hybrid"),
    ],
)  # fmt: skip
def test_values_in_json_are_of_their_kind(
    served: Served, asked: dict[str, Any], pointer: str
) -> None:
    told = problem(served.client.post("/api/search", json=asked), 422)
    assert [it["pointer"] for it in told["errors"]] == [pointer]
    told = problem(served.client.post("/api/search/batch", json={"questions": [asked]}), 422)
    assert [it["pointer"] for it in told["errors"]] == [f"#/questions/0{pointer[1:]}"]


def test_a_number_in_json_is_whole_however_it_is_written(served: Served) -> None:
    kind = {"Content-Type": "application/json"}
    body = b'{"k": 3.0, "like": [1.0], "filters": {"min_size": "1"}}'
    answer = served.client.post("/api/search", content=body, headers=kind)
    assert (answer.status_code, answer.json()["k"]) == (200, 3)
    problem(served.client.post("/api/embed", json={"texts": [1]}), 422)


def test_what_has_one_value_is_given_once(served: Served) -> None:
    asked = [("q", "a"), ("k", "3"), ("k", "5"), ("since", "2024"), ("since", "2020")]
    told = problem(served.client.get("/api/search", params=asked), 400)
    assert [it["parameter"] for it in told["errors"]] == ["k", "since"]
    for path in ("/api/photos/1/thumbnail?size=160&size=320", "/api/photos/1/similar?k=1&k=1",
                 "/api/facets?camera=a&camera=b", "/api/photos/1/labels?k=1&k=2"):  # fmt: skip
        problem(served.client.get(path), 400)
    form = {"data": {"k": ["3", "5"], "q": "a"}}
    told = problem(served.client.post("/api/search", **form), 400)  # type: ignore[arg-type]
    assert [it["parameter"] for it in told["errors"]] == ["k"]
    several = [("q", "a"), ("minus", "b"), ("minus", "c"), ("exclude", "1"), ("exclude", "2")]
    assert served.client.get("/api/search", params=several).json()["total"] == 12


@pytest.mark.parametrize("kind", [{}, {"Content-Type": ""}, {"Content-Type": "; charset=utf-8"}])
def test_a_body_that_says_not_what_it_is_is_refused(served: Served, kind: dict[str, str]) -> None:
    for path in ("/api/search", "/api/search/batch", "/api/search/pictures", "/api/embed"):
        answer = served.client.post(path, content=b'{"q": "a"}', headers=kind)
        problem(answer, 415)
        assert answer.headers["accept-post"]
    answer = served.client.post("/api/search", content=b"", headers=kind)
    assert "nothing was asked" in problem(answer, 400)["error"]


def test_a_form_that_is_cut_off_is_told_so(served: Served) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    whole = b'--edge\r\nContent-Disposition: form-data; name="q"\r\n\r\nboat\r\n--edge--\r\n'
    sent = partial(served.client.post, "/api/search", headers=kind)
    assert sent(content=whole).status_code == 200
    assert sent(content=whole + b"what follows is not looked at").status_code == 200
    assert sent(content=iter([whole[:-6], whole[-6:]])).status_code == 200
    for cut in (whole[:-4], whole[:-12], whole[:30], whole[:60], b"--edge"):
        assert "cut off" in problem(sent(content=cut), 400)["error"], cut
    picture = (
        b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n\xff\xd8'
    )
    assert "cut off" in problem(sent(content=picture), 400)["error"]


def test_json_of_too_much_is_refused(served: Served) -> None:
    kind = {"Content-Type": "application/json"}
    longest = {"embedding": [[0.123456789012345678] * 1280] * 8}
    batch = {"questions": [longest | {"minus_embedding": longest["embedding"]}] * 32}
    content = json.dumps(batch).encode()
    assert 10 << 20 < len(content) < MOST_JSON
    answers = served.client.post("/api/search/batch", content=content, headers=kind)
    assert len(answers.json()["answers"]) == 32
    for body in (b" " * (MOST_JSON + 1), iter([b" " * (1 << 20)] * 17), b"[" + b"[]," * 200_000):
        answer = served.client.post("/api/search", content=body, headers=kind)
        problem(answer, 413)


def test_a_body_that_is_packed_is_refused_as_what_it_is(served: Served) -> None:
    for path in ("/api/search", "/api/embed", "/api/search/batch"):
        kind = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = served.client.post(path, content=gzip.compress(b'{"q": "a"}'), headers=kind)
        assert "packed by gzip" in problem(answer, 415)["error"]
        assert answer.headers["accept-encoding"] == "identity"
    plain = served.client.post(
        "/api/search", json={"q": "a"}, headers={"Content-Encoding": "Identity"}
    )
    assert plain.status_code == 200


def test_what_is_wrong_is_told_in_no_words_of_python(served: Served) -> None:
    asked = [{"json": {"filters": []}}, {"json": []}, {"json": {"filters": None}},
             {"files": {"image": (None, "no file")}},
             {"files": {"minus_image": (None, "none")}}]  # fmt: skip
    for one in asked:
        answer = served.client.post("/api/search", **one)  # type: ignore[arg-type]
        told = problem(answer, 422)["error"]
        assert not re.search("dict|Form|class|Upload|instance", told), told
        assert re.search("valid object|a file", told), told
    batch = served.client.post("/api/search/batch", json={"questions": [1]})
    assert "a valid object" in problem(batch, 422)["error"]


WIDE = {f"x{number}": 1 for number in range(20_000)}


@pytest.mark.parametrize(
    "asked",
    [WIDE, {"filters": WIDE}, {"hybrid" * 100_000: 1}, {"embedding": [["x"] * 8192] * 8}],
    ids=["names", "names of filters", "a long name", "numbers that are none"],
)  # fmt: skip
def test_what_is_wrong_many_times_is_not_told_as_often(served: Served, asked: Any) -> None:
    # To tell each takes time, in which nobody else is answered.
    answer = served.client.post("/api/search", json=asked)
    assert len(problem(answer, 422)["errors"]) <= 8
    assert len(answer.content) < 10_000
    batch = {"questions": [asked] * 32}
    answer = served.client.post("/api/search/batch", json=batch)
    assert len(problem(answer, answer.status_code).get("errors", ())) <= 8 * 32
    assert answer.status_code in (413, 422)
    if "embedding" not in asked:
        address = "/api/photos/1?" + "&".join(name[:60_000] for name in [*asked][:8000])
        assert len(served.client.get(address).content) < 10_000


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
        if not path.startswith("/api/v1/"):
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
    sent = {"files": {"image": (served.photos / "01.jpg").read_bytes()}, "data": {"model": "B"}}
    told = problem(served.client.post("/api/search", **sent), 400)  # type: ignore[arg-type]
    assert "image" not in told


def test_refusals_of_every_kind_are_problems(indexed: Path, photos: Path, served: Served) -> None:
    problem(served.client.get("/api/photos/999"), 404)
    problem(served.client.get("/nothing"), 404)
    problem(served.client.delete("/api/status"), 405)
    problem(served.client.get("/api/status", headers={"Host": "evil.example"}), 400)
    problem(served.client.get("/api/status", headers={"Sec-Fetch-Site": "cross-site"}), 403)
    beyond = {"Range": "bytes=9999999-"}
    told = served.client.get("/api/photos/1/original", headers=beyond)
    assert problem(told, 416)["detail"]
    assert told.headers["content-range"].startswith("bytes */")
    with serving(indexed, photos, token="a-token-of-ours") as guarded:
        problem(guarded.client.get("/api/status"), 401)
    sent = served.client.post("/api/search", files={"image": b"junk"})
    told = problem(sent, 400)
    assert (told["type"], told["image"]) == ("urn:clipsearch:problem:unusable-picture", 0)


def test_all_pictures_that_cannot_be_used_are_told_with_all_else(served: Served) -> None:
    good = (served.photos / "01.jpg").read_bytes()
    files = [("image", good), ("image", b"junk"), ("image", b""), ("minus_image", b"rubbish")]
    told = problem(served.client.post("/api/search", files=files, data={"near": "nowhere"}), 400)
    assert (told["type"], told["image"]) == ("urn:clipsearch:problem:unusable-picture", 1)
    assert [(it.get("parameter"), it.get("image")) for it in told["errors"]] == [
        ("image", 1), ("image", 2), ("minus_image", None), ("near", None),
    ]  # fmt: skip
    told = problem(served.client.post("/api/search", files={"minus_image": b"junk"}), 400)
    assert told["type"] == "urn:clipsearch:problem:invalid-request"
    assert [it["parameter"] for it in told["errors"]] == ["minus_image"]
    files = {"image": good}
    told = problem(
        served.client.post("/api/search", files=files, data={"region": "0,0,9999,9"}), 400
    )
    assert (told["image"], told["errors"][0]["parameter"]) == (0, "region")


def test_a_page_of_an_allowed_site_may_ask_in_json(indexed: Path, photos: Path) -> None:
    origin = "https://photos.example"
    with serving(indexed, photos, origins=(origin,)) as served:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "content-type,authorization"}  # fmt: skip
        assert served.client.options("/api/search", headers=asked).status_code == 200
        sent = served.client.post("/api/search", json={"q": "a"}, headers={"Origin": origin})
        assert sent.headers["access-control-allow-origin"] == origin


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


def test_the_longest_cursor_fits_an_address(served: Served) -> None:
    ids = np.random.default_rng(0).choice(10_000_000, MOST_SEEN - 1, replace=False) + 1
    cursor = cursor_of(ids.tolist())
    assert seen_by(cursor) == set(ids.tolist())
    assert len(served.get("/api/search", cursor=cursor)["hits"]) <= 12
    too_far = cursor_of(range(1, MOST_SEEN + 1))
    told = problem(served.client.get("/api/search", params={"cursor": too_far}), 400)
    assert "offset" in told["detail"]


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
    with open_tiny(served.index) as library, pytest.raises(InvalidInput, match="sort 'size'"):
        library.photos(sort="size")
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
    for never in ("gzip;q=0", "br, GZIP ; q=0.000", "identity, gzip; Q=0.0"):
        plain = served.client.get("/api/search", headers={"Accept-Encoding": never})
        assert "content-encoding" not in plain.headers, never
        assert "Accept-Encoding" in plain.headers["vary"]
    for taken in ("gzip;q=0.1", "identity;q=0, gzip;q=1.0"):
        packed = served.client.get("/api/search", headers={"Accept-Encoding": taken})
        assert packed.headers["content-encoding"] == "gzip", taken
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


# What is known of photos


def test_several_photos_are_told_by_their_ids(served: Served) -> None:
    told = served.get("/api/photos", id=[3, 999, 1, 3])
    assert told["missing"] == [999]
    assert told["photos"] == [served.get("/api/photos/3"), served.get("/api/photos/1")]
    for wrong in ({}, {"id": [0]}, {"id": list(range(1, 502))}):
        problem(served.client.get("/api/photos", params=wrong), 422)


def test_captions_of_a_photo_are_told_by_their_models(served: Served) -> None:
    assert served.get("/api/photos/1/captions") == {"captions": []}
    with open_tiny(served.index) as library:
        stored = library.stored(1)
        assert stored is not None
        library._catalog.open_to_write()
        library._catalog.add_captions("blip", {stored.row.digest: "a red wall"})
    told = served.get("/api/photos/1/captions")
    assert told == {"captions": [{"model": "blip", "text": "a red wall"}]}
    problem(served.client.get("/api/photos/999/captions"), 404)


def test_labels_of_a_photo_are_those_of_the_library(served: Served) -> None:
    told = served.get("/api/photos/1/labels", k=3)["labels"]
    with open_tiny(served.index) as library:
        path = library.photo(1).path
        expected = [it.as_dict(rank) for rank, it in enumerate(library.label(path, k=3), 1)]
    assert told == expected
    problem(served.client.get("/api/photos/1/labels", params={"k": 101}), 422)


def test_duplicates_of_a_photo_are_told(served: Served) -> None:
    assert served.get("/api/photos/1/duplicates") == {"groups": []}
    first = served.get("/api/photos/1")
    Path(served.photos / "copy.jpg").write_bytes(Path(first["path"]).read_bytes())
    with open_tiny(served.index) as library:
        library.index()
    (group,) = served.get("/api/photos/1/duplicates")["groups"]
    assert group["kind"] == "bytes"
    assert {it["id"] for it in group["photos"]} == {1, served.id_of("copy.jpg")}
    assert served.get("/api/photos/2/duplicates") == {"groups": []}


# Embeddings


def test_embeddings_of_words_and_pictures_come_and_are_asked_with(served: Served) -> None:
    texts = served.client.post("/api/embed", json={"texts": ["a red boat", "snow"]}).json()
    assert (texts["model"], texts["dim"], len(texts["embeddings"])) == ("pocket", 16, 2)
    plain = served.get("/api/search", q="a red boat", hybrid=False, k=12)["hits"]
    asked = {"embedding": [texts["embeddings"][0]], "k": 12}
    found = served.client.post("/api/search", json=asked).json()["hits"]
    assert [it["id"] for it in found] == [it["id"] for it in plain]
    file = (served.photos / "03.jpg").read_bytes()
    pictures = served.client.post("/api/embed/pictures", files={"image": file}).json()
    larger = [[1e300 * number for number in pictures["embeddings"][0]]]
    (hit,) = served.client.post("/api/search", json={"embedding": larger, "k": 1}).json()["hits"]
    assert hit["path"].endswith("03.jpg")
    assert hit["score"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("embedding", "status"),
    [([1.0] * 15, 400), ([0.0] * 16, 400), ([], 422), ([1.0] * 9000, 422), (["nan"] * 16, 422),
     ([True] * 16, 422), ([5e-324] * 16, 200)],
)  # fmt: skip
def test_embeddings_that_are_none_are_refused(
    served: Served, embedding: list[Any], status: int
) -> None:
    answer = served.client.post("/api/search", json={"embedding": [embedding]})
    assert answer.status_code == status, answer.text
    if status != 200:
        assert "embedding" in problem(answer, status)["detail"]


def test_what_cannot_be_embedded_is_refused(served: Served) -> None:
    for wrong in ({"texts": []}, {"texts": [""]}, {"texts": ["a"] * 101}):
        problem(served.client.post("/api/embed", json=wrong), 422)
    problem(served.client.post("/api/embed", json={"texts": ["a"], "model": "B"}), 400)
    told = problem(served.client.post("/api/embed/pictures", files={"image": b"junk"}), 400)
    assert told["image"] == 0


def test_an_index_without_a_model_embeds_nothing(index: Path, photos: Path) -> None:
    open_tiny(index).close()
    with serving(index, photos) as empty:
        problem(empty.client.post("/api/embed", json={"texts": ["a"]}), 400)
        problem(empty.client.post("/api/search", json={"embedding": [[1.0]]}), 400)


# Whether it is well


def test_health_is_told_to_anybody_and_nothing_else(indexed: Path, photos: Path) -> None:
    with serving(indexed, photos, token="a-token-of-ours") as served:
        soon(lambda: served.client.get("/readyz").status_code == 200)
        for path in ("/healthz", "/readyz"):
            answer = served.client.get(path, headers={"Host": "10.1.2.3:7700"})
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert answer.headers["content-security-policy"]
            assert served.client.head(path).status_code == 200
            other = {"Sec-Fetch-Site": "cross-site"}
            problem(served.client.get(path, headers=other), 403)
            problem(served.client.post(path), 401)
        indexed.rename(indexed.with_name("gone"))
        told = problem(served.client.get("/readyz"), 503)
        assert (told["error"], served.client.get("/healthz").status_code) == ("not ready", 200)
        assert str(indexed) not in str(told)


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Opens connections, on each of which something is asked."""
    with ExitStack() as opened:

        def ask(server: Process, line: str = "GET /api/v1/events") -> socket.socket:
            client = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
            opened.callback(client.close)
            client.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return client

        yield ask


def heard(client: socket.socket, words: bytes) -> bytes:
    content = b""
    while words not in content:
        part = client.recv(65536)
        assert part, content
        content += part
    return content


def test_many_clients_hear_how_the_index_changes_without_a_thread_each(
    indexed: Path, photos: Path, serve: Serve, asking: Asking
) -> None:
    server = serve()
    clients = [asking(server) for _ in range(80)]
    for client in clients:
        first = heard(client, b'"photos": 12')
    assert b"text/event-stream" in first
    assert b"event: index" in first
    threads = Path(f"/proc/{server.process.pid}/task")
    if threads.exists():
        assert len(list(threads.iterdir())) < 70
    with write_lock(indexed), telling(indexed, None) as progress:
        progress(3, 12)
        heard(clients[0], b'"done": 3')
    picture(70).save(photos / "new.jpg")
    with open_tiny(indexed) as library:
        library.index()
    for client in clients[:40]:
        heard(client, b'"photos": 13')
        client.close()
    head = asking(server, "HEAD /api/events")
    assert b"200 OK" in heard(head, b"\r\n\r\n")
    assert server.stopped(signal.SIGTERM) == (0, "")  # with forty that listen


def test_more_that_listen_than_there_is_room_for_are_told_so(
    indexed: Path, serve: Serve, asking: Asking
) -> None:
    server = serve()
    clients = [asking(server) for _ in range(MOST_LISTENING)]
    for client in clients:
        heard(client, b'"photos": 12')
    one_more = asking(server)
    assert b" 503 " in heard(one_more, b"retry-after")
    clients[0].close()

    def has_room() -> bool:
        said = asking(server).recv(65536)
        return b" 200 " in said

    soon(has_room)


def test_an_unexpected_error_ends_no_look_at_the_index(caplog: pytest.LogCaptureFixture) -> None:
    looks = 0

    async def look() -> dict[str, int]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OverflowError("int too large")
        return {"photos": looks}

    async def told() -> list[bytes]:
        stream = Events(look, asyncio.Event()).listen()
        return [await anext(stream), await anext(stream)]

    first, second = asyncio.run(told())
    assert (first[:15], second[:12]) == (b"event: problem\n", b"event: index")
    assert caplog.text.count("unexpected OverflowError") == 1

"""The server: what it answers, to whom, and what it does when things go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import picture, soon
from PIL import Image
from served import DEADLINE, Serve
from starlette.testclient import TestClient
from tiny import TinyEncoder, open_tiny

from clipsearch import InvalidInput, Library
from clipsearch.photos.decoding.isolated import Processes
from clipsearch.photos.decoding.thumbnail_cache import Thumbnails
from clipsearch.photos.facts.facts import Facts
from clipsearch.search.results import RELEVANT, Hit, stands_out
from clipsearch.store.lock import write_lock
from clipsearch.store.running import telling
from clipsearch.web.app import Access, create_app
from clipsearch.web.guard import MOST_BYTES
from clipsearch.web.sending.zipped import zipped
from clipsearch.web.server import check_access

TOKEN = "a-token-of-ours"


class Served(NamedTuple):
    """A server of the tiny model, in this process."""

    client: TestClient
    index: Path
    photos: Path

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def id_of(self, name: str) -> int:
        hits = self.get("/api/search", k=100)["hits"]
        return next(int(hit["id"]) for hit in hits if hit["path"].endswith(name))


@contextlib.contextmanager
def serving(
    index: Path, photos: Path, encoder: type[TinyEncoder] = TinyEncoder, **access: Any
) -> Iterator[Served]:
    def open_index() -> Library:
        return Library.open(index, model="pocket", encoder=encoder(), create=False)

    app = create_app(open_index, Access(**access))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        yield Served(client, index, photos)


@pytest.fixture
def served(indexed: Path, photos: Path) -> Iterator[Served]:
    with serving(indexed, photos) as server:
        yield server


# Answers


def test_answers_say_which_photos_are_away(served: Served, photos: Path) -> None:
    photos.rename(photos.with_name("unplugged"))
    hits = served.get("/api/search", q="a red boat", k=5)["hits"]
    assert [hit["present"] for hit in hits] == [False] * 5
    assert served.get(f"/api/photos/{hits[0]['id']}")["present"] is False
    photos.with_name("unplugged").rename(photos)
    assert served.get(f"/api/photos/{hits[0]['id']}")["present"] is True
    assert all(hit["present"] for hit in served.get("/api/search", q="a red boat", k=5)["hits"])


def test_words_find_what_the_library_finds(served: Served) -> None:
    found = served.get("/api/search", q="a red boat", k=5)
    with open_tiny(served.index) as library:
        hits = library.query("a red boat", 5)
    assert found["hits"] == [
        json.loads(json.dumps(hit.as_dict(rank))) for rank, hit in enumerate(hits, 1)
    ]
    assert (found["total"], found["offset"], found["k"]) == (12, 0, 5)


def test_words_are_looked_for_in_names_too_if_that_is_asked(served: Served) -> None:
    found = served.get("/api/search", q='a boat "trip"', hybrid=True)
    with open_tiny(served.index) as library:
        hits = library.query('a boat "trip"', hybrid=True)
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in hits]
    assert (len(hits), found["total"]) == (4, 4)
    plain, both = (served.get("/api/search", q="trip", hybrid=it, k=12) for it in (False, True))
    assert plain["total"] == both["total"] == 12
    assert {hit["id"] for hit in both["hits"][:4]} == {hit.id for hit in hits}
    assert {hit["id"] for hit in plain["hits"][:4]} != {hit.id for hit in hits}
    answer = served.client.post("/api/search", data={"q": '"trip"', "hybrid": "true"})
    assert answer.json()["total"] == 4
    wrong = served.client.get("/api/search", params={"q": '"!"', "hybrid": True})
    assert wrong.status_code == 400
    assert "in the quotes" in wrong.json()["error"]


@pytest.mark.parametrize(
    ("relevance", "is_kept"), [(0.4996, True), (0.5, True), (0.4994, False), (None, False)]
)
def test_what_is_kept_is_decided_by_the_number_that_is_told(
    relevance: float | None, is_kept: bool
) -> None:
    hit = Hit(Path("a.jpg"), 0.2, 1, Facts(), relevance)
    told = hit.as_dict(1)["relevance"]
    assert stands_out(hit) == is_kept == (told is not None and told >= RELEVANT)


def test_a_wrong_value_of_several_is_told_by_its_name(served: Served) -> None:
    wrong = served.client.get("/api/zip", params={"id": "abc"})
    assert wrong.status_code == 422
    assert wrong.json()["error"].startswith("id: ")


def test_which_of_several_pictures_is_at_fault_is_told(served: Served, photos: Path) -> None:
    sent = [("image", ("a.jpg", (photos / "00.jpg").read_bytes())), ("image", ("b.jpg", b"junk"))]
    answer = served.client.post("/api/search", files=sent)
    assert answer.status_code == 400
    told = answer.json()
    assert told["image"] == 1
    assert "b.jpg" in told["error"]
    assert "image" not in served.client.get("/api/search", params={"q": "+"}).json()


def test_why_nothing_is_found_is_told(served: Served) -> None:
    def why(**question: Any) -> Any:
        found = served.get("/api/search", **question)
        assert (found["hits"], found["total"] == 0) == ([], not question.get("relevant"))
        return found["nothing"]

    assert why(q='"trip" "zebra"') == {"reason": "quotes", "nowhere": ["zebra"]}
    assert why(q='"trip" "00"') == {"reason": "quotes", "nowhere": []}
    assert why(q="boat", camera="Leica") == {"reason": "filters", "nowhere": []}
    assert served.get("/api/search", q="boat")["nothing"] is None
    assert served.get("/api/search", q="boat", offset=100)["nothing"] is None
    sent = served.client.post("/api/search", data={"q": '"zebra"'}).json()
    assert sent["nothing"] == {"reason": "quotes", "nowhere": ["zebra"]}


def test_words_that_are_written_are_found_unless_that_is_not_wanted(served: Served) -> None:
    by_default = served.get("/api/search", q="trip", k=12)
    assert by_default == served.get("/api/search", q="trip", k=12, hybrid=True)
    assert [hit["written"] for hit in by_default["hits"]] == [1.0] * 4 + [0.0] * 8
    plain = served.get("/api/search", q="trip", k=12, hybrid=False)
    assert plain["hits"] != by_default["hits"]
    assert {hit["written"] for hit in plain["hits"]} == {0.0}
    quoted = served.get("/api/search", q='"trip"')  # as a keyword that is clicked asks
    assert (len(quoted["hits"]), quoted["total"]) == (4, 4)
    sent = served.client.post("/api/search", data={"q": "trip", "k": "12"}).json()
    assert sent == by_default
    nowhere = served.get("/api/search", q="a red boat")
    assert nowhere == served.get("/api/search", q="a red boat", hybrid=False)


def test_pages_follow_each_other_without_gaps(served: Served) -> None:
    whole = served.get("/api/search", q="boat", k=12)["hits"]
    pages = [served.get("/api/search", q="boat", k=5, offset=at)["hits"] for at in (0, 5, 10)]
    assert [hit for page in pages for hit in page] == whole
    assert [hit["rank"] for hit in whole] == list(range(1, 13))


def test_without_a_question_photos_are_listed_as_ls_does(served: Served) -> None:
    found = served.get("/api/search", k=4, offset=2)
    with open_tiny(served.index) as library:
        expected = library.photos(k=6)[2:]
    assert [hit["id"] for hit in found["hits"]] == [photo.id for photo in expected]
    assert {hit["score"] for hit in found["hits"]} == {hit["relevance"] for hit in found["hits"]}
    assert found["hits"][0]["score"] is None
    assert found["hits"][0]["rank"] == 3


def test_filters_count_and_limit(served: Served) -> None:
    trip = str(served.photos / "trip")
    for query in ({}, {"q": "boat"}):
        found = served.get("/api/search", folder=trip, **query)
        assert found["total"] == len(found["hits"]) == 4
        assert all(hit["path"].startswith(trip) for hit in found["hits"])


def test_a_picture_that_is_sent_finds_itself(served: Served) -> None:
    file = served.photos / "03.jpg"
    answer = served.client.post("/api/search", files={"image": file.read_bytes()}, data={"k": "1"})
    (hit,) = answer.json()["hits"]
    assert hit["path"] == str(file)
    assert hit["score"] == pytest.approx(1, abs=1e-3)


def test_a_region_of_a_picture_that_is_sent_is_searched_for(served: Served) -> None:
    canvas = Image.new("RGB", (640, 240))
    canvas.paste(Image.open(served.photos / "05.jpg"), (320, 0))
    stream = BytesIO()
    canvas.save(stream, "PNG")
    sent = {"files": {"image": stream.getvalue()}, "data": {"k": "1", "region": "50%,0%,50%,100%"}}
    answer = served.client.post("/api/search", **sent)  # type: ignore[arg-type]
    assert answer.json()["hits"][0]["path"].endswith("05.jpg")


def test_similar_photos_leave_out_the_photo_itself_but_not_for_a_region(served: Served) -> None:
    id = served.id_of("07.jpg")
    whole = served.get(f"/api/photos/{id}/similar", k=20)["hits"]
    part = served.get(f"/api/photos/{id}/similar", k=20, region="0%,0%,100%,100%")["hits"]
    assert id not in [hit["id"] for hit in whole]
    assert len(whole) == 11
    assert part[0]["id"] == id


def test_a_photo_is_described(served: Served) -> None:
    hit = served.get("/api/search", q="boat", k=1)["hits"][0]
    photo = served.get(f"/api/photos/{hit['id']}")
    assert photo.pop("folder") == str(served.photos)
    assert photo.pop("bytes") == Path(hit["path"]).stat().st_size
    of_the_answer = ("rank", "score", "relevance", "written", "lines")
    assert photo == {k: v for k, v in hit.items() if k not in of_the_answer}


def test_how_a_photo_was_exposed_is_read_from_its_file(served: Served) -> None:
    file, exif = served.photos / "03.jpg", Image.Exif()
    id = served.id_of("03.jpg")
    exif.get_ifd(0x8769).update({0x829A: 0.004, 0x829D: 2.8, 0x8827: 400, 0x920A: 23.0})
    picture(3).save(file, exif=exif)
    assert served.get(f"/api/photos/{id}/exposure") == {
        "exposure_time": 0.004, "aperture": 2.8, "iso": 400, "focal_length": 23.0,
        "focal_length_35mm": None,
    }  # fmt: skip
    file.unlink()
    assert served.client.get(f"/api/photos/{id}/exposure").status_code == 404


def test_facets_count_what_filters_can_ask_for(served: Served) -> None:
    facets = served.get("/api/facets")
    assert {it["path"]: it["photos"] for it in facets["folders"]} == {
        str(served.photos): 12, str(served.photos / "trip"): 4,
    }  # fmt: skip
    assert facets["types"] == [{"type": "jpeg", "photos": 12}]
    assert sum(it["photos"] for it in facets["months"]) == 12
    few = served.get("/api/facets", folder=str(served.photos / "trip"))
    assert few["types"] == [{"type": "jpeg", "photos": 4}]


def test_the_status_tells_when_words_can_be_asked(served: Served) -> None:
    soon(lambda: served.get("/api/status")["state"] == "ready")
    status = served.get("/api/status")
    assert (status["photos"], status["model"], status["models"]) == (12, "pocket", ["pocket"])
    assert status["folders"] == [{"path": str(served.photos), "photos": 12}]
    assert (status["indexing"], status["watching"], status["problem"]) == (None, False, None)


def test_the_status_tells_how_far_the_run_of_another_process_is(served: Served) -> None:
    with write_lock(served.index), telling(served.index, None) as progress:
        progress(3, 12)
        told = served.get("/api/status")["indexing"]
        assert (told["done"], told["total"]) == (3, 12)
        assert told["rate"] > 0
        assert told["seconds_left"] is not None
    assert served.get("/api/status")["indexing"] is None


def test_an_index_without_photos_answers(index: Path, photos: Path) -> None:
    open_tiny(index).close()
    with serving(index, photos) as empty:
        assert empty.get("/api/search", q="boat") == {
            "hits": [], "total": 0, "offset": 0, "k": 50, "next": None,
            "nothing": {"reason": "empty", "nowhere": []},
        }  # fmt: skip
        assert empty.get("/api/search")["hits"] == []
        assert empty.get("/api/status")["model"] is None
        assert empty.get("/api/tags") == {"labels": []}


def test_a_folder_of_photos_is_offered_and_indexed_when_that_is_asked(
    index: Path, photos: Path
) -> None:
    Library.open(index).close()

    def open_index() -> Library:
        return Library.open(index, model="pocket", encoder=TinyEncoder(), create=False)

    app = create_app(open_index, offered=str(photos))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        served = Served(client, index, photos)
        offer = {"folder": str(photos), "taken": False, "problem": None}
        assert served.get("/api/status")["offer"] == offer
        assert client.post("/api/index").json()["offer"]["taken"]
        soon(lambda: served.get("/api/status")["photos"] == 12)
        soon(lambda: served.get("/api/status")["offer"] is None)
        assert client.post("/api/index").status_code == 404  # nothing is offered any more
        assert len(served.get("/api/search")["hits"]) == 12


def test_why_an_offered_folder_could_not_be_indexed_is_told(index: Path, photos: Path) -> None:
    Library.open(index).close()
    (photos / "here").mkdir()
    app = create_app(lambda: open_tiny(index, create=False), offered=str(photos / "gone"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        client.post("/api/index")
        served = Served(client, index, photos)
        problem = soon(lambda: served.get("/api/status")["offer"]["problem"])
        assert "gone" in problem


def test_no_folder_is_offered_where_none_was_chosen(served: Served) -> None:
    assert served.get("/api/status")["offer"] is None
    assert served.client.post("/api/index").status_code == 404


def test_what_is_wrong_is_told_in_a_line(served: Served) -> None:
    for query, status in (
        ({"q": "a - a"}, 400), ({"near": "x"}, 400), ({"q": "a", "model": "B"}, 400),
        ({"k": "0"}, 422), ({"nix": "1"}, 422), ({"folder": "/nowhere"}, 400),
    ):  # fmt: skip
        answer = served.client.get("/api/search", params=query)
        assert answer.status_code == status, query
        assert "image" not in answer.json()
        assert "\n" not in answer.json()["error"]
    assert served.client.get("/api/photos/999").status_code == 404
    assert served.client.get("/nothing").json()["error"] == "Not Found"


def test_words_are_words_also_where_they_look_like_a_path(served: Served) -> None:
    found = served.get("/api/search", q=str(served.photos / "03.jpg"), k=1)
    with open_tiny(served.index) as library:
        as_words = library.query(f'"{served.photos / "03.jpg"}"', 1)
    assert found["hits"][0]["score"] == pytest.approx(as_words[0].score, abs=1e-5)
    assert found["hits"][0]["score"] < 0.99


def test_the_docs_and_the_page_ask_nothing_of_others(served: Served) -> None:
    for path in ("/", "/docs"):
        text = served.client.get(path).text
        assert "http://" not in text
        assert "https://" not in text
    assert "/api/v1/photos/{id}/similar" in served.client.get("/docs").text


def test_the_docs_tell_parameters_answers_and_errors_of_each_route(served: Served) -> None:
    text = served.client.get("/docs").text
    routes = served.get("/openapi.json")["paths"]
    for path, operations in routes.items():
        for method in operations:
            assert f"{method.upper()}</b> <code>{path}</code></h2>" in text
    assert 'href="#form-Hit"' in text
    assert 'id="form-Hit"' in text
    links = re.findall(r'href="#([^"]+)"', text)
    assert {link for link in links if f'id="{link}"' not in text} == set()
    for address in re.findall(r'class="try">Try it: <a href="([^"]+)"', text):
        assert served.client.get(unescape(address)).status_code == 200


def test_labels_are_given_when_that_is_asked(served: Served) -> None:
    assert served.get("/api/tags") == {"labels": []}
    made = served.client.post("/api/tags").json()["labels"]
    assert sum(it["photos"] for it in made) == 12
    assert served.get("/api/tags") == {"labels": made}


def test_metrics_count_requests_by_route(served: Served) -> None:
    served.get("/api/search", q="boat")
    served.client.get("/api/photos/999")
    text = served.client.get("/metrics").text
    assert 'clipsearch_requests_total{method="GET",route="/api/search",status="200"} 1.0' in text
    assert 'route="/api/photos/{id}",status="404"' in text


def test_methods_that_clients_invent_are_counted_together(served: Served) -> None:
    for number in range(30):
        served.client.request(f"FETCH{number}", "/api/status")
    text = served.client.get("/metrics").text
    assert "FETCH" not in text
    assert 'method="other",route="/api/status",status="405"} 30.0' in text


# Files


def test_a_thumbnail_is_upright_small_and_made_once(served: Served, cache: Path) -> None:
    sideways = Image.new("RGB", (400, 200), "white")
    sideways.paste("red", (0, 0, 200, 200))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(served.photos / "turned.jpg", exif=exif, quality=95)
    with open_tiny(served.index) as library:
        library.index()
    path = f"/api/photos/{served.id_of('turned.jpg')}/thumbnail?size=160"
    answer = served.client.get(path)
    image = Image.open(BytesIO(answer.content)).convert("RGB")
    assert answer.headers["content-type"] == "image/webp"
    assert image.size == (80, 160)
    assert not image.getexif()
    top, bottom = image.getpixel((40, 20)), image.getpixel((40, 140))
    assert top[0] > 200 > 100 > top[1]  # type: ignore[index, operator]
    assert min(bottom) > 200  # type: ignore[type-var, arg-type]
    (served.photos / "turned.jpg").unlink()
    assert served.client.get(path).content == answer.content
    etag = {"If-None-Match": answer.headers["etag"]}
    assert served.client.get(path, headers=etag).status_code == 304
    assert served.client.get(path.replace("160", "161")).status_code == 422


def test_the_thumbnails_that_were_not_looked_at_longest_go_first(
    served: Served, tmp_path: Path
) -> None:
    folder, hits = tmp_path / "kept", served.get("/api/search", k=4)["hits"]
    with open_tiny(served.index) as library, Processes(1) as processes:
        photos = [stored for hit in hits if (stored := library.stored(hit["id"]))]
        sizes = [
            len(Thumbnails(folder, processes).get(it.place, it.row.digest, 160)) for it in photos
        ]
        for age, file in enumerate(sorted(folder.rglob("*.webp"))):
            os.utime(file, (time.time() - 9000 * (age + 1),) * 2)
        oldest = max(folder.rglob("*.webp"), key=lambda file: -file.stat().st_mtime)
        few = Thumbnails(folder, processes, sum(sizes) + 1)
        looked_at = next(it for it in photos if it.row.digest in oldest.name)
        few.get(looked_at.place, looked_at.row.digest, 160)
        few.get(looked_at.place, looked_at.row.digest, 320)
    left = list(folder.rglob("*.webp"))
    assert sum(file.stat().st_size for file in left) <= sum(sizes)
    assert oldest in left  # it was looked at again
    assert len(left) < 5


def test_the_original_is_sent_whole_and_in_parts(served: Served) -> None:
    content = (served.photos / "01.jpg").read_bytes()
    path = f"/api/photos/{served.id_of('01.jpg')}/original"

    def part(span: str) -> Any:
        return served.client.get(path, headers={"Range": span})

    whole = served.client.get(path)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["content-disposition"].startswith("inline")
    assert (part("bytes=2-5").status_code, part("bytes=2-5").content) == (206, content[2:6])
    assert part("bytes=2-5").headers["content-range"] == f"bytes 2-5/{len(content)}"
    assert part("bytes=-7").content == content[-7:]
    assert part("bytes=9-").content == content[9:]
    assert part(f"bytes={len(content)}-").status_code == 416
    assert part("bytes=nonsense").content == content


def test_a_photo_whose_path_is_a_folder_now_costs_no_descriptor(served: Served) -> None:
    path = f"/api/photos/{served.id_of('01.jpg')}"
    (served.photos / "01.jpg").unlink()
    (served.photos / "01.jpg").mkdir()
    before = None
    for _ in range(5):
        for what in ("original", "thumbnail", "exposure"):
            assert served.client.get(f"{path}/{what}").status_code == 404, what
        open_now = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        before = before or open_now
    assert open_now == before


def test_head_is_get_without_a_body_and_other_methods_are_told(served: Served) -> None:
    path = f"/api/photos/{served.id_of('01.jpg')}"
    for route in ("/", "/static/icon.svg", "/docs", "/api/status", "/api/search?k=2", path,
                  f"{path}/original", f"{path}/thumbnail", "/api/photos/999"):  # fmt: skip
        whole, head = served.client.get(route), served.client.head(route)
        assert (head.status_code, head.content) == (whole.status_code, b""), route
        for name in ("content-type", "etag", "content-security-policy"):
            assert head.headers.get(name) == whole.headers.get(name), (route, name)
        assert head.headers["content-length"] == whole.headers["content-length"], route
    for route, methods in [("/api/status", "GET, HEAD"), ("/api/search", "GET, HEAD, POST"),
                           ("/api/index", "POST"), (path, "GET, HEAD")]:  # fmt: skip
        refused = served.client.request("DELETE", route)
        assert (refused.status_code, refused.headers.get("allow")) == (405, methods), route


def test_what_is_known_is_not_sent_again(served: Served) -> None:
    path = f"/api/photos/{served.id_of('01.jpg')}"
    for route in (f"{path}/original", f"{path}/thumbnail"):
        tag = served.client.get(route).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = served.client.get(route, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b""), (route, known)
        other = {"If-None-Match": '"other"', "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
        assert served.client.get(route, headers=other).status_code == 200  # the tag decides
    original = f"{path}/original"
    when = served.client.get(original).headers["last-modified"]
    for since, status in [(when, 304), ("Thu, 01 Jan 1970 00:00:00 GMT", 200), ("nonsense", 200)]:
        answer = served.client.get(original, headers={"If-Modified-Since": since})
        assert answer.status_code == status, since


def zip_of(served: Served, *ids: int) -> ZipFile:
    answer = served.client.get("/api/zip", params={"id": ids})
    assert answer.status_code == 200, answer.text
    assert "content-length" not in answer.headers  # it is made while it is sent
    return ZipFile(BytesIO(answer.content))


def test_several_photos_come_in_a_zip_as_they_are(served: Served) -> None:
    hits = served.get("/api/search", k=12)["hits"]
    archive = zip_of(served, *(hit["id"] for hit in hits), hits[0]["id"])
    assert archive.testzip() is None
    packed = {Path(hit["path"]).name: Path(hit["path"]).read_bytes() for hit in hits}
    assert {name: archive.read(name) for name in archive.namelist()} == packed


def test_photos_of_one_name_have_each_their_own_in_a_zip(served: Served, tmp_path: Path) -> None:
    for number in range(3):
        (served.photos / f"day{number}").mkdir()
        picture(60 + number).save(served.photos / f"day{number}" / "IMG.JPG")
    with open_tiny(served.index) as library:
        library.index()
        ids = [photo.id for photo in library.photos() if photo.path.name == "IMG.JPG"]
    assert zip_of(served, *ids).namelist() == ["IMG.JPG", "IMG (2).JPG", "IMG (3).JPG"]


def test_what_cannot_be_read_is_told_in_the_zip(served: Served, tmp_path: Path) -> None:
    gone, linked, there = (served.id_of(name) for name in ("03.jpg", "05.jpg", "07.jpg"))
    (served.photos / "03.jpg").unlink()
    (tmp_path / "secret").write_text("secret")
    (served.photos / "05.jpg").unlink()
    (served.photos / "05.jpg").symlink_to(tmp_path / "secret")
    archive = zip_of(served, gone, linked, there)
    assert archive.namelist() == ["07.jpg", "left out.txt"]
    said = archive.read("left out.txt").decode().splitlines()
    assert [line.partition(":")[0] for line in said] == ["03.jpg", "05.jpg"]


def test_a_zip_holds_photos_of_the_index_alone(served: Served) -> None:
    for asked, status in (({"id": [1, 999]}, 404), ({"id": []}, 422), ({"path": "/etc"}, 422)):
        answer = served.client.get("/api/zip", params=asked)
        assert answer.status_code == status
        assert answer.json()["error"]


def test_a_zip_is_made_piece_by_piece(served: Served) -> None:
    file, size = served.photos / "03.jpg", 64 << 20
    with file.open("r+b") as content:
        content.truncate(size)  # a photo as it was indexed, grown since
    with Library.open(served.index) as library:
        stored = library.stored(served.id_of("03.jpg"))
    assert stored is not None
    pieces = [len(piece) for piece in zipped([stored])]
    assert sum(pieces) > size
    assert max(pieces) < 1 << 20


def test_a_photo_that_is_gone_is_404_with_a_line(served: Served) -> None:
    id = served.id_of("02.jpg")
    (served.photos / "02.jpg").unlink()
    for path in ("original", "thumbnail?size=1600", "similar?region=0,0,9,9"):
        answer = served.client.get(f"/api/photos/{id}/{path}")
        assert answer.status_code == 404
        assert answer.json()["error"]


@pytest.mark.parametrize("what", ["file", "folder", "pipe"])
def test_a_file_that_leads_elsewhere_by_now_is_not_served(
    served: Served, tmp_path: Path, what: str
) -> None:
    id = served.id_of("trip/09.jpg")
    trip, secret = served.photos / "trip", tmp_path / "secret"
    secret.mkdir()
    picture(99).save(secret / "09.jpg")
    if what == "folder":
        shutil.rmtree(trip)
        trip.symlink_to(secret)
    else:
        (trip / "09.jpg").unlink()
        if what == "file":
            (trip / "09.jpg").symlink_to(secret / "09.jpg")
        else:
            os.mkfifo(trip / "09.jpg")
    for path in ("original", "thumbnail?size=640", "similar?region=0,0,9,9"):
        assert served.client.get(f"/api/photos/{id}/{path}").status_code == 404


def test_where_the_indexed_folder_is_a_link_by_now_only_the_indexed_file_is_served(
    served: Served, tmp_path: Path
) -> None:
    id = served.id_of("trip/09.jpg")
    paths = [f"/api/photos/{id}/{it}" for it in ("original", "thumbnail?size=640")]
    shutil.copytree(served.photos, tmp_path / "secret")
    served.photos.rename(tmp_path / "moved")
    served.photos.symlink_to(tmp_path / "moved")
    for path in paths:
        assert served.client.get(path).status_code == 200
    served.photos.unlink()
    served.photos.symlink_to(tmp_path / "secret")
    picture(99).save(tmp_path / "secret" / "trip" / "09.jpg")
    assert served.client.get(paths[0]).status_code == 404
    assert served.client.get(f"/api/photos/{id}/thumbnail?size=320").status_code == 404
    assert (
        "left out.txt"
        in ZipFile(BytesIO(served.client.get("/api/zip", params={"id": id}).content)).namelist()
    )


def test_behind_a_link_that_was_meant_only_the_indexed_file_is_served(
    tmp_path: Path, photos: Path, index: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    picture(50).save(outside / "linked.jpg")
    (photos / "more").symlink_to(outside)
    with open_tiny(index) as library:
        library.index([photos], follow_links=True)
    with serving(index, photos) as served:
        path = f"/api/photos/{served.id_of('linked.jpg')}/original"
        assert served.client.get(path).status_code == 200
        (outside / "linked.jpg").write_text("a letter")
        assert served.client.get(path).status_code == 404


def test_a_question_that_asks_nothing_is_refused_where_one_is_sent(served: Served) -> None:
    answer = served.client.post("/api/search", data={"q": " ", "k": "3"})
    assert answer.status_code == 400
    assert "nothing was asked" in answer.json()["error"]
    listed = served.client.post("/api/search", data={"folder": str(served.photos / "trip")})
    assert listed.json()["total"] == 4


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 broken"])
def test_an_upload_that_is_no_picture_is_refused(served: Served, content: bytes) -> None:
    answer = served.client.post("/api/search", files={"image": ("a.jpg", content)})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("'a.jpg': it cannot be used as a picture: ")


def test_an_upload_of_too_many_pixels_is_refused(served: Served) -> None:
    stream = BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    answer = served.client.post("/api/search", files={"image": stream.getvalue()})
    assert answer.status_code == 400
    assert "megapixels" in answer.json()["error"]


def test_an_upload_of_too_many_bytes_is_refused_also_without_a_length(served: Served) -> None:
    def blocks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(MOST_BYTES // (1 << 20) + 1):
            yield bytes(1 << 20)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert served.client.post("/api/search", content=blocks(), headers=kind).status_code == 413
    told = kind | {"Content-Length": str(MOST_BYTES + 1)}
    assert served.client.post("/api/search", content=b"", headers=told).status_code == 413


# Who may ask

ROUTES = ["/", "/static/index.html", "/docs", "/openapi.json", "/metrics", "/api/status",
          "/api/search", "/api/photos/1", "/api/photos/1/original", "/nothing"]  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_every_answer_has_the_headers_that_keep_it_private(served: Served, path: str) -> None:
    headers = served.client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_token_is_needed_on_every_route_and_none_of_a_hundred_others_will_do(
    indexed: Path, photos: Path
) -> None:
    with serving(indexed, photos, host="0.0.0.0", token=TOKEN) as served:
        client = served.client
        for path in ROUTES:
            assert client.get(path).status_code == 401
            right = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert right.status_code != 401
        for number in range(100):
            wrong = {"Authorization": f"Bearer {TOKEN[:-1]}{number}"}
            assert client.get("/api/status", headers=wrong).status_code == 401
        assert client.get("/", params={"token": "é" * 20}).status_code == 401
        for method in ("HEAD", "GET"):
            page = client.request(method, "/", params={"token": TOKEN}, follow_redirects=False)
            assert (page.status_code, page.headers["location"]) == (303, "/")
            client.cookies.clear()
        client.cookies.update(page.cookies)
        cookie = page.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/status").status_code == 200  # the cookie is kept


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:7700", 200), ("127.0.0.1", 200), ("[::1]:7700", 200), ("LOCALHOST", 200),
     ("evil.example", 400), ("localhost.evil.example:7700", 400), ("192.168.0.7", 400),
     ("", 400), ("localhost:", 200), ("localhost:80@evil.example", 400), ("localhost:abc", 400),
     ("localhost:99999", 400), ("localhost:7700/", 400), ("localhost?", 400), ("[::1", 400),
     ("[::1]x:1", 400), ("[localhost]", 400), ("local host", 400), ("localhost:-1", 400),
     ("evil.example@localhost", 400), ("localhost:1:2", 400), ("localhost.", 200),
     ("LocalHost.:7700", 200), ("localhost..", 400), ("evil.example.", 400), (".", 400)],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(served: Served, host: str, status: int) -> None:
    assert served.client.get("/api/status", headers={"Host": host}).status_code == status
    if "evil.example" in host and "@" in host:  # not even where any name will do
        assert served.client.get("/healthz", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
     {"Origin": "http://["}, {"Origin": "http://a]localhost"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_what_a_page_of_another_site_sends_is_refused(
    served: Served, headers: dict[str, str]
) -> None:
    sent = {"files": {"image": (served.photos / "01.jpg").read_bytes()}}
    assert served.client.post("/api/search", headers=headers, **sent).status_code == 403  # type: ignore[arg-type]
    for path in ("/", "/api/status", "/api/search?q=a", "/healthz", "/static/page.js"):
        assert served.client.get(path, headers=headers).status_code == 403 or (
            path == "/" and "Origin" not in headers  # a link to it that was followed
        )
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert served.client.post("/api/search", headers=own, **sent).status_code == 200  # type: ignore[arg-type]
    for some in (own, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}):
        assert served.client.get("/api/status", headers=some).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "is_own"),
    [("localhost:80", "http://localhost", True), ("localhost", "http://localhost:80", True),
     ("localhost:443", "https://localhost", True), ("LOCALHOST:80", "http://localhost", True),
     ("localhost.:7700", "http://localhost.:7700", True), ("[::1]:80", "http://[::1]", True),
     ("localhost:443", "http://localhost", False), ("localhost:80", "https://localhost", False),
     ("localhost:8080", "http://localhost", False), ("localhost", "localhost", False),
     ("localhost", "null", False), ("localhost", "://localhost", False)],
)  # fmt: skip
def test_an_origin_is_known_however_the_host_is_written(
    served: Served, host: str, origin: str, is_own: bool
) -> None:
    # As behind nginx with `proxy_set_header Host $host:$server_port`.
    headers = {"Host": host, "Origin": origin}
    answer = served.client.post("/api/search", json={"q": "a boat"}, headers=headers)
    assert answer.status_code == (200 if is_own else 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_may_lead_to_the_page_and_get_nothing_else(
    served: Served, site: str
) -> None:
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert served.client.get("/", headers=followed).status_code == 200
    assert served.client.get("/", headers=followed | {"Sec-Fetch-Mode": "cors"}).status_code == 403
    for path in set(ROUTES) - {"/"}:
        assert served.client.get(path, headers=followed).status_code == 403, path
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert served.client.get("/api/status", headers=own).status_code == 200


@pytest.mark.parametrize(
    "others", ['state={"a":1,"b":[2]}', "a=" + '"' * 60_000, "=;;=;", "clipsearch-token=an-old-one"]
)
def test_cookies_of_other_programs_lock_nobody_out(
    indexed: Path, photos: Path, others: str
) -> None:
    with serving(indexed, photos, token=TOKEN) as served:
        right = f"clipsearch-token={TOKEN}"
        both = [(f"{others}; {right}", 200), (f"{right}; {others}", 200)]
        for cookies, status in [*both, (others, 401)]:
            answer = served.client.get("/api/status", headers={"Cookie": cookies})
            assert answer.status_code == status


class Poisoned(TinyEncoder):
    """Fails on texts with one word, once many ask."""

    waiting = threading.Barrier(24)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if any("poison" in text for text in texts):
            raise OverflowError("int too large")
        return super().encode_texts(texts)


def test_what_fails_on_one_question_answers_the_others(indexed: Path, photos: Path) -> None:
    with serving(indexed, photos, Poisoned) as served:

        def ask(number: int) -> int:
            words = "poison" if number % 6 == 0 else f"dog {number}"
            Poisoned.waiting.wait(DEADLINE)  # so that several are answered together
            return served.client.get("/api/search", params={"q": words, "k": 3}).status_code

        with ThreadPoolExecutor(24) as clients:
            answers = list(clients.map(ask, range(24)))
    assert answers == [500 if number % 6 == 0 else 200 for number in range(24)]


def test_another_site_may_ask_where_that_was_allowed(indexed: Path, photos: Path) -> None:
    origin = "https://photos.example"
    with serving(indexed, photos, origins=(origin,)) as served:
        allowed = served.client.get("/api/status", headers={"Origin": origin})
        other = served.client.get("/api/status", headers={"Origin": "https://evil.example"})
        assert (allowed.status_code, other.status_code) == (200, 403)
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in other.headers
        for method in ("GET", "HEAD", "POST"):
            asked = {
                "Origin": origin, "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization",
            }  # fmt: skip
            before = served.client.options("/api/search", headers=asked)
            assert before.status_code == 200, method


@pytest.mark.parametrize(
    "written", ["https://Photos.Example", "HTTPS://photos.example", "https://photos.example:443"]
)
def test_an_origin_is_allowed_as_browsers_write_it(
    indexed: Path, photos: Path, written: str
) -> None:
    origins = check_access("127.0.0.1", None, [written]).origins
    with serving(indexed, photos, origins=origins) as served:
        allowed = served.client.get("/api/status", headers={"Origin": "https://photos.example"})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://photos.example"


@pytest.mark.parametrize(
    "origin", ["http://[", "http://:", "http://a:x", "http://a/b", "a.example"]
)
def test_an_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(InvalidInput, match="is none; write https://"):
        check_access("127.0.0.1", None, [origin])


@pytest.mark.parametrize("route", ["/api/photos/{}/original", "/api/zip?id={}"])
def test_a_file_that_is_cut_while_it_is_sent_is_told_in_a_line(
    indexed: Path, photos: Path, serve: Serve, route: str
) -> None:
    server = serve()
    hits = json.loads(server.get("/api/search", k=20))["hits"]
    id = next(hit["id"] for hit in hits if hit["path"].endswith("03.jpg"))
    os.truncate(photos / "03.jpg", 256 << 20)  # more than sockets hold
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as client:
        client.sendall(f"GET {route.format(id)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = 0
        while received < 1 << 20:  # so that it is open by now
            received += len(client.recv(1 << 16))
        os.truncate(photos / "03.jpg", 100)
        while content := client.recv(1 << 20):
            received += len(content)
    assert received < 256 << 20
    assert b"ok" in server.get("/healthz")
    code, said = server.stopped(signal.SIGTERM)
    assert (code, said) == (0, "a photo's file has become shorter while it was sent\n")


# The index changes


def test_behind_a_proxy_it_goes_by_the_name_that_was_allowed(indexed: Path, photos: Path) -> None:
    name = "photos.example:8443"
    with serving(indexed, photos, token=TOKEN, origins=[f"https://{name}"]) as server:
        server.client.headers |= {"Authorization": f"Bearer {TOKEN}", "Host": name}
        assert server.get("/api/search", q="boat")["total"] == 12
        image = (photos / "00.jpg").read_bytes()
        sent = server.client.post(
            "/api/search", files={"image": image}, headers={"Origin": f"https://{name}"}
        )
        assert sent.status_code == 200
        other = server.client.get("/api/search", headers={"Host": "other.example"})
        assert other.status_code == 400


def test_photos_that_come_and_go_are_seen_at_once(served: Served) -> None:
    assert served.get("/api/search", q="boat", k=100)["total"] == 12
    picture(70).save(served.photos / "new.jpg")
    (served.photos / "00.jpg").unlink()
    with open_tiny(served.index) as library:
        library.index()
    found = served.get("/api/search", q="boat", k=100)
    names = {Path(hit["path"]).name for hit in found["hits"]}
    assert found["total"] == len(found["hits"]) == 12
    assert "new.jpg" in names
    assert "00.jpg" not in names


def test_an_index_that_is_replaced_is_served_as_it_is_now(served: Served, tmp_path: Path) -> None:
    other = tmp_path / "other-photos"
    other.mkdir()
    picture(80).save(other / "only.jpg")
    with open_tiny(tmp_path / "fresh") as library:
        library.index([other])
    assert served.get("/api/search", q="boat")["total"] == 12
    served.index.rename(tmp_path / "old")
    gone = served.client.get("/api/search", params={"q": "boat"})
    assert gone.status_code == 503
    assert gone.headers["retry-after"]
    (tmp_path / "fresh").rename(served.index)
    found = served.get("/api/search", q="boat")
    assert [Path(hit["path"]).name for hit in found["hits"]] == ["only.jpg"]


def test_many_clients_at_once_get_each_their_own_answer(served: Served) -> None:
    words = [f"words of client {number}" for number in range(40)]
    with open_tiny(served.index) as library:
        expected = {text: [hit.id for hit in library.query(text, 3, hybrid=None)] for text in words}
    found: dict[str, list[int]] = {}

    def ask(text: str) -> None:
        hits = served.get("/api/search", q=text, k=3)["hits"]
        found[text] = [hit["id"] for hit in hits]

    threads = [threading.Thread(target=ask, args=[text]) for text in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert found == expected


# Real processes


def test_what_clients_ask_for_again_and_again_is_told_once(indexed: Path, serve: Serve) -> None:
    server = serve()
    for number in range(3):
        server.get("/api/search", q=f"{'dog ' * 200}{number}")
    code, said = server.stopped(signal.SIGTERM)
    assert (code, said.count("longer than")) == (0, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(indexed: Path, serve: Serve, number: int) -> None:
    server = serve()
    assert json.loads(server.get("/api/status"))["photos"] == 12
    assert server.stopped(number) == (0, "")


def test_a_port_in_use_is_told_in_a_line(indexed: Path, clipsearch: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = clipsearch("serve", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"clipsearch: port {port} is in use")
    assert done.stderr.count("\n") == 1


def test_without_an_index_it_says_what_to_do(
    clipsearch: Callable[..., Any], tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "notes").mkdir()
    for number in range(20):  # among which a few pictures are no folder of photos
        (tmp_path / "notes" / f"{number}.txt").touch()
    for name in ("00.jpg", "01.jpg", "02.jpg"):
        shutil.copy(photos / name, tmp_path / "notes")
    done = clipsearch("serve", "--port", "0", cwd=tmp_path / "notes")
    assert done.returncode == 2
    assert "make one: clipsearch index" in done.stderr


def test_in_a_folder_of_photos_it_makes_an_empty_index_and_offers_them(
    index: Path, photos: Path, serve: Serve
) -> None:
    command = [sys.executable, "-m", "clipsearch", "serve", "--port", "0"]
    server = serve(*command, CLIPSEARCH_INDEX=str(index), cwd=str(photos))
    status = json.loads(server.get("/api/status"))
    assert (status["photos"], status["offer"]["folder"]) == (0, str(photos))


def test_beyond_this_machine_a_token_is_made_and_needed(index: Path, serve: Serve) -> None:
    Library.open(index).close()
    command = [sys.executable, "-m", "clipsearch", "serve", "--index", index]
    server = serve(*command, "--host", "0.0.0.0", "--port", "0")
    address, _, token = server.address.partition("/?token=")
    assert len(token) >= 32
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{address}/api/status")
    request = Request(f"{address}/api/status", headers={"Authorization": f"Bearer {token}"})
    assert urlopen(request).status == 200


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_token_need_not_stand_in_the_command_line(
    index: Path, serve: Serve, tmp_path: Path, place: str
) -> None:
    Library.open(index).close()
    (file := tmp_path / "token").write_text(f"{TOKEN}\n")
    command = [sys.executable, "-m", "clipsearch", "serve", "--index", index, "--port", "0"]
    if place == "variable":
        server = serve(*command, CLIPSEARCH_TOKEN=TOKEN)
    else:
        server = serve(*command, "--token-file", file)
    assert "token" not in server.address  # whoever gave it knows it
    with pytest.raises(HTTPError, match="401"):
        server.get("/api/status")
    right = Request(f"{server.address}/api/status", headers={"Authorization": f"Bearer {TOKEN}"})
    assert urlopen(right).status == 200


def test_a_browser_is_opened_without_the_token_in_its_arguments(
    index: Path, serve: Serve, tmp_path: Path
) -> None:
    Library.open(index).close()
    for name in ("xdg-open", "open"):
        told = tmp_path / "told"
        script = f'#!/bin/sh\nprintf %s "$1" > "{told}"\nmv "{told}" "{tmp_path}/opened"\n'
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    command = [sys.executable, "-m", "clipsearch", "serve", "--index", index, "--port", "0"]
    server = serve(
        *command, "--open", CLIPSEARCH_TOKEN=TOKEN, PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    soon((tmp_path / "opened").exists)
    opened = (tmp_path / "opened").read_text()
    assert TOKEN not in opened
    file = Path(urlsplit(opened).path)
    assert f"{server.address}/?token={TOKEN}" in file.read_text()
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_token_file_that_is_none_is_told(
    indexed: Path, clipsearch: Callable[..., Any], tmp_path: Path
) -> None:
    done = clipsearch("serve", "--port", "0", "--token-file", tmp_path / "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--token-file" in done.stderr
    (tmp_path / "file").touch()
    done = clipsearch("serve", "--port", "0", "--token-file", tmp_path / "file" / "token")
    assert done.stderr.endswith("file/token cannot be read: Not a directory\n")
    done = clipsearch("serve", "--port", "0", "--token-file", "x", "--token", TOKEN)
    assert "exclude each other" in done.stderr


def test_a_short_token_is_refused(indexed: Path, clipsearch: Callable[..., Any]) -> None:
    done = clipsearch("serve", "--port", "0", "--token", "short")
    assert done.returncode == 2
    assert "--token needs" in done.stderr


def test_a_kill_while_thumbnails_are_written_spoils_none(
    photos: Path, index: Path, serve: Serve, tmp_path: Path
) -> None:
    for seed in range(40):
        picture(seed, (900, 700)).save(photos / f"large-{seed}.jpg")
    with open_tiny(index) as library:
        library.index([photos])
    kept = tmp_path / "kept"
    server = serve(CLIPSEARCH_CACHE=str(kept))
    hits = json.loads(server.get("/api/search", k=100))["hits"]

    def ask(id: int) -> None:
        with contextlib.suppress(OSError, HTTPException):  # none, or half an answer
            server.get(f"/api/photos/{id}/thumbnail", size=640)

    threads = [threading.Thread(target=ask, args=[hit["id"]]) for hit in hits]
    for thread in threads:
        thread.start()
    soon(lambda: len(list(kept.rglob("*.webp"))) >= 5)
    server.process.kill()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(list(kept.rglob("*.webp"))) < len(hits)
    for file in kept.rglob("*.webp"):
        Image.open(file).load()
    again = serve(CLIPSEARCH_CACHE=str(kept))
    for hit in hits:
        content = again.get(f"/api/photos/{hit['id']}/thumbnail", size=640)
        assert max(Image.open(BytesIO(content)).size) <= 640


def test_clients_that_send_slowly_or_hang_up_keep_nobody_waiting(
    indexed: Path, serve: Serve
) -> None:
    server = serve()
    slow = []
    for number in range(50):
        client = socket.create_connection(("127.0.0.1", server.port))
        head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 + number}\r\n"
        client.sendall(head.encode() + (b"\r\nhalf" if number % 2 else b""))
        slow.append(client)
    for number in range(50):
        gone = socket.create_connection(("127.0.0.1", server.port))
        path = ("/api/search?q=boat", "/api/photos/1/original", "/api/photos/1/thumbnail")
        gone.sendall(f"GET {path[number % 3]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        gone.close()
    assert json.loads(server.get("/api/status", timeout=300))["photos"] == 12
    assert len(json.loads(server.get("/api/search", k=5))["hits"]) == 5
    for client in slow:
        client.close()
    assert server.stopped(signal.SIGTERM) == (0, "")


# The description of the API


def test_the_api_is_as_it_is_described(indexed: Path, serve: Serve) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    address = serve().address
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    tried = 0
    for operation in schema.get_all_operations():
        if operation.ok().path == "/api/v1/events":  # which has no end
            continue

        @settings(
            max_examples=25, deadline=None, phases=[Phase.generate], database=None,
            derandomize=True, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.ok().as_strategy(), data=st.data())
        def check(case: Any, data: Any) -> None:
            nonlocal tried
            tried += 1
            answer = case.call(base_url=address, timeout=DEADLINE)
            assert answer.status_code < 500, (case, answer.text)
            # Not every text is a date or a place, which no schema can tell.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        check()
    assert tried >= 150

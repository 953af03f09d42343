"""Questions of several parts, pictures that are asked with, and regions of them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from tiny import TinyEncoder, open_tiny

from clipsearch import InvalidInput, Library
from clipsearch.search.pictures import parse_region
from clipsearch.search.question import Term, combine, parse_question


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a black cat on a couch", [Term("a black cat on a couch")]),
        ("horse + 2*stripes - fence", [Term("horse"), Term("stripes", 2), Term("fence", -1)]),
        ("- people + beach", [Term("people", -1), Term("beach")]),
        ("+ beach", [Term("beach")]),
        ("  + beach  \t -  people ", [Term("beach"), Term("people", -1)]),
        ("a" + " " * 200_000 + "b", [Term("a" + " " * 200_000 + "b")]),  # which took minutes
        ("beach - 0.5 * people", [Term("beach"), Term("people", -0.5)]),
        ("a t-shirt with C++ on it", [Term("a t-shirt with C++ on it")]),
        (
            '"rock - paper" + 3*"a * b"',
            [Term("rock - paper", quoted=("rock - paper",)), Term("a * b", 3, quoted=("a * b",))],
        ),
        ("cat + ./pool.jpg", [Term("cat"), Term("./pool.jpg", 1, True)]),
        ("2*~/pool.jpg - /a b/c.png", [Term("~/pool.jpg", 2, True), Term("/a b/c.png", -1, True)]),
        ("C:\\photos\\pool.jpg", [Term("C:\\photos\\pool.jpg", 1, True)]),
        ("https://example.org/a.jpg", [Term("https://example.org/a.jpg", 1, True)]),
        ("day/night", [Term("day/night")]),
        ("1e1*dog", [Term("dog", 10)]),
    ],
)
def test_a_question_is_taken_apart(text: str, terms: list[Term]) -> None:
    assert parse_question(text) == terms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the query is empty"),
        (" \n", "the query is empty"),
        ("dog + ", "a part of the query is empty"),
        ("dog +  + cat", "a part of the query is empty"),
        ("2*", "a part of the query is empty: '2*'"),
        ('""', "a part of the query is empty"),
        ("many*dogs", "'many' is no weight"),
        ("nan*dogs", "'nan' is no weight"),
        ("inf*dogs", "'inf' is no weight"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_question(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_are_added_with_their_weights_and_scores_stay_cosines() -> None:
    axes = dict(zip("abc", np.eye(3, dtype=np.float32), strict=True))
    vector = combine([Term("a", 3), Term("b", -4)], lambda term: axes[str(term.content)])
    assert vector.dtype == np.float32
    assert vector == pytest.approx([0.6, -0.8, 0])


def test_parts_that_cancel_out_are_refused() -> None:
    axes = dict(zip("abc", np.eye(3, dtype=np.float32), strict=True))
    for terms in ([Term("a"), Term("a", -1)], [Term("a", 0)]):
        with pytest.raises(InvalidInput, match="cancel out"):
            combine(terms, lambda term: axes[str(term.content)])


# Asked of a library


@pytest.fixture
def library(photos: Path, index: Path) -> Iterator[Library]:
    with open_tiny(index) as library:
        library.index([photos])
        yield library


def stored(image: object = None, **options: object) -> bytes:
    file = io.BytesIO()
    picture(3).save(file, "PNG", **options)
    return file.getvalue()


def test_a_picture_alone_finds_itself_and_a_minus_drives_it_away(
    library: Library, photos: Path
) -> None:
    first = library.query(images=[photos / "03.jpg"])[0]
    assert (first.path, round(first.score, 3)) == (photos / "03.jpg", 1)
    last = library.query(minus=[str(photos / "03.jpg")], k=12)[-1]
    assert (last.path, round(last.score, 3)) == (photos / "03.jpg", -1)


def test_two_pictures_find_both_first_and_a_weight_decides_between_them(
    library: Library, photos: Path
) -> None:
    one, other = photos / "03.jpg", photos / "trip" / "09.jpg"
    assert {hit.path for hit in library.query(images=[one, other], k=2)} == {one, other}
    assert library.query(f"{one} + 3*{other}", k=1)[0].path == other
    assert library.query(f"3*{one} + {other}", k=1)[0].path == one


def test_the_weight_of_pictures_is_against_words(library: Library, photos: Path) -> None:
    encoder = TinyEncoder()
    words = encoder.encode_texts(["zebra"])[0]
    seen = encoder.encode_images(encoder.prepare(picture(3))[None])[0]
    for weight in (0.25, 4.0):
        vector = words + weight * seen
        vector /= np.linalg.norm(vector)
        hit = library.query("zebra", images=[picture(3)], image_weight=weight, k=12)[0]
        own = encoder.encode_images(encoder.prepare(decoded(hit.path))[None])[0]
        assert hit.score == pytest.approx(float(vector @ own), abs=2e-3)


def decoded(path: Path) -> object:
    from clipsearch.photos.decoding.decode import decode, read_file

    return decode(read_file(path)).image


def test_a_weight_that_is_no_number_is_refused(library: Library, photos: Path) -> None:
    with pytest.raises(InvalidInput, match="is no weight"):
        library.query("dog", images=[photos / "03.jpg"], image_weight=float("nan"))


def test_a_picture_that_is_missing_or_broken_is_one_clear_line(
    library: Library, photos: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    for name in ("none.jpg", "broken.jpg"):
        with pytest.raises(InvalidInput, match=f"{name} cannot be used as a picture"):
            library.query("dog", images=[photos / name])


def test_a_picture_comes_through_stdin(clipsearch: Run, index: Path, photos: Path) -> None:
    # The tiny model's name in the catalog is pocket's, so the picture must be one that is indexed.
    with open_tiny(index) as library:
        library.index([photos])
    content = (photos / "03.jpg").read_bytes().decode("latin-1")
    for command in (("query", "--image", "-"), ("similar", "-")):
        done = clipsearch(*command, "-k", 1, input=content, encoding="latin-1")
        assert (done.stdout.split("\t")[2:], done.stderr) == ([f"{photos / '03.jpg'}\n"], "")
    done = clipsearch("similar", "-", input="")
    assert (done.returncode, done.stderr) == (
        2,
        "clipsearch: stdin holds no picture: it is empty\n",
    )


# From the web


@pytest.fixture
def site(photos: Path) -> Iterator[str]:
    """A web server on this machine; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = photos / self.path[1:]
            self.send_response(200 if file.is_file() else 404)
            self.end_headers()
            if file.is_file():
                self.wfile.write(file.read_bytes())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_picture_from_the_web_needs_permission(library: Library, photos: Path, site: str) -> None:
    url = f"{site}/03.jpg"
    for ask in (partial(library.query, images=[url]), partial(library.similar, url)):
        with pytest.raises(InvalidInput, match="nothing is fetched without allow_url"):
            ask()
        assert ask(allow_url=True)[0].path == photos / "03.jpg"
    assert library.query(f"dog + 50*{url}", allow_url=True)[0].path == photos / "03.jpg"


def test_what_the_web_does_not_have_is_one_clear_line(library: Library, site: str) -> None:
    for url in (f"{site}/none.jpg", "http://127.0.0.1:9/none.jpg"):
        with pytest.raises(InvalidInput, match=r"none.jpg could not be fetched: \S+"):
            library.similar(url, allow_url=True)


# Regions


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two of the photos side by side, each 320 pixels wide, and lying: EXIF turns them upright."""
    from PIL import ExifTags, Image

    both = Image.new("RGB", (640, 240))
    both.paste(picture(3), (0, 0))
    both.paste(picture(9), (320, 0))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    both.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "pair.png", exif=exif)
    return tmp_path / "pair.png"


@pytest.mark.parametrize(
    ("region", "name"),
    [
        ("0,0,320,240", "03.jpg"),
        ("320,0,320,240", "trip/09.jpg"),
        ("0%,0%,50%,100%", "03.jpg"),
        ("50%, 0%, 50%, 100%", "trip/09.jpg"),
    ],
)
def test_a_region_finds_what_that_part_shows(
    library: Library, photos: Path, pair: Path, region: str, name: str
) -> None:
    hit = library.similar(pair, k=1, region=region)[0]
    assert hit.path == photos / name
    assert hit.score > 0.99
    assert library.similar(pair, k=1)[0].score < 0.9


@pytest.mark.parametrize("region", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5", "-1,0,9,9", "1%,2,3,4"])
def test_a_region_that_is_none_is_refused(region: str) -> None:
    with pytest.raises(InvalidInput, match="write x,y,width,height"):
        parse_region(region)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("600,0,41,240", "reaches beyond the picture, which is 640x240"),
        ("0,0,100,241", "reaches beyond the picture"),
        ("60%,0%,50%,100%", "reaches beyond the picture"),
        ("0,0,0,10", "holds not one pixel"),
    ],
)
def test_a_region_outside_the_picture_is_refused(
    library: Library, pair: Path, region: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        library.similar(pair, region=region)

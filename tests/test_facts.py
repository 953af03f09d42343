"""A photo's EXIF tells when, where and with what it was taken; broken EXIF tells nothing."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from clipsearch.photos.decoding.decode import decode, exif_of
from clipsearch.photos.facts.exposure import Exposure, read_exposure
from clipsearch.photos.facts.facts import Facts

TAG, GPS = ExifTags.Base, ExifTags.GPS
WHEN = "2024:05:06 07:08:09"


def facts(
    base: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
    format: str = "JPEG",
) -> Facts:
    exif = Image.Exif()
    exif.update(base or {})
    exif.get_ifd(ExifTags.IFD.Exif).update(details or {})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    return decode(stored(exif.tobytes(), format)).facts


def stored(exif: bytes, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, format, exif=exif)
    return file.getvalue()


def place(latitude: Any, longitude: Any, north: str = "N", east: str = "E") -> Facts:
    return facts(
        gps={
            GPS.GPSLatitudeRef: north,
            GPS.GPSLatitude: latitude,
            GPS.GPSLongitudeRef: east,
            GPS.GPSLongitude: longitude,
        }
    )


def test_a_plain_png_tells_its_size_alone() -> None:
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, "PNG")
    assert decode(file.getvalue()).facts == Facts(width=60, height=40)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_every_format_with_exif_tells_the_facts(format: str) -> None:
    told = facts({TAG.Model: "X100"}, {TAG.DateTimeOriginal: WHEN}, format=format)
    assert (told.camera, told.taken_at) == ("X100", "2024-05-06T07:08:09")


# When


def test_the_time_has_no_offset_where_the_camera_wrote_none() -> None:
    assert facts(details={TAG.DateTimeOriginal: WHEN}).taken_at == "2024-05-06T07:08:09"


@pytest.mark.parametrize("offset", ["+02:00", "-09:30", "+00:00"])
def test_the_time_has_the_offset_that_the_camera_wrote(offset: str) -> None:
    told = facts(details={TAG.DateTimeOriginal: WHEN, TAG.OffsetTimeOriginal: offset})
    assert told.taken_at == f"2024-05-06T07:08:09{offset}"


@pytest.mark.parametrize(
    ("written", "offset", "when"),
    [
        ("2007/06/30 18:45:17", "", "2007-06-30T18:45:17"),
        ("2007.06.30 18.45.17", "", "2007-06-30T18:45:17"),
        ("2024-05-31T12:30:45", "", "2024-05-31T12:30:45"),
        ("2024:05:31 12:30", "", "2024-05-31T12:30:00"),
        ("2024:05:31  9:05:03", "", "2024-05-31T09:05:03"),
        ("2024:05:31 9 : 5: 3", "", "2024-05-31T09:05:03"),
        ("2024:05:31 09:05:03 PM", "", "2024-05-31T21:05:03"),
        ("2024:05:31 24:00:00", "", "2024-06-01T00:00:00"),
        ("2016:12:31 23:59:60", "", "2016-12-31T23:59:59"),
        ("2024:05:31 12:30:45.678", "", "2024-05-31T12:30:45"),
        ("2024:05:31   :  :  ", "", "2024-05-31T00:00:00"),
        ("2024:05:31:12:30:45", "", "2024-05-31T12:30:45"),
        ("2024:05:31_12:30:45", "", "2024-05-31T12:30:45"),
        ("2024:05:", "", "2024-05-01T00:00:00"),
        ("2025:01:14 18:31:30+0000", "", "2025-01-14T18:31:30+00:00"),
        ("2025:01:14 18:31:30Z", "", "2025-01-14T18:31:30+00:00"),
        ("2025:01:14 18:31:30Z", "+02:00", "2025-01-14T18:31:30+02:00"),
        ("2025:01:14 18:31:30", "+0530", "2025-01-14T18:31:30+05:30"),
        ("2025:01:14 18:31:30", "Z", "2025-01-14T18:31:30+00:00"),
    ],
)
def test_a_time_is_read_as_cameras_write_it(written: str, offset: str, when: str) -> None:
    told = facts(details={TAG.DateTimeOriginal: written, TAG.OffsetTimeOriginal: offset})
    assert (told.taken_at, told.taken_from) == (when, "exif")


@pytest.mark.parametrize("offset", ["", "   :  ", "CET", "+2", "0", "+99:99", "+14:30", "-03:75"])
def test_an_offset_that_is_none_is_left_out(offset: str) -> None:
    told = facts(details={TAG.DateTimeOriginal: WHEN, TAG.OffsetTimeOriginal: offset})
    assert told.taken_at == "2024-05-06T07:08:09"


@pytest.mark.parametrize(
    "unset",
    [
        "0000:00:00 00:00:00", "    :  :     :  :  ", "2024:13:01 00:00:00",
        "2024:02:30 00:00:00", "2024:01:01 24:61:00", "yesterday", "",
        "2024 Jane Doe", "2024:05 foo", "2024\u5e745\u670831\u65e5 12:30:45",
    ],
)  # fmt: skip
def test_a_clock_that_was_never_set_gives_no_time(unset: str) -> None:
    assert facts(details={TAG.DateTimeOriginal: unset}).taken_at is None


def test_the_next_best_time_is_taken_where_the_first_is_unset() -> None:
    unset = "0000:00:00 00:00:00"
    digitized = facts(details={TAG.DateTimeOriginal: unset, TAG.DateTimeDigitized: WHEN})
    changed = facts({TAG.DateTime: WHEN}, {TAG.DateTimeOriginal: unset})
    assert digitized.taken_at == changed.taken_at == "2024-05-06T07:08:09"


def test_the_time_of_taking_goes_before_the_time_of_change() -> None:
    told = facts({TAG.DateTime: "2025:01:01 00:00:00"}, {TAG.DateTimeOriginal: WHEN})
    assert told.taken_at == "2024-05-06T07:08:09"


def test_the_time_says_that_it_is_from_exif() -> None:
    assert facts(details={TAG.DateTimeOriginal: WHEN}).taken_from == "exif"
    assert facts({TAG.Model: "X100"}).taken_from is None  # the catalog adds the file's time


# With what


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("SONY", "ILCE-7M4", "SONY ILCE-7M4"),
        ("canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Apple", None, "Apple"),
        (None, "X100", "X100"),
        ("  Apple  ", " iPhone 15\0\0", "Apple iPhone 15"),
        ("   ", "\0", None),
        (None, None, None),
    ],
)
def test_a_camera_is_named_without_saying_its_make_twice(
    make: str | None, model: str | None, camera: str | None
) -> None:
    given = {TAG.Make: make, TAG.Model: model}
    assert facts({tag: value for tag, value in given.items() if value}).camera == camera


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_camera_is_read_in_both_ways_of_writing_it(encoding: str) -> None:
    assert facts({TAG.Model: "Caméra É1".encode(encoding)}).camera == "Caméra É1"
    assert facts({TAG.Model: "ЗЕНИТ-122".encode()}).camera == "ЗЕНИТ-122"


@pytest.mark.parametrize(
    ("written", "lens"), [("EF50mm f/1.8 STM", "EF50mm f/1.8 STM"), (" \0", None), (None, None)]
)
def test_a_lens_is_named_as_exif_names_it(written: str | None, lens: str | None) -> None:
    assert facts(details={TAG.LensModel: written} if written else {}).lens == lens


def test_a_long_name_is_cut() -> None:
    assert len(facts({TAG.Model: "x" * 9000}).camera or "") == 2000


# Where


@pytest.mark.parametrize(
    ("north", "east", "expected"),
    [
        ("N", "E", (46.5, 7.25)), ("S", "E", (-46.5, 7.25)), ("N", "W", (46.5, -7.25)),
        ("S", "W", (-46.5, -7.25)), ("s", "w", (-46.5, -7.25)),
    ],
)  # fmt: skip
def test_south_and_west_are_negative(north: str, east: str, expected: tuple[float, float]) -> None:
    told = place((46.0, 30.0, 0.0), (7.0, 15.0, 0.0), north, east)
    assert (told.latitude, told.longitude) == pytest.approx(expected)


def test_seconds_of_arc_count() -> None:
    told = place((51.0, 28.0, 40.12), (0.0, 0.0, 5.31), "N", "W")
    assert (told.latitude, told.longitude) == pytest.approx((51.4778111, -0.001475), abs=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        (IFDRational(46, 0), IFDRational(30, 0), IFDRational(0, 0)),
        (46.0, IFDRational(30, 0), 0.0),
        (46.0, 75.0, 0.0),
        (46.0, 30.0, 0.0, 0.0),
        (91.0, 0.0, 0.0),
        (90.0, 0.0, 1.0),
        (4_000_000_000.0, 0.0, 0.0),
    ],
    ids=str,
)
def test_a_broken_place_is_no_place(broken: Any) -> None:
    told = place(broken, (7.0, 15.0, 0.0))
    assert (told.latitude, told.longitude) == (None, None)


@pytest.mark.parametrize("text", [b"46N\0", b"465\0", b"1 2\0"])
def test_a_place_written_as_text_is_no_place(text: bytes) -> None:
    told = decode(stored(exif_with_latitude_as_text(text))).facts
    assert (told.latitude, told.longitude) == (None, None)


def exif_with_latitude_as_text(text: bytes) -> bytes:
    exif = Image.Exif()
    exif[TAG.Model] = "X100"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {GPS.GPSLatitude: (46.0, 30.0, 0.0), GPS.GPSLongitude: (7.0, 15.0, 0.0)}
    )
    # Pillow writes three rationals alone; the entry is changed to four letters in its place.
    as_rationals, as_text = struct.pack(">HHL", 2, 5, 3), struct.pack(">HHL", 2, 2, 4) + text
    before, after = exif.tobytes().split(as_rationals)
    return before + as_text + after[4:]


def test_half_a_place_is_no_place() -> None:
    told = facts(gps={GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (46.0, 30.0, 0.0)})
    assert (told.latitude, told.longitude) == (None, None)


def test_a_broken_place_does_not_cost_the_other_facts() -> None:
    assert decode(stored(exif_with_latitude_as_text(b"46N\0"))).facts.camera == "X100"


@pytest.mark.parametrize(
    ("written", "latitude"),
    [
        ((IFDRational(48), IFDRational(515022, 10000), IFDRational(0, 0)), 48.85837),
        ((46.0, 30.0), 46.5),
        ((46.5,), 46.5),
        (46.5, 46.5),
        ((IFDRational(465, 10), IFDRational(0, 0), IFDRational(0, 0)), 46.5),
        ((90.0, 0.0, 0.0108), 90.0),
    ],
    ids=str,
)
def test_a_place_is_read_in_every_form_that_says_one(written: Any, latitude: float) -> None:
    told = place(written, (7.0, 15.0, 0.0))
    assert (told.latitude, told.longitude) == pytest.approx((latitude, 7.25))


@pytest.mark.parametrize(
    ("north", "east", "expected"),
    [("South", "West", (-46.5, -7.25)), ("", "", (46.5, 7.25)), ("?", "E", (None, None))],
)
def test_a_direction_may_be_a_word_or_nothing(north: str, east: str, expected: Any) -> None:
    told = place((46.0, 30.0, 0.0), (7.0, 15.0, 0.0), north, east)
    assert (told.latitude, told.longitude) == expected


def test_where_a_receiver_did_not_find_itself_is_no_place() -> None:
    told = place((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert (told.latitude, told.longitude) == (None, None)
    angle = {GPS.GPSLatitude: (12.0,) * 3, GPS.GPSLongitude: (12.0,) * 3}
    for status, latitude in (("V", None), ("v", None), ("A", 12.2033333)):
        assert facts(gps={**angle, GPS.GPSStatus: status}).latitude == latitude


# In XMP


def xmp(**properties: str) -> bytes:
    spaces = {
        "exif": "http://ns.adobe.com/exif/1.0/", "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
    }  # fmt: skip
    declared = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in spaces.items())
    written = " ".join(f'{key.replace("_", ":")}="{text}"' for key, text in properties.items())
    file = io.BytesIO()
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description {declared} {written}/></rdf:RDF></x:xmpmeta>"
    )
    Image.new("RGB", (60, 40)).save(file, "JPEG", xmp=packet.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("properties", "when"),
    [
        ({"photoshop_DateCreated": "1987-06-05T04:03:02"}, "1987-06-05T04:03:02"),
        ({"exif_DateTimeOriginal": "1987-06-05T04:03:02.5Z"}, "1987-06-05T04:03:02+00:00"),
        ({"xmp_CreateDate": "1987-06-05T04:03+02:00"}, "1987-06-05T04:03:00+02:00"),
        ({"xmp_CreateDate": "2024", "photoshop_DateCreated": "1987"}, "1987-01-01T00:00:00"),
        ({"photoshop_DateCreated": "", "xmp_CreateDate": "1987-06"}, "1987-06-01T00:00:00"),
    ],
)
def test_the_time_of_xmp_is_taken_where_exif_has_none(
    properties: dict[str, str], when: str
) -> None:
    told = decode(xmp(**properties)).facts
    assert (told.taken_at, told.taken_from) == (when, "xmp")


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ("48,51.5022N", "2,17.6688W", (48.85837, -2.29448)),
        ("33,51,24.5S", "151,12,54E", (-33.8568056, 151.215)),
        ("48,51.5022", "2,17.6688E", (None, None)),
        ("", "2,17.6688E", (None, None)),
        ("0,0.0N", "0,0.0E", (None, None)),
    ],
)
def test_the_place_of_xmp_is_taken_where_exif_has_none(
    latitude: str, longitude: str, expected: Any
) -> None:
    told = decode(xmp(exif_GPSLatitude=latitude, exif_GPSLongitude=longitude)).facts
    assert (told.latitude, told.longitude) == expected


# How large


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_the_size_of_a_photo_that_was_held_level_is_as_stored(orientation: int) -> None:
    told = facts({TAG.Orientation: orientation})
    assert (told.width, told.height) == (60, 40)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_of_a_photo_that_was_held_sideways_is_as_the_eye_sees_it(
    format: str, orientation: int
) -> None:
    told = facts({TAG.Orientation: orientation}, format=format)
    assert (told.width, told.height, told.orientation) == (40, 60, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_unknown(orientation: int) -> None:
    told = facts({TAG.Orientation: orientation})
    assert (told.width, told.height, told.orientation) == (60, 40, None)


# The exposure, which is read when somebody looks


def exposure(details: dict[int, Any]) -> Exposure:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(details)
    return read_exposure(exif_of(stored(exif.tobytes())))


def test_the_exposure_is_told() -> None:
    told = exposure(
        {
            TAG.ExposureTime: IFDRational(1, 250), TAG.FNumber: IFDRational(28, 10),
            TAG.ISOSpeedRatings: 400, TAG.FocalLength: IFDRational(23),
            TAG.FocalLengthIn35mmFilm: 35,
        }
    )  # fmt: skip
    assert told == Exposure(0.004, 2.8, 400, 23.0, 35.0)


def test_the_exposure_is_told_in_steps_of_a_camera_that_writes_no_more() -> None:
    told = exposure({TAG.ShutterSpeedValue: IFDRational(8), TAG.ApertureValue: IFDRational(4)})
    assert told == Exposure(exposure_time=round(1 / 256, 6), aperture=4.0)


def test_numbers_that_no_camera_has_tell_no_exposure() -> None:
    told = exposure(
        {
            TAG.ExposureTime: IFDRational(0, 0), TAG.FNumber: IFDRational(0, 1),
            TAG.ISOSpeedRatings: 0, TAG.FocalLength: "long", TAG.ApertureValue: IFDRational(90),
        }
    )  # fmt: skip
    assert told == Exposure()
    assert read_exposure(exif_of(stored(b"Exif\0\0broken"))) == Exposure()

"""What owners wrote elsewhere: in a photo's file by any program, and in files beside photos."""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest
from conftest import picture
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from tiny import open_tiny

from clipsearch import Library
from clipsearch.errors import InvalidInput, PhotoError
from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.facts.facts import Facts, Person
from clipsearch.photos.facts.picasa import read_picasa, with_picasa
from clipsearch.photos.facts.sidecars import with_sidecar
from clipsearch.photos.scanning.beside import sidecars_of
from clipsearch.photos.scanning.listing import Found

TAG = ExifTags.Base

NAMES = """xmlns:x="adobe:ns:meta/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:darktable="http://darktable.sf.net/"
 xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
 xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
 xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
 xmlns:MP="http://ns.microsoft.com/photo/1.2/"
 xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"
 xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#" """

# As digiKam and Lightroom write a face: elements in one, attributes in the other.
DIGIKAM_FACE = """<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>
 <rdf:li><rdf:Description mwg-rs:Name="Zoë" mwg-rs:Type="Face"><mwg-rs:Area stArea:x="0.3"
 stArea:y="0.4" stArea:w="0.2" stArea:h="0.4" stArea:unit="normalized"/></rdf:Description></rdf:li>
</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"""
LIGHTROOM_FACES = """<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>
 <rdf:li rdf:parseType="Resource"><mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.3</stArea:x>
 <stArea:y>0.4</stArea:y><stArea:w>0.2</stArea:w><stArea:h>0.4</stArea:h></mwg-rs:Area>
 <mwg-rs:Type>Face</mwg-rs:Type><mwg-rs:Name>Zoë</mwg-rs:Name></rdf:li>
 <rdf:li rdf:parseType="Resource"><mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.5</stArea:x>
 <stArea:y>0.5</stArea:y><stArea:w>0.1</stArea:w><stArea:h>0.1</stArea:h></mwg-rs:Area>
 <mwg-rs:Type>Focus</mwg-rs:Type></rdf:li>
</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"""
MICROSOFT_FACE = """<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>
 <rdf:li MPReg:PersonDisplayName="Zoë" MPReg:Rectangle="0.2, 0.2, 0.2, 0.4"/>
</rdf:Bag></MPRI:Regions></MP:RegionInfo>"""
FACE = (0.2, 0.2, 0.2, 0.4)


def bag(name: str, *values: str, kind: str = "Bag") -> str:
    items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def packet(inner: str = "", attributes: str = "") -> bytes:
    return (
        f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta {NAMES}><rdf:RDF>'
        f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def jpeg(seed: int = 1, exif: dict[int, Any] | None = None, **options: Any) -> bytes:
    block = Image.Exif()
    for tag, value in (exif or {}).items():
        part = block.get_ifd(ExifTags.IFD.Exif) if tag == TAG.UserComment else block
        part[tag] = value
    file = io.BytesIO()
    picture(seed, (60, 40)).save(file, "JPEG", exif=block, **options)
    return file.getvalue()


def told(inner: str = "", attributes: str = "", **exif: Any) -> Facts:
    return decode(jpeg(xmp=packet(inner, attributes), **exif)).facts


# In the file


@pytest.mark.parametrize("face", [DIGIKAM_FACE, LIGHTROOM_FACES, MICROSOFT_FACE])
def test_faces_are_read_as_each_program_writes_them(face: str) -> None:
    assert told(face).people == (Person("Zoë", FACE),)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_face_lies_on_the_picture_that_the_eye_sees(orientation: int) -> None:
    (zoe,) = told(DIGIKAM_FACE, exif={TAG.Orientation: orientation}).people
    x, y, w, h = zoe.box or ()
    stored = Image.new("RGB", (100, 50))
    stored.paste("white", (20, 10, 40, 30))
    block = Image.Exif()
    block[TAG.Orientation] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=block)
    upright = decode(file.getvalue()).image
    across, down = upright.size
    box = (round(x * across), round(y * down), round((x + w) * across), round((y + h) * down))
    assert upright.getbbox() == box


def test_people_are_named_once_and_those_without_a_face_too() -> None:
    listed = bag("Iptc4xmpExt:PersonInImage", "Zoë", "Ann Lee", "")
    people = told(DIGIKAM_FACE + MICROSOFT_FACE + listed).people
    assert people == (Person("Zoë", FACE), Person("Ann Lee"))


@pytest.mark.parametrize("numbers", ["nan,0,1,1", "2,2,1,1", "0,0,0,1", "a,b,c,d", "1,2", ""])
def test_a_face_that_is_nowhere_leaves_its_name(numbers: str) -> None:
    face = MICROSOFT_FACE.replace("0.2, 0.2, 0.2, 0.4", numbers)
    assert told(face).people == (Person("Zoë"),)


def test_a_face_beyond_the_edge_ends_there() -> None:
    face = MICROSOFT_FACE.replace("0.2, 0.2, 0.2, 0.4", "-0.1, 0.8, 0.3, 0.4")
    assert told(face).people == (Person("Zoë", (0.0, 0.8, 0.2, 0.2)),)


def test_keywords_of_all_lists_come_once() -> None:
    lists = [
        bag("dc:subject", "Lisbon", "boat"),
        bag("lr:hierarchicalSubject", "Places|Portugal|Lisbon", "boat"),
        bag("digiKam:TagsList", "Places/Portugal/Lisbon", "People/Zoë", kind="Seq"),
        bag("MicrosoftPhoto:LastKeywordXMP", "boat/sailing"),
    ]
    assert told("".join(lists)).keywords == (
        "Lisbon", "boat", "Places", "Portugal", "People", "Zoë", "sailing",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "stars"),
    [
        ('xmp:Rating="4"', 4), ('xmp:Rating="-1"', -1), ('xmp:Rating="0"', None),
        ('xmp:Rating="7"', 5), ('xmp:Rating="many"', None), ('MicrosoftPhoto:Rating="75"', 4),
        ('MicrosoftPhoto:Rating="99"', 5), ('MicrosoftPhoto:Rating="1"', 1), ("", None),
        ('xmp:Rating="nan"', None), ('xmp:Rating="inf"', 5),
    ],
)  # fmt: skip
def test_stars(attributes: str, stars: int | None) -> None:
    assert told(attributes=attributes).rating == stars


def test_windows_stars_are_in_exif() -> None:
    assert decode(jpeg(exif={0x4746: 3})).facts.rating == 3


def test_a_label_and_a_place_in_words() -> None:
    facts = told(
        attributes='xmp:Label="Red" Iptc4xmpCore:Location="Alfama" photoshop:City="Lisbon"'
        ' photoshop:Country="Portugal"'
    )
    assert (facts.label, facts.location) == ("Red", "Alfama, Lisbon, Portugal")
    shown = """<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource">
      <Iptc4xmpExt:City>Lisbon</Iptc4xmpExt:City><Iptc4xmpExt:CountryName>Portugal
      </Iptc4xmpExt:CountryName></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>"""
    assert told(shown).location == "Lisbon, Portugal"


def test_a_headline_is_the_title_where_there_is_none() -> None:
    assert told(attributes='photoshop:Headline="At sea"').title == "At sea"
    both = told(bag("dc:title", "Zoë", kind="Alt"), 'photoshop:Headline="At sea"')
    assert both.title == "Zoë"


def test_what_windows_writes_into_exif() -> None:
    facts = decode(
        jpeg(
            exif={
                TAG.XPTitle: "Zoë at sea\0".encode("utf-16-le"),
                TAG.XPComment: "Em Lisboa\0".encode("utf-16-le"),
                TAG.XPKeywords: "boat;日本; \0".encode("utf-16-le"),
            }
        )
    ).facts
    assert (facts.title, facts.caption, facts.keywords) == (
        "Zoë at sea",
        "Em Lisboa",
        ("boat", "日本"),
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"ASCII\0\0\0Screenshot", "Screenshot"),
        (b"UNICODE\0" + "Zoë 日本".encode("utf-16-le"), "Zoë 日本"),
        (b"UNICODE\0" + "Zoë 日本".encode("utf-16-be"), "Zoë 日本"),
        (b"UNICODE\0" + "日本".encode("utf-16"), "日本"),
        (b"JIS\0\0\0\0\0" + "日本".encode("iso2022_jp"), "日本"),
        (b"\0\0\0\0\0\0\0\0" + "Zoë".encode(), "Zoë"),
        (b"\0\0\0\0\0\0\0\0" + "Zoë".encode("cp1252"), "Zoë"),
        (b"ASCII\0\0\0" + b" " * 30, None),
        (b"ASCII\0\0\0", None),
        (b"A boat", "A boat"),  # as some write it
    ],
)
def test_a_comment_in_any_of_its_encodings(written: bytes, text: str | None) -> None:
    assert decode(jpeg(exif={TAG.UserComment: written})).facts.caption == text


def test_what_cameras_write_into_every_file_is_no_caption() -> None:
    assert decode(jpeg(exif={TAG.ImageDescription: "A boat"})).facts.caption == "A boat"
    for name in ("OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "Exif_JPEG_PICTURE", "   "):
        assert decode(jpeg(exif={TAG.ImageDescription: name})).facts.caption is None, name


IPTC = b"\x1c\x01\x5a\0\x03\x1b%G" + b"".join(
    b"\x1c\x02" + bytes([key]) + len(text).to_bytes(2) + text
    for key, text in ((5, "Zoë".encode()), (90, b"Lisbon"), (101, b"Portugal"), (25, b"boat"))
)


@pytest.mark.parametrize("is_resource", [True, False])
def test_iptc_in_a_png_as_other_programs_write_it(is_resource: bool) -> None:
    block = b"8BIM\x04\x04\0\0" + len(IPTC).to_bytes(4) + IPTC if is_resource else IPTC
    for profile in (f"\niptc\n {len(block)}\n{block.hex()}\n", "\niptc\n 9\nno hex", "", "\n"):
        chunks = PngInfo()
        chunks.add_text("Raw profile type iptc", profile, zip=True)
        file = io.BytesIO()
        picture(1, (60, 40)).save(file, "PNG", pnginfo=chunks)
        facts = decode(file.getvalue()).facts
        told = (facts.title, facts.location, facts.keywords)
        is_whole = block.hex() in profile
        assert told == (("Zoë", "Lisbon, Portugal", ("boat",)) if is_whole else (None, None, ()))


def box(id: str, block: bytes) -> bytes:
    return (24 + len(block)).to_bytes(4) + b"uuid" + bytes.fromhex(id) + block


def test_the_boxes_of_jpeg_2000() -> None:
    file = io.BytesIO()
    picture(1, (60, 40)).save(file, "JPEG2000")
    exif = Image.Exif()
    exif[TAG.Model] = "X100"
    boxes = [
        box("4a706754696666457869662d3e4a5032", exif.tobytes().removeprefix(b"Exif\0\0")),
        box("be7acfcb97a942e89c71999491e3afac", packet(DIGIKAM_FACE)),
        box("33c7a4d2b81d4723a0baf1a3e097ad38", IPTC),
    ]
    facts = decode(file.getvalue() + b"".join(boxes)).facts
    assert (facts.camera, facts.people, facts.title) == ("X100", (Person("Zoë", FACE),), "Zoë")
    for broken in (b"\0\0\0\x01uuid", b"\0\0\0\x02uuid", b"\xff" * 40, boxes[0][:30], b"\0" * 9):
        with suppress(PhotoError):
            assert decode(file.getvalue() + broken).facts == Facts(60, 40)


# Files beside photos: which belong to which

TAKEOUT = [
    ("IMG.JPG", "IMG.JPG.json"), ("IMG.JPG", "IMG.JPG.supplemental-metadata.json"),
    ("IMG.JPG", "IMG.JPG.supplemental-meta.json"), ("IMG(1).JPG", "IMG.JPG(1).json"),
    ("IMG(1).JPG", "IMG.JPG.supplemental-metadata(1).json"), ("IMG-edited.JPG", "IMG.JPG.json"),
    ("IMG-edited(1).JPG", "IMG.JPG(1).json"), ("IMG(1).JPG", "IMG(1).JPG.json"),
    ("Screenshot_20210304-121314_Some Browser App.jpg",
     "Screenshot_20210304-121314_Some Browser App.jp.json"),
    ("a photo with a name that is longer than it allo.jpg",
     "a photo with a name that is longer than it all.json"),
    ("PXL_20230102_030405678.PORTRAIT-01.COVER.jpg",
     "PXL_20230102_030405678.PORTRAIT-01.COVER.jpg.s.json"),
]  # fmt: skip


def found(*names: str) -> list[Found]:
    return [Found(f"trip/{name}", 1, 1) for name in names]


@pytest.mark.parametrize(("photo", "beside"), TAKEOUT)
def test_takeouts_names(photo: str, beside: str) -> None:
    others = found("OTHER.JPG.json", "IMG.JPGX.json", "metadata.json", "print-subscriptions.json")
    pairs = sidecars_of(found(photo, "IM.JPG"), [*others, *found(beside)])
    assert {path: [it.path for it in own] for path, own in pairs.items()} == {
        f"trip/{photo}": [f"trip/{beside}"]
    }


def test_names_of_editors_and_which_counts_more() -> None:
    photos = found("a.CR2", "a.jpg", "b.jpg", "c.jpg")
    beside = found("a.xmp", "a.jpg.XMP", "b.jpg.json", "B.xmp", "d.xmp")
    pairs = sidecars_of(photos, beside)
    names = {path[5:]: [it.path[5:] for it in own] for path, own in pairs.items()}
    assert names == {
        "a.CR2": ["a.xmp"], "a.jpg": ["a.xmp", "a.jpg.XMP"], "b.jpg": ["b.jpg.json", "B.xmp"],
    }  # fmt: skip


# What they tell

FULL = packet(
    bag("dc:title", "At sea", kind="Alt") + bag("dc:subject", "boat") + DIGIKAM_FACE,
    'xmp:Rating="5" xmp:Label="Green" photoshop:City="Lisbon"'
    ' exif:DateTimeOriginal="2019-07-04T10:00:00" exif:GPSLatitude="38,42.5N"'
    ' exif:GPSLongitude="9,8.5W"',
)
JSON = {
    "title": "a.jpg", "description": "At sea", "photoTakenTime": {"timestamp": "1562234400"},
    "geoData": {"latitude": 38.7, "longitude": -9.14, "altitude": 0.0},
    "people": [{"name": "Zoë"}],
}  # fmt: skip


def test_xmp_beside_a_photo_counts_more_than_what_is_in_it() -> None:
    inside = Facts(60, 40, taken_at="2018-01-01T00:00:00", taken_from="exif", title="old")
    facts = with_sidecar(inside, "a.xmp", FULL)
    assert (facts.title, facts.keywords, facts.rating, facts.label) == (
        "At sea",
        ("boat",),
        5,
        "Green",
    )
    assert (facts.taken_at, facts.taken_from) == ("2019-07-04T10:00:00", "xmp")
    assert (facts.location, facts.people) == ("Lisbon", (Person("Zoë", FACE),))
    assert (facts.latitude, facts.longitude) == pytest.approx((38.7083333, -9.1416667))
    assert with_sidecar(inside, "a.xmp", packet()) == inside


def test_takeout_tells_what_is_not_in_the_photo() -> None:
    content = json.dumps(JSON).encode()
    facts = with_sidecar(Facts(60, 40), "a.jpg.json", content)
    assert (facts.taken_at, facts.taken_from) == ("2019-07-04T10:00:00+00:00", "sidecar")
    assert (facts.caption, facts.latitude, facts.longitude) == ("At sea", 38.7, -9.14)
    assert (facts.title, facts.people) == (None, (Person("Zoë"),))
    inside = Facts(
        60, 40, "2018-01-01T00:00:00", latitude=1.0, longitude=2.0, taken_from="exif",
        caption="mine", people=(Person("Zoë", FACE),),
    )  # fmt: skip
    assert with_sidecar(inside, "a.jpg.json", content) == inside


@pytest.mark.parametrize(
    "wrong",
    [
        {"photoTakenTime": {"timestamp": "9" * 40}}, {"photoTakenTime": 3}, {"people": 5},
        {"people": [3, {"name": 4}]}, {"geoData": {"latitude": "x", "longitude": None}},
        {"geoData": {"latitude": 1e999, "longitude": 5}}, {"geoData": [1]}, {"description": {}},
        {"geoData": {"latitude": 0.0, "longitude": 0.0}}, {},
    ],
)  # fmt: skip
def test_odd_values_of_takeout_tell_nothing(wrong: dict[str, Any]) -> None:
    content = json.dumps(wrong).encode()
    assert with_sidecar(Facts(60, 40), "a.json", content) == Facts(60, 40)


# Picasa's

INI = """[Picasa]
name=Lisbon
[01.jpg]
backuphash=35617
caption=At sea; 100% = all
keywords=boat,Sailing boat, boat,
star=yes
faces=rect64(3333333366669999),8e62398ebda8c1a5;rect64(9eb15e89b6b584c1),ffffffffffffffff
[Contacts2]
8e62398ebda8c1a5=Zoë;;
[03.jpg]
star=no
"""


def picasa(content: str | bytes, photo: str = "01.jpg", known: Facts | None = None) -> Facts:
    read = read_picasa(content.encode() if isinstance(content, str) else content)
    return with_picasa(known or Facts(60, 40), read.of(photo), lambda id: read.contacts.get(id))


def test_what_picasa_tells() -> None:
    facts = picasa(INI)
    assert (facts.caption, facts.keywords) == ("At sea; 100% = all", ("boat", "Sailing boat"))
    assert (facts.rating, facts.people) == (5, (Person("Zoë", FACE),))
    assert picasa(INI, "03.jpg") == picasa(INI, "04.jpg") == Facts(60, 40)
    assert picasa(INI, "01.JPG") == facts  # as Windows has it


@pytest.mark.parametrize("here", ["NFC", "NFD"])
@pytest.mark.parametrize("there", ["NFC", "NFD"])
def test_picasas_names_of_photos_have_accents_in_either_form(
    here: Literal["NFC", "NFD"], there: Literal["NFC", "NFD"]
) -> None:
    section = f"[{normalize(there, 'Zoë.JPG')}]\nstar=yes"
    assert picasa(section, normalize(here, "Zoë.jpg")).rating == 5


def test_picasa_fills_in_what_a_photo_lacks() -> None:
    known = Facts(
        60, 40, caption="mine", keywords=("pier",), rating=2,
        people=(Person("Ann Lee"), Person("Zoë")),
    )  # fmt: skip
    facts = picasa(INI, known=known)
    assert (facts.caption, facts.keywords, facts.rating) == ("mine", ("pier",), 2)
    assert facts.people == (Person("Ann Lee"), Person("Zoë", FACE))


@pytest.mark.parametrize(
    ("rectangle", "box"),
    [
        ("3333333366669999", FACE), ("0000333366669999", (0, 0.2, 0.4, 0.4)),
        ("333366669999", (0, 0.2, 0.4, 0.4)),  # without its zeros in front
        ("1999ffff", (0, 0, 0.1, 1)), ("6666333333339999", None), ("12345678123456789", None),
        ("", None), ("zz", None), ("-1", None),
    ],
)  # fmt: skip
def test_picasas_rectangles(rectangle: str, box: Any) -> None:
    (zoe,) = picasa(INI.replace("3333333366669999", rectangle)).people
    assert zoe.box == (None if box is None else pytest.approx(box, abs=1e-4))


def test_picasas_faces_lie_on_the_picture_that_the_eye_sees() -> None:
    turned = picasa(INI, known=Facts(40, 60, orientation=6))
    assert turned.people == told(DIGIKAM_FACE, exif={TAG.Orientation: 6}).people


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_picasas_encodings(encoding: str, end: str) -> None:
    facts = picasa(INI.replace("\n", end).encode(encoding))
    assert facts.people == (Person("Zoë", FACE),)


@pytest.mark.parametrize(
    "odd",
    [
        "", "[01.jpg]", "[01.jpg]\nstar", "[01.jpg]\nfaces=rect64(1),1", "[Contacts2]\nx\n=\ny=",
        "[01.jpg]\nfaces=rect64(" + "f" * 100_000, "[01.jpg]\ncaption=\0".replace("\0", " "),
        "[01.jpg]\nx" + " " * 1_000_000 + "y", "[01.jpg]\nfaces=" + "rect64(" * 100_000,
        "[DEFAULT]\nstar=yes\n[01.jpg]", "[01.jpg]\nkeywords=,,,\nstar=maybe",
    ],
)  # fmt: skip
def test_odd_files_of_picasa_tell_nothing(odd: str) -> None:
    assert picasa(odd) == Facts(60, 40)


def test_sections_and_keys_that_come_twice_are_one() -> None:
    facts = picasa("[01.jpg]\nstar=yes\ncaption=a\n[02.jpg]\n[01.jpg]\ncaption=b\ncaption=c\n")
    assert (facts.caption, facts.rating) == ("c", 5)


@pytest.mark.parametrize("name", [".picasa.ini", "Picasa.ini"])
def test_picasas_file_is_of_all_photos_of_its_folder(name: str) -> None:
    pairs = sidecars_of(found("a.jpg", "b.jpg"), found(name, "a.jpg.xmp", "b.jpg.json"))
    names = {path[5:]: [it.path[5:] for it in own] for path, own in pairs.items()}
    assert names == {"a.jpg": [name, "a.jpg.xmp"], "b.jpg": ["b.jpg.json", name]}


# In an index


def facts_in(index: Path, name: str) -> Facts:
    with open_tiny(index) as library:
        return next(it.facts for it in library.photos() if it.path.name == name)


@pytest.fixture
def trip(photos: Path) -> Path:
    return photos / "trip"


def run(index: Path, photos: Path) -> Any:
    with open_tiny(index) as library:
        return library.index([photos])


def test_files_beside_photos_come_change_and_go_without_embedding(
    index: Path, photos: Path
) -> None:
    beside = photos / "01.jpg.xmp"
    beside.write_bytes(FULL)
    assert run(index, photos).added == 12
    assert facts_in(index, "01.jpg").title == "At sea"
    with open_tiny(index) as library:
        assert [hit.path.name for hit in library.query('"boat"', hybrid=True)] == ["01.jpg"]
        assert [hit.path.name for hit in library.query('"Zoë"', hybrid=True)] == ["01.jpg"]
    report = run(index, photos)
    assert (report.updated, report.unchanged) == (0, 12)

    beside.write_bytes(FULL.replace(b"At sea", b"In port"))
    report = run(index, photos)
    assert (report.updated, report.unchanged, report.embedded) == (1, 11, 0)
    assert facts_in(index, "01.jpg").title == "In port"

    beside.unlink()
    report = run(index, photos)
    assert (report.updated, report.embedded) == (1, 0)
    alone = facts_in(index, "01.jpg")
    assert (alone.title, alone.keywords, alone.people, alone.rating) == (None, (), (), None)
    assert alone.taken_from in ("name", "file")
    with open_tiny(index) as library:
        assert library.query('"boat"', hybrid=True) == []


def test_a_photo_that_changes_keeps_what_is_beside_it(index: Path, photos: Path) -> None:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    run(index, photos)
    picture(99).save(photos / "01.jpg")
    assert run(index, photos).updated == 1
    assert facts_in(index, "01.jpg").title == "At sea"
    (photos / "01.jpg.xmp").unlink()
    run(index, photos)
    assert facts_in(index, "01.jpg").title is None


def test_a_copy_has_its_own(index: Path, photos: Path) -> None:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    run(index, photos)
    shutil.copy(photos / "01.jpg", photos / "copy.jpg")
    assert run(index, photos).added == 1
    assert facts_in(index, "copy.jpg").title is None
    assert facts_in(index, "01.jpg").title == "At sea"


def test_a_photo_that_moves_is_as_what_lies_beside_it_there(index: Path, photos: Path) -> None:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    run(index, photos)
    (photos / "new").mkdir()
    (photos / "01.jpg").rename(photos / "new" / "01.jpg")
    assert run(index, photos).moved == 1
    assert facts_in(index, "01.jpg").title is None
    (photos / "01.jpg.xmp").rename(photos / "new" / "01.jpg.xmp")
    run(index, photos)
    assert facts_in(index, "01.jpg").title == "At sea"


def test_a_photo_that_comes_back_without_its_file_is_as_it_is_itself(
    index: Path, photos: Path
) -> None:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    run(index, photos)
    content = (photos / "01.jpg").read_bytes()
    (photos / "01.jpg").unlink()
    (photos / "01.jpg.xmp").unlink()
    assert run(index, photos).removed == 1
    (photos / "01.jpg").write_bytes(content)
    report = run(index, photos)
    assert (report.added, report.embedded) == (1, 0)
    assert facts_in(index, "01.jpg").title is None


@pytest.mark.parametrize("content", [b"", b"no XMP", b"\xff" * 100, b"x" * 5_000_000])
@pytest.mark.parametrize("name", ["01.jpg.xmp", "01.jpg.json"])
def test_one_that_cannot_be_understood_is_told_once(
    index: Path, photos: Path, content: bytes, name: str
) -> None:
    (photos / name).write_bytes(content)
    report = run(index, photos)
    assert report.added == 12
    (problem,) = report.problems
    assert problem.startswith(f"{photos / name}: it is ")
    assert problem.count(name) == 1
    assert facts_in(index, "01.jpg").title is None
    assert run(index, photos).problems == ()


def test_a_link_beside_a_photo_is_not_followed(index: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.xmp").write_bytes(FULL)
    (photos / "01.jpg.xmp").symlink_to(tmp_path / "secret.xmp")
    os.mkfifo(photos / "02.jpg.xmp")
    assert run(index, photos).added == 12
    assert facts_in(index, "01.jpg").title is None


def test_verify_reads_anew_and_keeps_what_is_beside(index: Path, photos: Path) -> None:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    run(index, photos)
    with open_tiny(index) as library:
        library.index([photos], verify=True)
    assert facts_in(index, "01.jpg").title == "At sea"


def test_picasas_file_comes_changes_and_goes_without_embedding(index: Path, photos: Path) -> None:
    run(index, photos)
    beside = photos / ".picasa.ini"
    beside.write_text(INI, "utf-8")
    report = run(index, photos)
    assert (report.updated, report.unchanged, report.embedded) == (1, 11, 0)
    with open_tiny(index) as library:
        assert [hit.path.name for hit in library.query('"sailing"', hybrid=True)] == ["01.jpg"]
        assert [it.path.name for it in library.photos(person="Zoë", min_rating=5)] == ["01.jpg"]
    assert run(index, photos).updated == 0

    beside.write_text(INI.replace("star=no", "star=yes"), "utf-8")
    report = run(index, photos)
    assert (report.updated, report.unchanged, report.embedded) == (1, 11, 0)  # of all that it told
    assert (facts_in(index, "03.jpg").rating, facts_in(index, "01.jpg").rating) == (5, 5)

    beside.unlink()
    report = run(index, photos)
    assert (report.updated, report.embedded) == (2, 0)
    assert (facts_in(index, "01.jpg").caption, facts_in(index, "01.jpg").people) == (None, ())


def test_a_contact_may_be_named_in_another_folder(index: Path, photos: Path) -> None:
    sections, contacts = INI.split("[Contacts2]")
    picture(52).save(photos / "Picasa.ini:x:y\nz.jpg")
    (photos / "Picasa.ini:x:y\nz.jpg.xmp").write_bytes(packet())
    (photos / ".picasa.ini").write_text(sections, "utf-8")
    (photos / "other").mkdir()
    picture(50).save(photos / "other" / "x.jpg")
    (photos / "other" / "Picasa.ini").write_text(f"[Contacts2]{contacts}", "utf-8")
    run(index, photos)
    assert facts_in(index, "01.jpg").people == (Person("Zoë", FACE),)
    # Also while only one of the folders is looked at.
    (photos / ".picasa.ini").write_text(sections.replace("At sea", "In port"), "utf-8")
    (photos / "new").mkdir()
    with open_tiny(index) as library:
        library.index([photos / "other"])
        (photos / "trip").mkdir(exist_ok=True)
        picture(51).save(photos / "trip" / "01.jpg")
        (photos / "trip" / ".picasa.ini").write_text(sections, "utf-8")
        library.index([photos / "trip"])
        (fresh,) = [it for it in library.photos() if it.path == photos / "trip" / "01.jpg"]
    assert fresh.facts.people == (Person("Zoë", FACE),)


@pytest.mark.parametrize("content", [b"no list", b"\0" * 100, b"\xff" * 100, b"x" * 5_000_000])
def test_picasas_file_that_cannot_be_understood_is_told_once(
    index: Path, photos: Path, content: bytes
) -> None:
    (photos / ".picasa.ini").write_bytes(content)
    report = run(index, photos)
    (problem,) = report.problems
    assert problem.startswith(f"{photos / '.picasa.ini'}: it is ")
    assert report.added == 12
    assert run(index, photos).problems == ()


def test_reading_many_tells_how_far_it_is(index: Path, tmp_path: Path) -> None:
    for number in range(501):
        (tmp_path / "many").mkdir(exist_ok=True)
        picture(number % 3, (8, 8)).save(tmp_path / "many" / f"{number}.jpg")
    run(index, tmp_path / "many")
    (tmp_path / "many" / ".picasa.ini").write_text("[1.jpg]\nstar=yes\n")
    told: list[tuple[int, int]] = []
    with open_tiny(index) as library:
        report = library.index(
            [tmp_path / "many"], progress=lambda done, total: told.append((done, total))
        )
    assert (report.updated, told) == (1, [(0, 501), (500, 501)])


# Filters


@pytest.fixture
def library(index: Path, photos: Path) -> Library:
    (photos / "01.jpg.xmp").write_bytes(FULL)
    (photos / "02.jpg.json").write_text(json.dumps(JSON | {"people": [{"name": "Ann Lee"}]}))
    (photos / "03.jpg").write_bytes(jpeg(7, xmp=packet(attributes='xmp:Rating="3"')))
    library = open_tiny(index)
    library.index([photos])
    return library


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"person": "Zoë"}, ["01.jpg"]), ({"person": "zoe"}, ["01.jpg"]),
        ({"person": "Lee"}, ["02.jpg"]), ({"person": "ann lee"}, ["02.jpg"]),
        ({"person": "An"}, []), ({"person": ["Zoë", "Ann"]}, []),
        ({"min_rating": 4}, ["01.jpg"]), ({"min_rating": 3}, ["01.jpg", "03.jpg"]),
        ({"has": "people"}, ["01.jpg", "02.jpg"]), ({"has": "rating"}, ["01.jpg", "03.jpg"]),
        ({"has": "place"}, ["01.jpg", "02.jpg"]), ({"near": "38.7,-9.14"}, ["01.jpg", "02.jpg"]),
        ({"since": "2019-07-04", "until": "2019-07-04"}, ["01.jpg", "02.jpg"]),
    ],
)  # fmt: skip
def test_filters(library: Library, filters: dict[str, Any], names: list[str]) -> None:
    with library:
        assert sorted(it.path.name for it in library.photos(**filters)) == names
        assert sorted(it.path.name for it in library.query("a dog", None, **filters)) == names
        assert library.count(**filters) == len(names)


def test_people_are_counted(library: Library) -> None:
    with library:
        assert library.facets().people == (("Ann Lee", 1), ("Zoë", 1))
        assert library.facets(min_rating=5).people == (("Zoë", 1),)


@pytest.mark.parametrize("filters", [{"person": " "}, {"min_rating": 0}, {"min_rating": 6}])
def test_filters_that_make_no_sense(library: Library, filters: dict[str, Any]) -> None:
    with library, pytest.raises(InvalidInput, match=r"person|min_rating"):
        library.photos(**filters)

"""Which facts that another program wrote into a photo are read: by clipsearch, and by Exiv2.

Exiv2 writes each fact into a picture of each format that it can write, alone and in one of EXIF,
IPTC and XMP. Then clipsearch decodes the picture, and Exiv2 opens it; a fact is right that comes
back as it was. Exiv2 gives tags, of which a program has yet to make facts: here its keys are asked
for one by one.

    pip install exiv2
    python scripts/compare_metadata.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import exiv2
from PIL import Image

from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.facts.facts import Facts

FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "jp2": "JPEG2000"}
LIST = "Xmp.mwg-rs.Regions/mwg-rs:RegionList"
REGION = f"{LIST}[1]"


class Fact(NamedTuple):
    """A fact, how it is written, and how it is read."""

    name: str
    tags: dict[str, str]
    told: Callable[[Facts], Any]
    wanted: Any


def title(facts: Facts) -> Any:
    return facts.title


def caption(facts: Facts) -> Any:
    return facts.caption


def keywords(facts: Facts) -> Any:
    return facts.keywords


FACTS = [
    Fact("title, XMP", {"Xmp.dc.title": "Zoë 日本"}, title, "Zoë 日本"),
    Fact("title, IPTC", {"Iptc.Application2.ObjectName": "Zoë 日本"}, title, "Zoë 日本"),
    Fact("caption, XMP", {"Xmp.dc.description": "Ærø"}, caption, "Ærø"),
    Fact("caption, IPTC", {"Iptc.Application2.Caption": "Ærø"}, caption, "Ærø"),
    Fact("caption, EXIF", {"Exif.Image.ImageDescription": "A boat"}, caption, "A boat"),
    Fact("comment, ASCII", {"Exif.Photo.UserComment": "charset=Ascii A boat"}, caption, "A boat"),
    Fact("comment, Unicode", {"Exif.Photo.UserComment": "charset=Unicode Zoë"}, caption, "Zoë"),
    Fact("keywords, XMP", {"Xmp.dc.subject": "boat"}, keywords, ("boat",)),
    Fact("keywords, IPTC", {"Iptc.Application2.Keywords": "boat"}, keywords, ("boat",)),
    Fact("keywords, digiKam", {"Xmp.digiKam.TagsList": "Places/Lisbon"}, keywords,
         ("Places", "Lisbon")),
    Fact("keywords, Lightroom", {"Xmp.lr.hierarchicalSubject": "Places|Lisbon"}, keywords,
         ("Places", "Lisbon")),
    Fact("people, list", {"Xmp.iptcExt.PersonInImage": "Zoë"},
         lambda it: [person.name for person in it.people], ["Zoë"]),
    Fact("people, faces", {
        f"{REGION}/mwg-rs:Name": "Zoë", f"{REGION}/mwg-rs:Type": "Face",
        f"{REGION}/mwg-rs:Area/stArea:x": "0.5", f"{REGION}/mwg-rs:Area/stArea:y": "0.5",
        f"{REGION}/mwg-rs:Area/stArea:w": "0.5", f"{REGION}/mwg-rs:Area/stArea:h": "0.5",
    }, lambda it: [(person.name, person.box) for person in it.people],
        [("Zoë", (0.25, 0.25, 0.5, 0.5))]),
    Fact("stars, XMP", {"Xmp.xmp.Rating": "4"}, lambda it: it.rating, 4),
    Fact("stars, EXIF", {"Exif.Image.Rating": "4"}, lambda it: it.rating, 4),
    Fact("label", {"Xmp.xmp.Label": "Red"}, lambda it: it.label, "Red"),
    Fact("place, XMP", {"Xmp.photoshop.City": "Lisbon"}, lambda it: it.location, "Lisbon"),
    Fact("place, IPTC", {"Iptc.Application2.City": "Lisbon"}, lambda it: it.location, "Lisbon"),
    Fact("date, EXIF", {"Exif.Photo.DateTimeOriginal": "2019:07:04 10:00:00"},
         lambda it: it.taken_at, "2019-07-04T10:00:00"),
    Fact("date, XMP", {"Xmp.photoshop.DateCreated": "2019-07-04T10:00:00"},
         lambda it: it.taken_at, "2019-07-04T10:00:00"),
    Fact("coordinates, EXIF", {
        "Exif.GPSInfo.GPSLatitudeRef": "S", "Exif.GPSInfo.GPSLatitude": "38/1 30/1 0/1",
        "Exif.GPSInfo.GPSLongitudeRef": "W", "Exif.GPSInfo.GPSLongitude": "9/1 15/1 0/1",
    }, lambda it: (it.latitude, it.longitude), (-38.5, -9.25)),
    Fact("coordinates, XMP", {
        "Xmp.exif.GPSLatitude": "38,30.0S", "Xmp.exif.GPSLongitude": "9,15.0W",
    }, lambda it: (it.latitude, it.longitude), (-38.5, -9.25)),
]  # fmt: skip


def main() -> None:
    print(f"Exiv2 {exiv2.version()}; right by clipsearch / by Exiv2, - where it cannot be written")
    print(f"| fact | {' | '.join(FORMATS)} |\n|---|{'---|' * len(FORMATS)}")
    with tempfile.TemporaryDirectory() as scratch:
        for fact in FACTS:
            cells = (read(fact, Path(scratch) / f"photo.{ending}") for ending in FORMATS)
            print(f"| {fact.name} | {' | '.join(cells)} |")


def read(fact: Fact, file: Path) -> str:
    Image.new("RGB", (60, 40)).save(file, FORMATS[file.suffix[1:]])
    try:
        write(fact, file)
    except exiv2.Exiv2Error:
        return "-"
    ours = fact.told(decode(file.read_bytes()).facts) == fact.wanted
    return f"{'yes' if ours else 'no'} / {'yes' if has(fact, file) else 'no'}"


def write(fact: Fact, file: Path) -> None:
    image = exiv2.ImageFactory.open(str(file))
    image.readMetadata()
    for key in fact.tags:
        if key.startswith(REGION):  # a list must be one before something is in it
            array = exiv2.XmpTextValue()
            array.setXmpArrayType(exiv2.XmpValue.XmpArrayType.xaBag)
            image.xmpData()[LIST] = array
    for key, text in fact.tags.items():
        data_of(image, key)[key] = text
    if any(key.startswith("Iptc") for key in fact.tags):
        image.iptcData()["Iptc.Envelope.CharacterSet"] = "\x1b%G"
    image.writeMetadata()


def has(fact: Fact, file: Path) -> bool:
    image = exiv2.ImageFactory.open(str(file))
    image.readMetadata()
    return all(
        any(it.key() == key and text.split(" ")[-1] in it.toString() for it in data_of(image, key))
        for key, text in fact.tags.items()
    )


def data_of(image: Any, key: str) -> Any:
    return {"Exif": image.exifData, "Iptc": image.iptcData, "Xmp": image.xmpData}[
        key.partition(".")[0]
    ]()


if __name__ == "__main__":
    main()

"""Titles, captions and keywords come from XMP, else from IPTC; broken ones tell nothing."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image, PngImagePlugin

from clipsearch.photos.decoding.decode import decode, take_over_pillow
from clipsearch.photos.facts.captions import LONGEST
from clipsearch.photos.facts.facts import Facts, with_file_time

ADOBE = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description>{}</rdf:Description></rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
TITLE = "<dc:title><rdf:Alt>{}</rdf:Alt></dc:title>"
CAPTION = "<dc:description><rdf:Alt>{}</rdf:Alt></dc:description>"
KEYWORDS = "<dc:subject><rdf:Bag>{}</rdf:Bag></dc:subject>"


@pytest.fixture(autouse=True)
def pillow_as_the_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    take_over_pillow()


def xmp(title: str = "", caption: str = "", keywords: tuple[str, ...] = ()) -> bytes:
    parts = [TITLE.format(item(title)), CAPTION.format(item(caption))]
    return ADOBE.format("".join(parts) + KEYWORDS.format("".join(map(item, keywords)))).encode()


def item(text: str) -> str:
    return f"<rdf:li>{text}</rdf:li>"


def iptc(*records: tuple[int, bytes]) -> bytes:
    """A JPEG's application segment with IPTC records, as Photoshop writes it."""
    told = b"".join(
        b"\x1c\x02" + struct.pack(">BH", tag, len(text)) + text for tag, text in records
    )
    block = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(told)) + told + b"\0" * (len(told) % 2)
    body = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def jpeg(segment: bytes = b"", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, "JPEG", **options)
    content = file.getvalue()
    return content[:2] + segment + content[2:]


def facts(content: bytes) -> Facts:
    told = decode(content).facts
    assert (told.width, told.height) == (60, 40)
    return told


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
def test_every_format_with_xmp_tells_its_words(format: str) -> None:
    packet, file = xmp("Zoë", "At sea", ("boat", "日本")), io.BytesIO()
    if format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        picture(1, (60, 40)).save(file, format, pnginfo=chunks)
    elif format == "TIFF":
        picture(1, (60, 40)).save(file, format, tiffinfo={700: packet})
    else:
        picture(1, (60, 40)).save(file, format, xmp=packet)
    told = facts(file.getvalue())
    assert (told.title, told.caption, told.keywords) == ("Zoë", "At sea", ("boat", "日本"))


def test_iptc_tells_its_words() -> None:
    told = facts(jpeg(iptc((5, b"Title"), (120, b"Caption"), (25, b"one"), (25, b"two"))))
    assert (told.title, told.caption, told.keywords) == ("Title", "Caption", ("one", "two"))


def test_one_keyword_is_a_keyword_too() -> None:
    assert facts(jpeg(iptc((25, b"alone")))).keywords == ("alone",)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_iptc_is_read_in_both_of_its_encodings(encoding: str) -> None:
    assert facts(jpeg(iptc((5, "Zoë".encode(encoding))))).title == "Zoë"


def test_xmp_goes_before_iptc_one_by_one() -> None:
    content = jpeg(iptc((5, b"old"), (120, b"kept"), (25, b"old")), xmp=xmp("new", "", ("new",)))
    told = facts(content)
    assert (told.title, told.caption, told.keywords) == ("new", "kept", ("new",))


def test_the_default_language_goes_first() -> None:
    titles = '<rdf:li xml:lang="de">Hund</rdf:li><rdf:li xml:lang="x-default">dog</rdf:li>'
    assert facts(jpeg(xmp=ADOBE.format(TITLE.format(titles)).encode())).title == "dog"


def test_words_are_bounded_and_keywords_are_named_once() -> None:
    words = tuple(f"k{n}" for n in range(1000))
    told = facts(jpeg(iptc(*[(25, b"twice")] * 2)))
    assert told.keywords == ("twice",)
    told = facts(jpeg(xmp=xmp("x" * 9000, "y", words)))
    assert (len(told.title or ""), told.caption, len(told.keywords)) == (LONGEST, "y", 200)


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><x>&a9;</x>'


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"\0", b"<", b"no xml", b"<a><b></a>", b"\xff\xfe", b"\xff\xfe<\0", bytes(999),
        xmp("cut")[:230], xmp("&#0;"), xmp("&#xd800;"), BOMB.encode(),
        b"<a>" * 20_000, b"<a>" * 9_000 + b"</a>" * 9_000,
        ADOBE.format(TITLE.format("")).encode(), ADOBE.format("<dc:title/>").encode(),
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
    ids=lambda packet: repr(packet[:12]),
)  # fmt: skip
def test_broken_xmp_tells_nothing(packet: bytes) -> None:
    told = facts(jpeg(xmp=packet))
    assert (told.title, told.caption, told.keywords) == (None, None, ())


WORDS = xmp("Tom", "At sea", ("boat", "fish"))
PLAIN = WORDS.decode().partition("?>")[2].strip()


@pytest.mark.parametrize(
    "packet",
    [
        WORDS + b"<old></old>", b"\x01\x02<junk>" + WORDS, WORDS + WORDS, WORDS + b"\0\0<",
        WORDS.replace(b"<rdf:Description>", b'<rdf:Description photoshop:Credit="me" a:b="c">'),
        WORDS.replace(b' xmlns:dc="http://purl.org/dc/elements/1.1/"', b""),
        WORDS.replace(b"Tom", b"T\x01o\x1fm"), WORDS.replace(b"</rdf:Bag>", b""),
        WORDS.replace(b"Tom</rdf:li>", b"Tom</b></rdf:li>"), WORDS[: WORDS.index(b"</rdf:Bag>")],
        WORDS.replace(b"<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">", b""),
        WORDS.replace(b"<dc:title>", b"<!-- <dc:title> & --><dc:title>"), b"\xef\xbb\xbf" + WORDS,
        WORDS.decode().encode("utf-16"), PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"), WORDS.decode().encode("utf-32"),
    ],
    ids=range(17),
)  # fmt: skip
def test_xmp_that_is_not_quite_right_tells_what_can_be_read(packet: bytes) -> None:
    told = facts(jpeg(xmp=packet))
    assert (told.title, told.caption, told.keywords) == ("Tom", "At sea", ("boat", "fish"))


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Tom & Jerry", "Tom & Jerry"), ("Q&A; and <3 &amp; more", "Q&A; and <3 & more"),
        ("Caf&eacute; &#233; &#xE9; &", "Café é é &"), ("R&D &notes", "R&D &notes"),
        ("<![CDATA[Tom & Jerry]]></b>", "Tom & Jerry"),
    ],
)  # fmt: skip
def test_signs_that_xml_has_for_itself_are_read_as_they_were_meant(
    written: str, title: str
) -> None:
    assert facts(jpeg(xmp=xmp(written, "&"))).title == title


@pytest.mark.parametrize("packet", [PLAIN, xmp("Zo\u00e9", "\u30c8\u30e0").decode()])
def test_xmp_that_is_not_utf_8_all_through_is_read_as_latin_1_there(packet: str) -> None:
    written = packet.replace("Tom", "Zo\u00e9").encode().replace(b"Zo\xc3\xa9", b"Zo\xe9")
    told = facts(jpeg(xmp=written))
    assert (told.title, told.caption) in {("Zo\u00e9", "At sea"), ("Zo\u00e9", "\u30c8\u30e0")}


def test_what_the_end_cuts_off_is_left_out() -> None:
    told = facts(jpeg(xmp=WORDS[: WORDS.index(b"ish")]))
    assert (told.title, told.keywords) == ("Tom", ("boat",))


def test_broken_xmp_of_any_size_is_read_in_a_moment() -> None:
    for part in (b"<a ", b"<a>x</b>", b"<!--", b"<a b='", b'<a b="', b"a" * 9, b"<a:b ", b"&a"):
        packet = b"<x " + part * (3_000_000 // len(part))
        file = io.BytesIO()
        Image.new("RGB", (60, 40)).save(file, "TIFF", tiffinfo={700: packet})
        assert facts(file.getvalue()).title is None


def test_nothing_is_cut_without_a_mark() -> None:
    told = facts(jpeg(xmp=xmp("x" * 7999, "y" * 8001, ("k" * 201, *map(str, range(300))))))
    assert told.title == "x" * 7999
    assert (len(told.caption or ""), (told.caption or "")[-2:]) == (LONGEST, "y…")
    assert (len(told.keywords), told.keywords[0][-2:], told.keywords[-1]) == (200, "k…", "…")


@pytest.mark.parametrize(
    ("sets", "encoding", "title"),
    [
        ((), "cp1252", "“Zoë”"), ((b"\x1b%G",), "utf-8", "“Zoë”"),
        ((b"\x1b-L",), "iso8859-5", "Зоя"),
        ((b"\x1b-A",), "latin-1", "Zoë"), ((b"\x1b%G",), "latin-1", "Zoë"),
    ],
)  # fmt: skip
def test_iptc_is_read_in_the_characters_that_it_names(
    sets: tuple[bytes, ...], encoding: str, title: str
) -> None:
    named = [b"\x1c\x01" + struct.pack(">BH", 90, len(one)) + one for one in sets]
    record = b"".join(named) + b"\x1c\x02" + struct.pack(">BH", 5, len(title.encode(encoding)))
    record += title.encode(encoding)
    block = (
        b"8BIM\x04\x04\0\0" + struct.pack(">L", len(record)) + record + b"\0" * (len(record) % 2)
    )
    body = b"Photoshop 3.0\0" + block
    assert facts(jpeg(b"\xff\xed" + struct.pack(">H", len(body) + 2) + body)).title == title


def test_xmp_with_a_document_type_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    assert facts(jpeg(xmp=entity.encode() + xmp("&e;"))).title is None


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_broken_iptc_does_not_cost_the_picture(cut: int) -> None:
    segment = bytearray(iptc((5, b"Title"), (120, b"Caption"), (25, b"one")))
    segment[18 + cut :] = b"\xff" * len(segment[18 + cut :])
    told = decode(jpeg(bytes(segment))).facts
    assert told.width == 60


# The time of the file


def test_the_time_of_exif_stays() -> None:
    told = Facts(taken_at="2024-05-06T07:08:09", taken_from="exif")
    assert with_file_time(told, 10**18) == told


def test_without_exif_the_time_of_the_file_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = with_file_time(Facts(), 1_000_000_000_999_999_999)
    assert told.taken_from == "file"
    assert told.taken_at is not None
    assert told.taken_at[:8] == "2001-09-"  # the 8th or 9th, by where this runs
    assert told.taken_at[-6] in "+-"


def test_a_later_time_of_the_file_replaces_the_former() -> None:
    first = with_file_time(Facts(), 0)
    assert with_file_time(first, 10**18).taken_at != first.taken_at


@pytest.mark.parametrize("mtime_ns", [10**30, -(10**30)])
def test_a_time_that_no_calendar_has_is_unknown(mtime_ns: int) -> None:
    assert with_file_time(Facts(), mtime_ns) == Facts()

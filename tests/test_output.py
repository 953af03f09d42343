"""How answers are given: text, CSV, paths, pages, pictures in the terminal, links."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import pytest
from conftest import picture
from PIL import Image
from tiny import open_tiny

ASKED = "asked <&> with.jpg"
NAMES = [b"plain.jpg", b"caf\xe9.jpg", b"two\nlines.jpg", b"<b>\"&'.jpg", "日本の写真.jpg".encode()]
LONG = b"a folder with a name " + b"that goes on " * 8
KITTY = b"\x1b_Gi=1;OK\x1b\\"
SIXEL = b"\x1b[?62;4c"
NOTHING = b"\x1b[?62c"

Done = subprocess.CompletedProcess[bytes]


class Place(NamedTuple):
    index: Path
    photos: Path

    def paths(self) -> set[bytes]:
        """What `similar ASKED` is to find."""
        folder = os.fsencode(self.photos)
        return {folder + b"/" + name for name in [*NAMES, LONG + b"/turned.jpg"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An index of seven photos with awkward names; one of them is turned by EXIF."""
    there = tmp_path_factory.mktemp("output")
    folder = os.fsencode(there / "photos")
    os.makedirs(folder + b"/" + LONG)
    picture(0).save(there / "photos" / ASKED)
    for seed, name in enumerate(NAMES, 1):
        try:
            with open(folder + b"/" + name, "wb") as file:
                picture(seed).save(file, "JPEG")
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
    # Red above blue once it is upright.
    turned = Image.new("RGB", (1200, 1600), "red")
    turned.paste("blue", (600, 0, 1200, 1600))
    exif = Image.Exif()
    exif[0x0112] = 6
    with open(folder + b"/" + LONG + b"/turned.jpg", "wb") as file:
        turned.save(file, "JPEG", exif=exif)
    with open_tiny(there / "index") as library:
        library.index([there / "photos"])
    return Place(there / "index", there / "photos")


def command(place: Place, *options: str | Path, listing: bool = False) -> list[str]:
    """Asks with an indexed photo, whose vector is known: no model is loaded. Or lists all."""
    asked = ["ls"] if listing else ["similar", str(place.photos / ASKED)]
    given = ("--index", place.index, *options)
    return [sys.executable, "-m", "clipsearch", *asked, *map(str, given)]


def ask(place: Place, *options: str | Path, **environment: str) -> Done:
    return subprocess.run(
        command(place, *options), env=os.environ | environment, capture_output=True, check=False
    )


def on_terminal(
    place: Place,
    *options: str,
    answer: bytes = NOTHING,
    columns: int = 100,
    listing: bool = False,
    **environment: str,
) -> tuple[int, bytes]:
    """Exit code and all that reaches a terminal, which says what it is when it is asked."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    given = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command(place, *options, listing=listing),
        env=given | {"TERM": "xterm-256color", "FORCE_HYPERLINK": "", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    screen = b""
    try:
        while part := os.read(ours, 65536):
            screen += part
            if part.endswith(b"\x1b[c"):
                os.write(ours, NOTHING if answer == KITTY else answer)
            elif b"a=q" in part and answer == KITTY:
                os.write(ours, answer)
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return process.wait(), screen


def without_codes(screen: bytes) -> list[str]:
    text = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", screen.decode())
    return text.splitlines()


# Text


def test_all_photos_can_be_asked_for(place: Place) -> None:
    with open_tiny(place.index) as library:
        everything = library.query("a dog", k=None)
        assert everything == library.query("a dog", k=1000)
        assert len(everything) == 7
        assert len(library.similar(place.photos / ASKED, k=None)) == 6
    assert ask(place, "-k", "all").stdout.count(b"\n") == 6
    wrong = ask(place, "-k", "some")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"neither a number nor all" in wrong.stderr


def test_the_json_of_many_is_one_array(place: Place) -> None:
    text = ask(place, "--json", "-k", "all").stdout.decode()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    assert {os.fsencode(hit["path"]) for hit in json.loads(text)} == place.paths()


def test_csv_holds_all_that_json_does(place: Place) -> None:
    text = ask(place, "--csv", LC_ALL="C", PYTHONUTF8="0").stdout.decode()
    assert text.count("\r\n") == 7
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    hits = json.loads(ask(place, "--json").stdout)
    for row, hit in zip(rows, hits, strict=True):
        escaped = hit["path"].encode("utf-8", "backslashreplace").decode()
        assert row == {
            key: "" if value is None else str(value)
            for key, value in (
                hit | {"keywords": "", "people": "", "lines": "", "path": escaped}
            ).items()
        }


def test_csv_joins_the_keywords(tmp_path: Path, index: Path) -> None:
    (tmp_path / "photos").mkdir()
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>sea</rdf:li>'
        "<rdf:li>red sky</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    picture(0).save(tmp_path / "photos" / ASKED)
    picture(1).save(tmp_path / "photos" / "1.jpg", xmp=xmp.encode())
    with open_tiny(index) as library:
        library.index([tmp_path / "photos"])
    (row,) = csv.DictReader(
        io.StringIO(ask(Place(index, tmp_path / "photos"), "--csv").stdout.decode())
    )
    assert row["keywords"] == "sea; red sky"


def test_no_cell_is_a_formula_of_a_spreadsheet(tmp_path: Path, index: Path) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x010F] = exif[0x0110] = '=HYPERLINK("http://evil.example")'
    picture(0).save(tmp_path / "photos" / ASKED)
    picture(1).save(tmp_path / "photos" / "1.jpg", exif=exif)
    with open_tiny(index) as library:
        library.index([tmp_path / "photos"])
    shown = ask(Place(index, tmp_path / "photos"), "--csv").stdout.decode()
    (row,) = csv.DictReader(io.StringIO(shown))
    assert row["camera"].startswith("'=HYPERLINK")
    assert float(row["score"]) <= 1  # a number is one, also below 0


def test_print0_gives_the_very_names(place: Place) -> None:
    for option in ("--print0", "-0"):
        *paths, end = ask(place, option).stdout.split(b"\0")
        assert end == b""
        assert set(paths) == place.paths()
        assert all(os.path.exists(path) for path in paths)


def test_paths_are_one_a_line(place: Place) -> None:
    lines = ask(place, "--paths", LC_ALL="C").stdout.splitlines()
    assert set(lines) == {path.replace(b"\n", b"\\x0a") for path in place.paths()}


@pytest.mark.parametrize(
    "options", [("--json", "--csv"), ("--paths", "-0"), ("--csv", "--paths"), ("--json", "-0")]
)
def test_two_forms_at_once_are_an_error_in_a_line(place: Place, options: tuple[str, str]) -> None:
    done = ask(place, *options)
    assert (done.returncode, done.stdout) == (2, b"")
    first, second = (option.replace("-0", "--print0") for option in options)
    assert done.stderr.decode() == (
        f"clipsearch: {first} and {second} exclude each other; choose one\n"
    )


@pytest.mark.parametrize("form", ["--csv", "--paths", "-0"])
def test_nothing_found_prints_nothing(index: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "photos").mkdir()
    picture(0).save(tmp_path / "photos" / ASKED)
    with open_tiny(index) as library:
        library.index([tmp_path / "photos"])
    page = tmp_path / "page.html"
    done = ask(Place(index, tmp_path / "photos"), form, "--sheet", page)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert not page.exists()


def test_why_nothing_was_found_is_told(index: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with open_tiny(index) as library:
        library.index([photos])
    assert list_photos(index) == b"clipsearch: the index holds no photos\n"
    picture(0).save(photos / ASKED)
    with open_tiny(index) as library:
        library.index([photos])
    assert list_photos(index, "--camera", "x") == b"clipsearch: no photo satisfies the filters\n"
    place = Place(index, photos)
    assert ask(place).stderr == b"clipsearch: the index holds no other photos\n"
    outside = ask(place, "--relevant", "--camera", "x").stderr
    assert outside == b"clipsearch: no photo satisfies the filters\n"


def list_photos(index: Path, *options: str) -> bytes:
    """What `clipsearch ls` says where it finds nothing."""
    done = subprocess.run(
        command(Place(index, index), *options, listing=True), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
    return done.stderr


def test_plain_text_needs_neither_rich_nor_pillow() -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from clipsearch.cli.output import Output, answer\n"
        "from clipsearch.photos.facts.facts import Facts\n"
        "from clipsearch.search.results import Hit\n"
        "hits = [Hit(Path('/photos/a.jpg'), 0.5, 1, Facts())]\n"
        "for form in ('json', 'csv', 'paths', 'print0', 'open'):\n"
        "    answer(hits, Output(**{form: form != 'open'}), 'a dog', 'nothing')\n"
        "sys.exit(', '.join({'rich', 'PIL'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert done.stdout.endswith(b"1\t0.5000\t/photos/a.jpg\n")


# On a terminal


def test_a_long_path_keeps_its_file_name_and_leads_to_the_file(place: Place) -> None:
    code, screen = on_terminal(place, columns=76)
    assert code == 0
    header, *lines = without_codes(screen)
    assert header.split() == ["rank", "score", "fit", "path"]
    assert len(lines) == 6
    assert all(len(line) <= 76 for line in lines)
    (line,) = (line for line in lines if line.endswith("/turned.jpg"))
    assert "…" in line
    links = re.findall(rb"\x1b\]8;;file://(/[^\x1b]*)\x1b\\", screen)
    assert {unquote_to_bytes(link) for link in links} == place.paths()


def test_a_name_too_long_even_alone_keeps_its_start_and_its_end(place: Place) -> None:
    _, screen = on_terminal(place, columns=14)
    assert any(line.endswith(" tur….jpg") for line in without_codes(screen))


def test_a_wide_terminal_shows_paths_whole(place: Place) -> None:
    _, screen = on_terminal(place, columns=1000)
    shown = {line.split(maxsplit=3)[3] for line in without_codes(screen)[1:]}
    escaped = {path.replace(b"\n", b"\\x0a").replace(b"\xe9.", b"\\xe9.") for path in place.paths()}
    assert {path.encode() for path in shown} == escaped


@pytest.mark.parametrize(
    ("environment", "linked"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "FORCE_HYPERLINK": "0"}, False),
        ({"TERM": "linux", "FORCE_HYPERLINK": "1"}, True),
    ],
)
def test_links_are_for_terminals_that_know_them(
    place: Place, environment: dict[str, str], linked: bool
) -> None:
    for form in ((), ("--paths",)):
        _, screen = on_terminal(place, *form, **environment)
        assert (b"\x1b" in screen) == linked


def test_listed_photos_lead_to_their_files(place: Place) -> None:
    code, screen = on_terminal(place, listing=True)
    assert code == 0
    links = re.findall(rb"\x1b\]8;[^;]*;file://(/[^\x1b]*)\x1b\\", screen)
    assert {unquote_to_bytes(link) for link in links} == place.paths() | {
        os.fsencode(place.photos / ASKED)
    }
    assert b"\x1b]8" not in on_terminal(place, listing=True, FORCE_HYPERLINK="0")[1]


def test_over_ssh_a_link_names_the_machine(place: Place) -> None:
    _, screen = on_terminal(place, SSH_CONNECTION="10.0.0.1 1 10.0.0.2 22")
    assert re.search(rb"\x1b\]8;;file://[^/\x1b]+/", screen)


def test_a_pipe_never_gets_links(place: Place) -> None:
    for form in ((), ("--paths",), ("--json",), ("--csv",)):
        assert b"\x1b" not in ask(place, *form, FORCE_HYPERLINK="1").stdout


# Pages


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.images: dict[str, Image.Image] = {}
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attributes}
        self.tags.add(tag)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            kind, _, data = given["src"].partition(",")
            assert kind == "data:image/jpeg;base64"
            self.images[given["alt"]] = Image.open(io.BytesIO(base64.b64decode(data)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_sheet_shows_the_photos_upright_and_small(place: Place, tmp_path: Path) -> None:
    done = ask(place, "--sheet", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == ask(place).stdout
    page = Page(tmp_path / "page.html")
    assert len(page.images) == 6
    assert all(image.height <= 320 and image.width <= 640 for image in page.images.values())
    turned = page.images["turned.jpg"]
    assert turned.width > turned.height
    top, bottom = (turned.getpixel((200, y)) for y in (40, turned.height - 40))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


def test_a_sheet_needs_nothing_but_itself(place: Place, tmp_path: Path) -> None:
    ask(place, "--sheet", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert not page.tags & {"script", "link", "iframe", "b"}
    assert "http:" not in (text := (tmp_path / "page.html").read_text("utf-8"))
    assert "https:" not in text
    assert "url(" not in text


def test_a_sheet_names_and_links_every_photo(place: Place, tmp_path: Path) -> None:
    ask(place, "--sheet", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert {unquote_to_bytes(link.removeprefix("file://")) for link in page.links} == place.paths()
    assert f"like {ASKED}" in page.texts
    for name in ("plain.jpg", "caf\\xe9.jpg", "two\\x0alines.jpg", "<b>\"&'.jpg", "日本の写真.jpg"):
        assert name in page.texts
    hits = json.loads(ask(place, "--json").stdout)
    shown = [text for text in page.texts if re.fullmatch(r"-?0\.\d{3} · \d+%", text)]
    assert shown == [f"{hit['score']:.3f} · {hit['relevance']:.0%}" for hit in hits]


def test_a_photo_that_is_gone_or_damaged_leaves_a_place(index: Path, photos: Path) -> None:
    with open_tiny(index) as library:
        library.index([photos])
        (photos / "00.jpg").rename(photos / ASKED)
        library.index()
    (photos / "01.jpg").unlink()
    (photos / "02.jpg").write_bytes(b"no picture")
    sheet = index.parent / "page.html"
    assert ask(Place(index, photos), "-k", "all", "--sheet", sheet).returncode == 0
    page = Page(sheet)
    assert len(page.images) == 9
    assert {"01.jpg", "02.jpg", "No such file or directory"} <= set(page.texts)


def test_a_photo_with_a_long_comment_is_on_the_sheet_without_it(index: Path, photos: Path) -> None:
    picture(50).save(photos / "said.gif", comment=bytes(70_000))  # longer than a JPEG's may be
    with open_tiny(index) as library:
        library.index([photos])
        (photos / "00.jpg").rename(photos / ASKED)
        library.index()
    sheet = index.parent / "page.html"
    done = ask(Place(index, photos), "-k", "all", "--sheet", sheet)
    assert done.returncode == 0, done.stderr
    assert "said.gif" in Page(sheet).images


def test_a_sheet_takes_the_place_of_an_older_one(place: Place, tmp_path: Path) -> None:
    (old := tmp_path / "old.html").write_text("old")
    (tmp_path / "link.html").symlink_to(old)
    ask(place, "--sheet", tmp_path / "link.html")
    assert Page(old).images
    assert sorted(os.listdir(tmp_path)) == ["link.html", "old.html"]
    assert (tmp_path / "link.html").is_symlink()


@pytest.mark.parametrize("where", ["missing/page.html", "."])
def test_a_sheet_that_cannot_be_written_is_told_first(
    place: Place, tmp_path: Path, where: str
) -> None:
    done = ask(place, "--sheet", tmp_path / where)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"clipsearch: --sheet: ")
    assert done.stderr.count(b"\n") == 1


def test_a_sheet_never_takes_the_place_of_what_is_no_page(place: Place, tmp_path: Path) -> None:
    photo = tmp_path / "only.jpg"
    photo.write_bytes(b"the only copy")
    (tmp_path / "link.html").symlink_to(photo)
    for name in ("only.jpg", "link.html"):
        done = ask(place, "--sheet", tmp_path / name)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"is there already and no web page; name another file\n" in done.stderr
    assert photo.read_bytes() == b"the only copy"
    for _ in range(2):  # a page of ours may have any name
        assert ask(place, "--sheet", tmp_path / "page").returncode == 0


# Pictures in the terminal


def test_a_preview_in_half_blocks_shows_the_photos_upright(place: Place) -> None:
    code, screen = on_terminal(place, "--preview", "-k", "all")
    assert code == 0
    text = "\n".join(without_codes(screen))
    for name in ("plain.jpg", "caf\\xe9.jpg", "two\\x0alines.jpg", "turned.jpg"):
        assert name in text
    cells = re.findall(rb"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m\xe2\x96\x80", screen)
    colours = [tuple(map(int, cell)) for cell in cells]
    reds = [at for at, (r, g, b, *_) in enumerate(colours) if r > 240 and g < 15 and b < 15]
    blues = [at for at, (r, g, b, *_) in enumerate(colours) if b > 240 and r < 15 and g < 15]
    assert len(reds) > 100
    assert len(blues) > 100
    assert max(reds) < min(blues)


@pytest.mark.parametrize(("answer", "start"), [(SIXEL, b"\x1bP0;0;0q"), (KITTY, b"\x1b_Gi=")])
def test_a_preview_uses_the_graphics_that_the_terminal_has(
    place: Place, answer: bytes, start: bytes
) -> None:
    code, screen = on_terminal(place, "--preview", "-k", "2", answer=answer)
    assert code == 0
    assert screen.count(start) >= 2
    assert "▀".encode() not in screen


def test_a_preview_needs_a_terminal(place: Place) -> None:
    done = ask(place, "--preview")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--preview shows photos in a terminal" in done.stderr


def test_a_preview_without_its_library_names_the_group(
    place: Place,
) -> None:
    program = (
        "import sys; sys.modules['textual_image'] = None\n"
        "from clipsearch.cli import main; sys.stderr = sys.stdout; main()"
    )
    ours, theirs = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-c", program, *command(place, "--preview")[3:]],
        stdin=theirs, stdout=theirs, stderr=theirs, check=False,
    )  # fmt: skip
    os.close(theirs)
    assert process.returncode == 2
    assert b"--preview needs: pip install 'clipsearch[preview]'" in os.read(ours, 65536)
    os.close(ours)


# The system's viewer


@pytest.fixture
def opener(tmp_path: Path) -> Path:
    """A folder with what opens files, on Linux and macOS: it writes down what it was given."""
    (folder := tmp_path / "bin").mkdir()
    for name in ("xdg-open", "open"):
        (folder / name).write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/opened"\n')
        (folder / name).chmod(0o755)
    return folder


def test_open_shows_the_first_photo(place: Place, tmp_path: Path, opener: Path) -> None:
    done = ask(place, "--open", "-0", PATH=f"{opener}:/bin:/usr/bin")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "opened").read_bytes() == done.stdout.split(b"\0")[0]


def test_open_shows_the_sheet_if_one_is_written(place: Place, tmp_path: Path, opener: Path) -> None:
    page = tmp_path / "page.html"
    ask(place, "--open", "--sheet", page, PATH=f"{opener}:/bin:/usr/bin")
    assert (tmp_path / "opened").read_text() == str(page)


def test_open_without_a_viewer_says_so(place: Place, tmp_path: Path, opener: Path) -> None:
    done = ask(place, "--open", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.match(rb"clipsearch: --open needs (xdg-)?open, which is not here", done.stderr)
    for program in opener.iterdir():
        program.write_text("#!/bin/sh\nexit 3\n")
    done = ask(place, "--open", PATH=f"{opener}:/bin:/usr/bin")
    assert done.returncode == 2
    assert b"found no program to show" in done.stderr
    assert done.stdout


def test_open_says_when_the_photo_is_gone(index: Path, photos: Path, opener: Path) -> None:
    (photos / "00.jpg").rename(photos / ASKED)
    with open_tiny(index) as library:
        library.index([photos])
    first = ask(Place(index, photos), "--paths", "-k", "1").stdout.decode().strip()
    Path(first).unlink()
    done = ask(Place(index, photos), "--open", PATH=f"{opener}:/bin:/usr/bin")
    assert done.returncode == 2
    assert b"is not there now" in done.stderr

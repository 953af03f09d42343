"""The text in photos: read once, kept with their contents, and found."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import written
from conftest import Run
from served import Serve
from test_docs import documented
from test_watch import eventually
from tiny import open_tiny
from written import WHITE

from clipsearch import InvalidInput, Library, Line, ModelError, Readings, ReadReport
from clipsearch.store.database import FILE_NAME

pytestmark = pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the group ocr")

MODEL = "PP-OCRv6"


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Four signs, a copy of one, and two pictures without text; their names do not tell."""
    folder = tmp_path / "signs"
    (folder / "old").mkdir(parents=True)
    written.sign("Hardware shop").save(folder / "0.png")
    written.sign("Wifi password: tango2024", size=40).save(folder / "1.png")
    written.sign("Emergency exit", colour=WHITE, on=written.noise(seed=3)).save(folder / "2.png")
    written.sign("Platform nine", tilt=10, at=(100, 100)).save(folder / "old" / "3.png")
    written.sign("Hardware shop").save(folder / "copy.png")
    for seed in (4, 5):
        written.noise((320, 240), seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def library(signs: Path, index: Path) -> Library:
    """An index of these, whose text is still to be read."""
    library = open_tiny(index)
    library.index([signs])
    return library


def stored(index: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(index / FILE_NAME) as db:
        return db.execute("SELECT digest, lines FROM readings").fetchall()


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


# Reading


def test_text_is_read_once_and_copies_share_it(library: Library, signs: Path, index: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = library.read_texts(progress=lambda *it: seen.append(it))
    assert (report.model, report.read, report.with_text, report.lines) == (MODEL, 6, 4, 4)
    assert (report.failed, report.left) == (0, 0)
    assert seen == [(0, 6), (4, 6), (6, 6)]
    again = library.read_texts()
    assert (again.read, len(stored(index))) == (0, 6), "what has no text is not read again"
    for name in ("0.png", "copy.png"):
        assert texts(library.lines(signs / name)) == ["Hardware shop"]
    assert library.lines(signs / "4.png") == []
    assert library.status().readings == {MODEL: Readings(read=6, with_text=4)}


def test_only_what_is_asked_for_is_read(library: Library, signs: Path) -> None:
    assert library.read_texts([signs / "old"]).read == 1
    with pytest.raises(InvalidInput):
        library.read_texts([signs.parent / "nowhere"])
    with pytest.raises(ModelError, match="reads no text"):
        library.read_texts(model="no-such")
    assert library.read_texts().read == 5


def test_a_stopped_run_keeps_what_is_done(library: Library, index: Path) -> None:
    asked = iter([False, True])
    report = library.read_texts(stopping=lambda: next(asked))
    assert (report.read, report.left) == (2, 4) == (len(stored(index)), 4)
    report = library.read_texts()
    assert (report.read, report.left, len(stored(index))) == (4, 0, 6)


def test_a_killed_run_keeps_what_is_done(library: Library, index: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "read", "--index", index]
    ) as process:
        deadline = time.monotonic() + 300
        while not stored(index) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    done = len(stored(index))
    assert done > 0
    assert library.read_texts().read == 6 - done


def test_what_cannot_be_read_is_told_and_left(
    library: Library, signs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (signs / "1.png").unlink()
    written.sign("Another").save(signs / "2.png")
    report = library.read_texts()
    assert (report.read, report.failed) == (4, 2)
    assert "text not read: 2 photos; the first is" in caplog.text


def test_text_survives_a_move_and_goes_with_its_photo(
    library: Library, signs: Path, index: Path
) -> None:
    library.read_texts()
    (signs / "1.png").rename(signs / "old" / "moved.png")
    library.index()
    assert library.read_texts().read == 0
    (hit,) = library.query('"tango2024"', hybrid=True)
    assert hit.path.name == "moved.png"
    library.forget(signs / "old", keep_for=30)
    assert library.query('"tango2024"', hybrid=True) == []
    assert library.status().readings == {MODEL: Readings(read=4, with_text=2)}
    assert len(stored(index)) == 6, "kept for when it comes back"
    library.index([signs / "old"])
    assert library.read_texts().read == 0
    assert len(library.query('"tango2024"', hybrid=True)) == 1
    library.forget(signs / "old", keep_for=0)
    assert len(stored(index)) == 4


def test_a_copy_of_the_index_has_the_text(library: Library, tmp_path: Path) -> None:
    library.read_texts()
    library.copy(tmp_path / "copy")
    with open_tiny(tmp_path / "copy") as copy:
        assert len(copy.query('"hardware shop"', hybrid=True)) == 2
        assert len(copy.photos(has=["text"])) == 5


def test_an_index_of_before_gets_the_tables(library: Library, index: Path) -> None:
    library.close()
    with sqlite3.connect(index / FILE_NAME) as db:
        db.executescript(
            "DROP TABLE readings; DELETE FROM columns; PRAGMA user_version = 16;"
            "DELETE FROM _sqlite_migrations WHERE name = 'm017_readings'"
        )
    with open_tiny(index) as opened:
        assert opened.photos(has=["text"]) == []
        assert opened.read_texts().with_text == 4
        assert len(opened.photos(has=["text"])) == 5


# Finding


def test_photos_with_text_can_be_chosen(library: Library) -> None:
    assert library.photos(has=["text"]) == []
    library.read_texts()
    assert {it.path.name for it in library.photos(has=["text"])} == {
        "0.png", "1.png", "2.png", "3.png", "copy.png"
    }  # fmt: skip


def test_words_that_were_read_are_found(library: Library) -> None:
    library.read_texts()
    assert {it.path.name for it in library.query('"hardware shop"', hybrid=True)} == {
        "0.png", "copy.png"
    }  # fmt: skip
    assert library.query("emergency exits", 1, hybrid=True)[0].path.name == "2.png"
    assert library.query('"shop hardware"', hybrid=True) == []


def test_it_is_said_which_line_has_the_words(library: Library, tmp_path: Path) -> None:
    written.receipt(1)[0].save(tmp_path / "signs" / "receipt.png")
    library.index()
    library.read_texts()
    own = written.receipt(1)[1]
    (hit,) = library.query(f'"{own}"', hybrid=True)
    assert texts(list(hit.lines)) == [f"Order: {own}"]
    told = hit.as_dict(1)["lines"]
    assert told[0].keys() == {"text", "certainty", "quad"}
    assert all(0 <= side <= 1 for corner in told[0]["quad"] for side in corner)
    assert library.query(own, 1, hybrid=False)[0].lines == ()
    (other,) = library.query("password", 1, hybrid=True)
    assert texts(list(other.lines)) == ["Wifi password: tango2024"]


def test_a_wrong_letter_in_a_long_word_is_forgiven_after_what_is_right(
    library: Library, signs: Path
) -> None:
    written.sign("Hardwane store").save(signs / "misread.png")
    library.index()
    library.read_texts()
    for question in ("hardware", '"hardware"'):
        found = [hit for hit in library.query(question, hybrid=True) if hit.written]
        assert [hit.path.name for hit in found][2:] == ["misread.png"]
        assert [hit.written for hit in found] == [1, 1, 0.5]
        assert texts(list(found[2].lines)) == ["Hardwane store"]
    for asked in ("hardwar shop", "hardwarre shop", "hardware shopp", "Handware Shop"):
        names = {hit.path.name for hit in library.query(f'"{asked}"', hybrid=True)}
        assert names == ({"0.png", "copy.png"} if "shopp" not in asked else set()), asked
    assert library.query('"tango2025"', hybrid=True)[0].path.name == "1.png"
    left = library.query('platform - "hardware"', hybrid=True)
    assert "misread.png" in {hit.path.name for hit in left}, "what is unwanted is taken at its word"


def test_numbers_and_short_words_are_taken_as_they_are(library: Library, signs: Path) -> None:
    written.sign("Invoice 48151623 exit").save(signs / "number.png")
    library.index()
    library.read_texts()
    assert library.query('"48151623"', hybrid=True)[0].path.name == "number.png"
    assert library.query('"48151624"', hybrid=True) == []
    assert library.query('"exif"', hybrid=True) == []


def test_words_in_a_name_are_not_forgiven(library: Library, signs: Path) -> None:
    written.noise((200, 200), 9).save(signs / "mountain.png")
    library.index()
    library.read_texts()
    assert len(library.query('"mountain"', hybrid=True)) == 1
    assert library.query('"mountaim"', hybrid=True) == []


# The command line, HTTP


def test_the_text_in_a_picture_is_shown_without_an_index(clipsearch: Run, signs: Path) -> None:
    shown = clipsearch("read", "--show", signs / "0.png")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "1.00\tHardware shop\n", "")
    named = clipsearch("read", "--show", signs / "0.png", "--index", signs / "none")
    assert (named.returncode, "holds no index" in named.stderr) == (2, True)
    gone = clipsearch("read", "--show", signs / "none.png")
    assert (gone.returncode, "none.png" in gone.stderr) == (2, True)


def test_the_commands(clipsearch: Run, signs: Path, index: Path) -> None:
    done = clipsearch("index", signs, "--model", "pocket", "--read", "--json")
    assert done.returncode == 0, done.stderr
    text = json.loads(done.stdout)["text"]
    assert text.keys() == documented("read")
    assert (text["model"], text["read"], text["with_text"]) == (MODEL, 6, 4)
    again = clipsearch("read")
    assert again.stdout == "0 photos read, 0 with text (0 lines); 0.0 s\n"
    assert again.stderr == f"clipsearch: no photo is left that {MODEL} did not read\n"
    shown = clipsearch("read", "--show", signs / "0.png")
    assert shown.stdout == "1.00\tHardware shop\n"
    (line,) = json.loads(clipsearch("read", "--show", signs / "copy.png", "--json").stdout)
    assert line.keys() == {"text", "certainty", "quad"}
    none = clipsearch("read", "--show", signs / "4.png")
    assert (none.returncode, none.stdout) == (1, "")
    assert "there is no text in this picture" in none.stderr
    assert f"text      6 read by {MODEL}, 4 with text\n" in clipsearch("status").stdout
    listed = clipsearch("ls", "--has", "text", "--paths").stdout.split()
    assert len(listed) == 5
    found = json.loads(clipsearch("query", '"emergency exit"', "--json").stdout)
    assert [line["text"] for hit in found for line in hit["lines"]] == ["Emergency exit"]
    table = clipsearch("query", '"emergency exit"', "--csv").stdout
    assert table.splitlines()[1].endswith(",Emergency exit,")
    wrong = clipsearch("read", "--model", "no-such")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("clipsearch: 'no-such' reads no text")


def test_a_picture_that_is_not_indexed_is_read_too(
    clipsearch: Run, library: Library, signs: Path, tmp_path: Path, index: Path
) -> None:
    written.sign("Somewhere else").save(tmp_path / "other.png")
    assert texts(library.lines(tmp_path / "other.png")) == ["Somewhere else"]
    assert stored(index) == []
    with pytest.raises(InvalidInput):
        library.lines(tmp_path / "none.png")


def test_what_comes_while_folders_are_followed_is_read(index: Path, signs: Path) -> None:
    reports: list[ReadReport] = []
    stop = threading.Event()

    def watch() -> None:
        with open_tiny(index) as library:
            library.watch([signs], stop=stop, on_read=reports.append)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        eventually(lambda: sum(it.read for it in reports) == 6)
        written.sign("Late arrival").save(signs / "late.png")
        eventually(lambda: sum(it.with_text for it in reports) == 5)
    finally:
        stop.set()
        thread.join()
    with open_tiny(index) as library:
        assert library.query('"late arrival"', hybrid=True)[0].path.name == "late.png"


def test_http_tells_the_lines(library: Library, serve: Serve) -> None:
    library.read_texts()
    library.close()
    server = serve()

    def ask(path: str, **query: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(server.get(path, **query))
        return answer

    hits = ask("/api/search", q='"hardware shop"')["hits"]
    assert [[line["text"] for line in hit["lines"]] for hit in hits] == [["Hardware shop"]] * 2
    (line,) = ask(f"/api/photos/{hits[0]['id']}/lines")["lines"]
    assert (line["text"], line["model"]) == ("Hardware shop", MODEL)
    assert ask("/api/search", has="text")["total"] == 5


# How well


def firsts(tmp_path: Path, index: Path, each: int) -> float:
    """The share of made receipts and screenshots that the words they alone have find first."""
    folder = tmp_path / "made"
    folder.mkdir()
    asked = {}
    for seed in range(each):
        for kind, (image, own) in (
            ("receipt", written.receipt(seed)), ("screen", written.screenshot(seed + 40)),
        ):  # fmt: skip
            asked[f"{kind}-{seed}.jpg"] = own
            image.save(folder / f"{kind}-{seed}.jpg", quality=85)
    assert len(set(asked.values())) == len(asked)
    with open_tiny(index) as library:
        library.index([folder])
        library.read_texts()
        hits = {name: library.query(f'"{own}"', 1, hybrid=True) for name, own in asked.items()}
    return sum(bool(it) and it[0].path.name == name for name, it in hits.items()) / len(asked)


def test_two_words_find_their_receipt_or_screenshot(tmp_path: Path, index: Path) -> None:
    assert firsts(tmp_path, index, 6) == 1


@pytest.mark.thorough
def test_two_words_find_theirs_among_many(tmp_path: Path, index: Path) -> None:
    assert firsts(tmp_path, index, 40) >= 0.95

"""What a person sees at a terminal of 80 columns: lines, tables, colours, and what doctor tells."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import Run, all_of, picture
from tiny import open_other, open_tiny

from clipsearch import encoders
from clipsearch.doctor import ABSENT, BROKEN, OK, Finding, summed_up
from clipsearch.encoders.aliases import ALIASES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")

Screen = Callable[..., str]


@pytest.fixture
def screen(index: Path, home: Path, cache: Path) -> Screen:
    """What a command writes to a terminal, with its codes."""

    def show(*words: str | Path, columns: int = 80, **environment: str) -> str:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        given = {name: it for name, it in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        given |= {"TERM": "xterm-256color", "HOME": str(home), "CLIPSEARCH_INDEX": str(index)}
        process = subprocess.Popen(
            [sys.executable, "-m", "clipsearch", *map(str, words)],
            env=given | environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = all_of(ours)
        process.wait()
        return shown.decode().replace("\r\n", "\n")

    return show


def lines_of(shown: str) -> list[str]:
    codes = r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;?]*[A-Za-z]|\r"
    return re.sub(codes, "", shown).splitlines()


# Lines


def test_a_photo_that_is_found_by_what_is_written_says_so(
    screen: Screen, clipsearch: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "03.jpg").rename(photos / "Zoë's party.jpg")
    assert clipsearch("index", photos, "--model", "pocket").returncode == 0
    told = {
        line.partition("/photos/")[2].replace("…", ""): line
        for line in lines_of(screen("query", "Zoë", "at a party", "-k", "all", columns=1000))
    }
    assert [name for name in told if "written" in name] == ["Zoë's party.jpg  (written)"]
    (line,) = (it for it in lines_of(screen("query", "zoe zebra", columns=1000)) if "Zoë" in it)
    assert line.endswith("Zoë's party.jpg  (partly written)")
    assert "written" not in clipsearch("query", "zoe").stdout  # what is no terminal gets paths
    sheet = tmp_path / "sheet.html"
    assert clipsearch("query", "zoe", "--sheet", sheet).returncode == 0
    assert sheet.read_text("utf-8").count("· written<") == 1


def test_a_question_of_what_is_left_out_alone_is_told(
    screen: Screen, clipsearch: Run, photos: Path
) -> None:
    assert clipsearch("index", photos, "--model", "pocket").returncode == 0
    for words in (["-", "dog"], ["--minus", "dog"]):
        shown = screen("query", *words, columns=200)
        assert "only left out; first come photos that are least like it" in shown
    assert "left out" not in screen("query", "- dog + wall", columns=200)


def test_a_run_is_told_in_a_line(screen: Screen, photos: Path) -> None:
    shown = lines_of(screen("index", photos, "--model", "pocket"))
    (line,) = (it for it in shown if it.startswith("12 added; "))
    assert re.fullmatch(r"12 added; \d+\.\d s, \d+\.\d images/s", line)


def test_messages_break_between_words(screen: Screen, clipsearch: Run) -> None:
    said = clipsearch("query", "--model", "nosuch", "a dog").stderr
    lines = lines_of(screen("query", "--model", "nosuch", "a dog", columns=40))
    assert len(lines) > 5
    assert all(len(line) <= 40 or " " not in line.strip() for line in lines)
    assert " ".join(lines).split() == said.split()


def test_a_numbered_way_on_hangs_below_its_start(photos: Path, screen: Screen) -> None:
    lines = lines_of(screen("index", photos, "--model", "best"))
    (first,) = (number for number, line in enumerate(lines) if line.startswith("  1. "))
    assert lines[first + 1].startswith("     ")
    assert any(line.startswith("  2. ") for line in lines)
    assert any("`clipsearch models download PE-Core-L-14-336/meta`" in line for line in lines)


def test_a_path_with_spaces_is_not_broken(indexed: Path, tmp_path: Path, screen: Screen) -> None:
    folder = tmp_path / "all of my photos of 2024"
    folder.mkdir()
    lines = lines_of(screen("forget", folder, columns=30))
    assert any(str(folder) in line for line in lines)
    assert "in the index." in " ".join(lines)


def test_results_break_between_words_too(photos: Path, index: Path, screen: Screen) -> None:
    with open_other(index) as library:
        library.index([photos])
    shown = "\n".join(lines_of(screen("index", columns=22)))
    assert re.search(r"^12 unchanged; \d+\.\d s,\n0\.0 images/s$", shown, re.MULTILINE)


# Tables


def test_the_names_of_models_are_whole_at_80_columns(screen: Screen) -> None:
    lines = lines_of(screen("models"))
    assert max(map(len, lines)) <= 80
    assert all(any(line.endswith(alias.spec) for line in lines) for alias in ALIASES.values())


def test_a_wide_terminal_has_a_line_a_model(screen: Screen) -> None:
    header, *rows = lines_of(screen("models", columns=120))
    assert header.split() == ["model", "spec", "MB", "pixels", "languages", "ImageNet", "here"]
    assert len(rows) == len(ALIASES)


def test_a_path_without_room_stands_whole_below_its_row(index: Path, screen: Screen) -> None:
    with TemporaryDirectory(dir="/tmp") as there:
        folders = [Path(there) / f"{name} photos of a long journey" for name in ("some", "other")]
        for folder in folders:
            folder.mkdir()
            picture(0).save(folder / "1.jpg")
        with open_tiny(index) as library:
            library.index(folders)
        lines = lines_of(screen("dupes", "--bytes"))
    assert {line.strip() for line in lines} >= {str(folder / "1.jpg") for folder in folders}


def test_texts_of_a_table_break_between_words(photos: Path, index: Path, screen: Screen) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture " * 9)
    with open_tiny(index) as library:
        library.index([photos])
        ((_, reason),) = library.status().failures
    shown = lines_of(screen("status", "--failures", columns=len(str(photos)) + 45))
    assert reason in re.sub(r"\s+", " ", " ".join(shown))


# Colours


def test_errors_are_red_and_notes_are_not(indexed: Path, screen: Screen) -> None:
    red = "\x1b[31mclipsearch:\x1b[0m"
    assert screen("query").startswith(red)
    assert screen("ls", "--camera", "x").startswith("clipsearch: ")


def test_what_is_noted_of_answers_stands_below_them(
    photos: Path, index: Path, screen: Screen
) -> None:
    """Also where Python is told to hold nothing back."""
    with open_tiny(index) as library:
        library.index([photos])
        assert len(library.count_labels(labels=["a", "b", "c"])) > 1
    (file := photos.parent / "labels.txt").write_text("a\nb\nc")
    shown = lines_of(screen("label", "--labels", file, "-k", "1", PYTHONUNBUFFERED="1"))
    assert shown[0].split() == ["rank", "photos", "label", "example"]
    assert shown[-1].startswith("clipsearch: these are the first 1")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(screen: Screen, environment: dict[str, str]) -> None:
    assert screen("query", **environment).startswith("clipsearch:")


# While it works


@pytest.mark.skipif(encoders.pocket_files() is None, reason="needs pocket")
def test_what_is_said_meanwhile_stands_above_the_bar(
    photos: Path, tmp_path: Path, screen: Screen
) -> None:
    shown = screen("index", photos, CLIPSEARCH_CACHE=str(tmp_path / "cache"))
    told = lines_of(shown.replace("\x1b[2K", "\n"))  # which takes the bar away
    assert "clipsearch: pocket was taken because the weights of" in told
    waited = next(at for at, line in enumerate(told) if "looking, and loading the model" in line)
    assert any("indexing" in line for line in told[waited:])
    done = next(number for number, line in enumerate(told) if "12 added" in line)
    # What was waited for counts in the time, and so comes before it.
    assert any("preparing fast queries" in line and "%" in line for line in told[: done + 1])
    assert not any("preparing" in line for line in told[done + 1 :])


# What doctor tells


def test_doctor_fits_a_screen(indexed: Path, screen: Screen) -> None:
    shown = screen("doctor", "--device", "cpu", "--offline")
    lines = lines_of(shown)
    assert len(lines) <= 24
    assert all(len(line) <= 80 or " " not in line.strip() for line in lines)
    assert "\x1b[32mok" in shown
    assert "\x1b[33mabsent" in shown
    assert {line.split()[0] for line in lines if line[:1] != " "} == {
        "devices", "packages", "decoders", "caches", "hub", "index", "clipsearch:"
    }  # fmt: skip


def test_doctor_fits_a_screen_also_where_much_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clipsearch.cli.commands import doctor

    names = ("captions", "chinese", "finetune", "heic", "mcp", "milvus", "pocket", "preview")
    found = [Finding("devices", "cpu", OK, "bf16, since the processor has amx_bf16")]
    found += [Finding("packages", "needed", BROKEN, "numpy is not here", "pip install clipsearch")]
    found += [
        Finding("packages", name, ABSENT, f"lacks {name}", f"pip install 'clipsearch[{name}]'")
        for name in (*names, "ray", "raw", "urls", "watch", "web")
    ]
    found += [
        Finding(area, what, ABSENT, "is not there", "clipsearch index FOLDER makes it")
        for area, what in (("caches", "hub"), ("caches", "clipsearch"), ("hub", "address"),
                           ("index", "catalog"))
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    doctor._print(found)
    lines = lines_of(capsys.readouterr().out)
    assert len(lines) + 1 <= 24, lines  # and a line of how many are broken
    assert sum("broken" in line for line in lines) == 1


def test_what_lacks_is_installed_by_one_line() -> None:
    found = [Finding("packages", "needed", OK, "all 20 are here")]
    found += [
        Finding("packages", name, ABSENT, "lacks it", f"pip install 'clipsearch[{name}]'")
        for name in ("captions", "heic", "test", "web")
    ]
    found.append(Finding("packages", "raw", BROKEN, "rawpy is 0.1 and not >=0.25", "pip"))
    fine, lacking, broken = summed_up(found)
    assert (fine.state, fine.what) == (OK, "needed")
    assert lacking.what == "captions, heic, web"
    assert lacking.remedy == "pip install 'clipsearch[captions,heic,web]'"
    assert broken is found[-1]


def test_what_runs_models_is_told_in_one_line() -> None:
    # In whatever words each is told at length.
    found = [
        Finding("devices", "torch", OK, "at length", None, "torch 2.9"),
        Finding("devices", "processor", OK, "AVX2"),
        Finding("devices", "onnxruntime", OK, "at length", None, "onnxruntime 1.23 (CPU)"),
    ]
    told = [(it.name, it.what) for it in summed_up(found)]
    assert told == [
        ("devices", "torch 2.9, onnxruntime 1.23 (CPU)"),
        ("processor", "AVX2"),
    ]
    assert list(summed_up(found[1:2])) == found[1:2]


def test_what_cannot_be_read_is_mended_by_one_line() -> None:
    found = [Finding("decoders", "JPEG", OK, "8.0"), Finding("decoders", "WebP", OK, "1.5")]
    found += [
        Finding("decoders", name, ABSENT, "it is not here", "as one")
        for name in ("HEIC", "camera RAW")
    ]
    fine, lacking = summed_up(found)
    assert (fine.state, fine.what) == (OK, "JPEG, WebP")
    assert lacking.what == "HEIC: it is not here; camera RAW: it is not here"
    assert lacking.remedy == "pip install 'clipsearch[heic,raw]', then clipsearch index --retry"


def test_the_users_own_folder_is_written_short(indexed: Path, screen: Screen) -> None:
    shown = " ".join(
        lines_of(screen("doctor", "--device", "cpu", "--offline", HOME=str(indexed.parent)))
    )
    assert f"~/{indexed.name} is sound" in shown


def test_doctor_sends_nobody_to_the_docs(clipsearch: Run) -> None:
    assert "docs/" not in clipsearch("doctor", "--device", "cpu").stdout

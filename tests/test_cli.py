"""The command line as people and programs see it, in real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import Run, all_of, picture

from clipsearch import Library
from clipsearch.encoders.aliases import ALIASES

COMMANDS = [
    [],
    ["index"],
    ["query"],
    ["similar"],
    ["label"],
    ["score"],
    ["status"],
    ["forget"],
    ["models"],
    ["models", "download"],
    ["eval"],
    ["eval", "retrieval"],
    ["eval", "zeroshot"],
]
HIT_KEYS = ["rank", "score", "relevance", "path", "id"]
FACT_KEYS = ["width", "height", "taken_at", "camera", "latitude", "longitude"]
FACT_KEYS += ["taken_from", "lens", "orientation", "title", "caption", "keywords", "flaw"]
LAST_KEYS = ["present", "written", "people", "rating", "location", "label", "lines", "place"]

# Runs the command line, and then tells on stderr which heavy packages it imported.
PROBE = """
import sys
from clipsearch.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
heavy = {"torch", "open_clip", "faiss", "transformers", "torchvision", "timm"}
print("imported:", *sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, spec: str) -> tuple[Path, Path]:
    """An index of six photos and one broken file as the command makes one, and their folder."""
    place = tmp_path_factory.mktemp("made")
    (photos := place / "photos").mkdir()
    for seed in range(6):
        picture(seed).save(photos / f"{seed}.jpg")
    (photos / "broken.jpg").write_bytes(b"")
    with Library.open(place / "index", model=spec) as library:
        library.index([photos])
        library.export_texts()
    return place / "index", photos


@pytest.fixture
def own(made: tuple[Path, Path], index: Path) -> tuple[Path, Path]:
    """The same for one test alone: its own copy of the index."""
    shutil.copytree(made[0], index)
    return index, made[1]


def probe(index: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, arguments)],
        env=os.environ | {"CLIPSEARCH_INDEX": str(index)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def on_terminal(
    index: Path, *arguments: str | Path, program: Sequence[str] = ("-m", "clipsearch")
) -> tuple[int, str]:
    """Exit code and screen of a command that writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        env=os.environ | {"CLIPSEARCH_INDEX": str(index), "COLUMNS": "200", "TERM": "xterm"},
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    screen = all_of(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;]*m", "", screen.decode())


# What needs no model


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_printed_without_the_heavy_packages(index: Path, command: list[str]) -> None:
    done = probe(index, *command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert done.stderr == "imported:\n"
    assert not index.exists()


def test_commands_that_need_no_model_import_none(own: tuple[Path, Path]) -> None:
    index, photos = own
    for command in (
        ["--version"],
        ["status"],
        ["status", "--json"],
        ["models"],
        ["index"],
        ["index", photos, "--json"],
        ["forget", photos / "0.jpg"],
    ):
        done = probe(index, *command)
        *told, imported = done.stderr.splitlines()
        assert (done.returncode, imported) == (0, "imported:"), command
        assert bool(told) == (command[0] == "forget"), told  # how to undo it


@pytest.mark.parametrize("command", [["--version"]])
def test_the_version_is_that_of_the_package(clipsearch: Run, command: list[str]) -> None:
    assert clipsearch(*command).stdout == f"clipsearch {version('clipsearch')}\n"


def test_the_installed_command_is_the_module() -> None:
    script = Path(sys.executable).with_name("clipsearch")
    if not script.exists():
        pytest.skip("clipsearch is not installed as a command here")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"clipsearch {version('clipsearch')}\n"


@pytest.mark.parametrize("command", [[], ["models"]])
def test_the_list_of_commands_cuts_no_sentence_short(clipsearch: Run, command: list[str]) -> None:
    assert "..." not in clipsearch(*command, "--help").stdout.partition("\n")[2]


def test_without_a_command_help_is_shown(clipsearch: Run) -> None:
    done = clipsearch()
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("shell", "begin"),
    [("bash", "_clipsearch_completion()"), ("zsh", "#compdef clipsearch"), ("fish", "complete ")],
)
def test_completion_is_printed_for_the_shell_that_is_named(
    clipsearch: Run, shell: str, begin: str
) -> None:
    for words in (["--show-completion", shell], [f"--show-completion={shell}"]):
        done = clipsearch(*words)
        assert done.returncode == 0
        assert done.stdout.startswith(begin)
        assert "COMPLETE" in done.stdout


def test_completion_for_a_shell_that_is_none_is_an_error(clipsearch: Run, home: Path) -> None:
    done = clipsearch("--install-completion", "foo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'foo' is not one of 'bash', 'zsh'" in done.stderr
    assert list(home.iterdir()) == []
    done = clipsearch("install-completion")
    assert "that is: clipsearch --install-completion" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes end otherwise there")
@pytest.mark.parametrize("words", ["query -h", "--help", "models", "--version"])
def test_a_pipe_that_nobody_reads_ends_what_prints_alike(words: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch", *words.split()], stdout=writes, stderr=subprocess.PIPE,
        check=False, restore_signals=True,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_models_are_listed(clipsearch: Run) -> None:
    lines = [line.split("\t") for line in clipsearch("models").stdout.splitlines()]
    assert [line[0] for line in lines] == list(ALIASES)
    assert {line[-1] for line in lines} <= {"yes", "no"}


def test_models_are_listed_as_json(clipsearch: Run) -> None:
    models = json.loads(clipsearch("models", "--json").stdout)
    assert [model["name"] for model in models] == list(ALIASES)
    for model in models:
        assert {"name", "spec", "download_mb", "resolution", "languages", "imagenet", "here"} <= (
            model.keys()
        )
        assert isinstance(model["here"], bool)


# index


def test_an_index_run_ends_with_one_line_of_what_it_did(
    own: tuple[Path, Path], clipsearch: Run
) -> None:
    done = clipsearch("index")
    assert re.fullmatch(
        r"0 added, 0 updated, 0 moved, 0 removed, 6 unchanged, 0 failed;"
        r" \d+\.\d s, \d+\.\d images/s\n",
        done.stdout,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_index_run_tells_the_same_as_json(own: tuple[Path, Path], clipsearch: Run) -> None:
    done = clipsearch("index", "--json")
    facts = json.loads(done.stdout)
    keys = ["added", "updated", "moved", "removed", "unchanged", "failed"]
    assert list(facts) == [*keys, "seconds", "images_per_second", "passed_over", "text"]
    assert [facts[key] for key in keys] == [0, 0, 0, 0, 6, 0]


def test_photos_are_indexed_and_found_by_the_command(
    photos: Path, spec: str, clipsearch: Run
) -> None:
    done = clipsearch("index", photos, "--model", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("12 added, 0 updated")


def test_a_folder_that_is_gone_is_told_on_stderr(
    made: tuple[Path, Path], tmp_path: Path, clipsearch: Run
) -> None:
    (tmp_path / "gone").mkdir()
    shutil.copytree(made[0], tmp_path / "index")
    with Library.open(tmp_path / "index") as library:
        library.index([tmp_path / "gone"])
    (tmp_path / "gone").rmdir()
    done = clipsearch("index")
    assert done.returncode == 0
    assert done.stdout.startswith("0 added, 0 updated, 0 moved, 0 removed, 6 unchanged")
    assert done.stderr.startswith(f"clipsearch: {tmp_path / 'gone'} is missing")
    assert done.stderr.count("\n") == 1


# query and similar


@pytest.fixture(scope="module")
def asked(made: tuple[Path, Path]) -> subprocess.CompletedProcess[str]:
    """A query by words; it loads the model, so the tests share it."""
    return probe(made[0], "query", "a dog", "-k", "4")


def test_a_query_in_a_pipe_gives_tab_separated_lines(
    asked: subprocess.CompletedProcess[str], made: tuple[Path, Path]
) -> None:
    lines = [line.split("\t") for line in asked.stdout.splitlines()]
    assert [line[0] for line in lines] == ["1", "2", "3", "4"]
    scores = [float(score) for _, score, _ in lines]
    assert scores == sorted(scores, reverse=True)
    assert all(Path(path).parent == made[1] for _, _, path in lines)
    assert asked.returncode == 0
    assert asked.stderr.count("\n") == 1  # the probe's own


def test_similar_in_a_pipe_gives_tab_separated_lines(
    made: tuple[Path, Path], clipsearch: Run
) -> None:
    done = clipsearch("similar", made[1] / "0.jpg", "--index", made[0])
    assert (done.returncode, done.stderr) == (0, "")
    for rank, line in enumerate(done.stdout.splitlines(), 1):
        assert re.fullmatch(rf"{rank}\t0\.\d{{4}}\t{made[1]}/[1-5]\.jpg", line)


def test_json_has_the_same_keys_in_the_same_order(made: tuple[Path, Path], clipsearch: Run) -> None:
    done = clipsearch("similar", made[1] / "0.jpg", "--json", "-k", "3", "--index", made[0])
    hits = json.loads(done.stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    for hit in hits:
        assert list(hit) == HIT_KEYS + FACT_KEYS + LAST_KEYS
        assert (hit["width"], hit["height"], hit["camera"]) == (320, 240, None)


def test_similar_to_a_file_that_is_not_indexed_says_nothing_but_the_answer(
    made: tuple[Path, Path], tmp_path: Path, clipsearch: Run
) -> None:
    picture(0).save(tmp_path / "other.png")
    done = clipsearch("similar", tmp_path / "other.png", "--index", made[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 6


def test_on_a_terminal_the_answers_are_a_table(made: tuple[Path, Path]) -> None:
    code, screen = on_terminal(made[0], "similar", made[1] / "0.jpg", "-k", "3")
    assert code == 0
    header, *rows = [line.split() for line in screen.splitlines() if any(map(str.isalnum, line))]
    assert header == ["rank", "score", "fit", "path"]
    assert [row[0] for row in rows] == ["1", "2", "3"]


def test_an_index_without_photos_gives_exit_code_1(
    index: Path, tmp_path: Path, clipsearch: Run
) -> None:
    with Library.open(index) as library:
        (tmp_path / "empty").mkdir()
        library.index([tmp_path / "empty"])
    done = clipsearch("query", "a dog")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("clipsearch: ")
    assert done.stderr.count("\n") == 1
    assert json.loads(clipsearch("query", "a dog", "--json").stdout) == []


# status and forget


NO_RULES = {"include": [], "exclude": [], "follow_links": False, "raw_too": False}


def test_status_json_has_its_keys(made: tuple[Path, Path], clipsearch: Run) -> None:
    held = json.loads(clipsearch("status", "--json", "--index", made[0]).stdout)
    assert held["photos"] == 6
    assert held["failures"] == [
        {"path": str(made[1] / "broken.jpg"), "reason": "the file is empty"}
    ]
    root = {"path": str(made[1]), "photos": 6, "present": True, "rules": NO_RULES, "folders": {}}
    assert held["roots"] == [root]
    assert [model["vectors"] for model in held["models"]] == [6]
    assert held["bytes"]["total"] == held["bytes"]["catalog"] + held["bytes"]["vectors"] > 0


def test_status_tells_a_person_what_is_held(
    made: tuple[Path, Path], spec: str, clipsearch: Run
) -> None:
    done = clipsearch("status", "--index", made[0])
    for part in ("photos    6", f"{made[1]}  6 photos", spec, "1 file: clipsearch status --fail"):
        assert part in done.stdout
    done = clipsearch("status", "--failures", "--index", made[0])
    assert done.stdout == f"{made[1] / 'broken.jpg'}\tthe file is empty\n"


def test_forget_tells_how_many_and_keeps_the_files(own: tuple[Path, Path], clipsearch: Run) -> None:
    index, photos = own
    done = clipsearch("forget", photos / "0.jpg")
    assert done.stdout.startswith("1 photo")
    assert (photos / "0.jpg").exists()
    with Library.open(index) as library:
        assert library.status().photos == 5


# Errors and pipes


def test_an_error_is_one_line_on_stderr_and_exit_code_2(clipsearch: Run) -> None:
    done = clipsearch("query", "a dog")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("clipsearch: ")
    assert done.stderr.count("\n") == 1


def test_debug_shows_where_it_went_wrong(clipsearch: Run) -> None:
    for command in (["--debug", "query", "a dog"], ["query", "a dog", "--debug"]):
        done = clipsearch(*command)
        assert done.returncode == 2
        assert "Traceback (most recent call last)" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("clipsearch: ")


@pytest.mark.skipif(os.name != "posix", reason="shells' files")
@pytest.mark.parametrize(
    ("shell", "file", "reason"),
    [("zsh", ".zfunc", "File exists"), ("fish", ".config", "Not a directory")],
)
def test_a_file_that_the_system_keeps_from_being_used_is_told_in_a_line(
    shell: str, file: str, reason: str, clipsearch: Run, home: Path
) -> None:
    (home / file).touch()
    done = clipsearch("--install-completion", shell)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert file in done.stderr
    assert f"cannot be read or written ({reason}); see what it is and who may" in done.stderr


def test_a_wrong_option_is_exit_code_2(clipsearch: Run) -> None:
    for command in (["query"], ["index", "--nonsense"], ["query", "x", "-k", "many"], ["fly"]):
        done = clipsearch(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("reads", [0, 1], ids=["nothing", "one line"])
def test_a_reader_that_stops_early_is_no_error(made: tuple[Path, Path], reads: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "clipsearch", "status", "--json"],
        env=os.environ | {"CLIPSEARCH_INDEX": str(made[0])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    for _ in range(reads):
        process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    # Ended by SIGPIPE, as any filter is, if there was still something to say.
    assert process.wait() in (0, -signal.SIGPIPE)
    assert errors == ""


def test_paths_are_printed_where_the_terminal_knows_only_ascii(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    index, photos = own
    (there := tmp_path / "été").mkdir()
    shutil.copy(photos / "0.jpg", there / "日本.jpg")
    with Library.open(index) as library:
        library.index([there])
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch", "similar", photos / "1.jpg", "--index", index],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 6


def test_what_is_looked_at_is_said_once_remembered_and_told(
    clipsearch: Run, photos: Path, index: Path
) -> None:
    from tiny import open_tiny

    with open_tiny(index) as library:
        library.index([photos], exclude=["trip/"], follow_links=True)
    assert "          --exclude trip/ --follow-links\n" in clipsearch("status").stdout
    done = clipsearch("index", "--json")  # without saying it again
    assert {key: json.loads(done.stdout)[key] for key in ("added", "unchanged")} == {
        "added": 0,
        "unchanged": 8,
    }
    done = clipsearch("index", photos, "--exclude", "[01]*", "--no-follow-links", "--json")
    assert json.loads(done.stdout)["removed"] == 8
    assert "          --exclude '[01]*'\n" in clipsearch("status").stdout
    (rules,) = [
        root["rules"] for root in json.loads(clipsearch("status", "--json").stdout)["roots"]
    ]
    nothing = {"include": [], "follow_links": False, "raw_too": False}
    assert rules == {**nothing, "exclude": ["[01]*"]}


def test_a_run_ends_with_what_it_passed_over(
    own: tuple[Path, Path], clipsearch: Run, tmp_path: Path
) -> None:
    said = clipsearch("index", str(own[1]))
    assert "not read" not in said.stderr
    (more := tmp_path / "more").mkdir()
    for name in ("a.psd", "b.PSD", "c.svg", "notes.txt", "clip.mov", ".hidden.psd"):
        (more / name).write_bytes(b"8BPS")
    line = "clipsearch: 3 files of kinds that are not read (.psd 2, .svg 1)\n"
    for _ in range(2):
        assert clipsearch("index", str(more)).stderr.endswith(line)
    counts = json.loads(clipsearch("index", "--json").stdout)
    assert counts["passed_over"] == {".psd": 2, ".svg": 1}
    clipsearch("forget", str(more))
    assert "not read" not in clipsearch("index").stderr

"""What a disk or a number can do to a command: one line, and nothing worse."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import typer
from conftest import Run
from fastapi.testclient import TestClient
from forked import Ended, run_all
from tiny import open_other, open_tiny

from clipsearch import InvalidInput
from clipsearch.cli import _app
from clipsearch.store.lock import write_lock
from clipsearch.web.app import create_app

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are run in forks")


def test_a_killed_run_is_over_at_once_and_a_held_lock_is_a_run(
    indexed: Path, clipsearch: Run
) -> None:
    told = {"done": 3, "total": 9, "begun": time.time() - 10}
    (indexed / "index.progress").write_text(json.dumps(told))
    os.utime(indexed / "index.progress", (time.time() - 900,) * 2)  # suspended a while ago
    with write_lock(indexed):
        assert '"done": 3' in clipsearch("status", "--json", "--index", indexed).stdout
    status = clipsearch("status", "--json", "--index", indexed)
    assert status.returncode == 0
    assert '"done": 3' not in status.stdout


# A run that stays in the middle of its work.
RUN = """
import sys, tiny
def stay(done, total):
    if done:
        print(done, flush=True)
        sys.stdin.read()
tiny.open_tiny(tiny.Path(sys.argv[1])).index([sys.argv[2]], batch_size=1, progress=stay)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_stopped_run_goes_on_and_a_killed_one_does_not(
    index: Path, photos: Path, clipsearch: Run
) -> None:
    def indexing() -> Any:
        return json.loads(clipsearch("status", "--json", "--index", index).stdout)["indexing"]

    run = subprocess.Popen(
        [sys.executable, "-c", RUN, index, photos], cwd=Path(__file__).parent,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with run:
        assert run.stdout is not None
        assert run.stdout.readline()
        assert indexing()["total"] == 12
        run.send_signal(signal.SIGSTOP)
        assert indexing()["total"] == 12
        run.kill()
        run.wait()
        assert indexing() is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["ls", "--csv"], ["status"]])
def test_output_to_a_full_disk_is_one_line(indexed: Path, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", *command, "--index", indexed],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "could not be written" in done.stderr
    assert "fault" not in done.stderr


# Numbers


BEYOND = [str(1 << 63), str(1 << 70), str(-(1 << 70)), "9" * 5000]
NO_NUMBERS = ["inf", "-inf", "nan", "1e30"]
NUMERIC = ("IntParamType", "IntRange", "FloatParamType", "FloatRange", "FuncParamType")

# What else a command needs, to be asked for a number of its own.
REST = {
    "index": ["PHOTOS", "--ray", "local"], "watch": ["PHOTOS"], "forget": ["PHOTOS"],
    "query": ["a dog", "--image", "PHOTOS/00.jpg"], "similar": ["PHOTOS/00.jpg"],
    "finetune": ["PHOTOS/pairs.csv", "--model", "pocket", "--out", "PHOTOS/new"],
    "ls": [], "label": [], "caption": [], "dupes": [], "serve": [],
}  # fmt: skip


def commands_of(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands below one, by their names."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_of(inner, *names, name)
    yield names, command


def every_command() -> list[tuple[tuple[str, ...], Any]]:
    return list(commands_of(typer.main.get_command(_app(""))))


def numeric_options() -> Iterator[list[str]]:
    """Each option that takes a number, with one that makes no sense and all else in order."""
    for names, command in every_command():
        for option in command.params:
            kind = type(option.type).__name__
            for number in NUMERIC.count(kind) * BEYOND[:1]:
                yield [*names, *REST[" ".join(names)], option.opts[0], number]
            for number in kind.startswith("Float") * ["nan"]:
                yield [*names, *REST[" ".join(names)], option.opts[0], number]


TEXTS = [
    *(["ls", "--min-size", size] for size in (*BEYOND, "9" * 40 + "MP", "9" * 20 + "x1", "99GB")),
    *(["ls", "--near", place] for place in ("inf,0", "nan,nan", "1e400,0", "9" * 400 + ",0")),
    *(["ls", "--near", "1,1", "--within", way] for way in ("9" * 400 + "km", "inf", "nan", "1e9")),
    *(["ls", "--since", day] for day in ("99999-01-01", "9" * 30, "999999 years ago", "99999")),
    *(["ls", "--until", day] for day in ("99999-01-01", "9" * 30 + " days ago", "10000-01")),
    *(["query", f"{weight}*a dog"] for weight in (*BEYOND, "inf", "nan", "1e400", "1e300")),
    *(["similar", "PHOTOS/00.jpg", "--region", f"0,0,{side},9"] for side in ("9" * 400, "nan")),
    ["index", "PHOTOS", "--store", f"milvus:http://localhost:{1 << 64}"],
    ["index", "PHOTOS", "--ray", f"localhost:{1 << 64}"],
    ["finetune", "PHOTOS/pairs.csv", "--model", "pocket", "--out", "PHOTOS/new", "--val", "nan"],
    ["finetune", "PHOTOS/pairs.csv", "--model", "pocket", "--out", "PHOTOS/new", "--val", "1e400"],
]


@needs_fork
def test_numbers_that_make_no_sense_are_refused_in_a_line(indexed: Path, photos: Path) -> None:
    rows = "".join(f"{number:02}.jpg,photo {number}\n" for number in range(8))
    (photos / "pairs.csv").write_text("image,caption\n" + rows)
    asked = [[word.replace("PHOTOS", str(photos)) for word in it] for it in numeric_options()]
    asked += [[word.replace("PHOTOS", str(photos)) for word in it] for it in TEXTS]
    assert len(asked) > 60
    for done in run_all([{"arguments": it} for it in asked], CLIPSEARCH_INDEX=str(indexed)):
        assert is_one_line(done), done


def is_one_line(done: Ended) -> bool:
    """Whether a command failed as it should: with one line, and none that blames clipsearch."""
    is_line = done.stderr.startswith("clipsearch: ") and done.stderr.count("\n") == 1
    return done.code == 2 and is_line and "fault of clipsearch" not in done.stderr


@pytest.mark.parametrize("number", [1 << 63, 1 << 70, -(1 << 70), math.inf, math.nan])
def test_the_library_refuses_numbers_that_make_no_sense(
    indexed: Path, photos: Path, number: Any
) -> None:
    photo = photos / "00.jpg"
    with open_tiny(indexed) as library:
        for ask in (
            lambda: library.query("x", number),
            lambda: library.query("x", images=[photo], image_weight=number),
            lambda: library.similar(photo, number),
            lambda: library.photos(k=number),
            lambda: library.photos(offset=number),
            lambda: library.photo(number),
            lambda: library.label(photo, ["a"], number),
            lambda: library.count_labels(labels=["a"], k=number),
            lambda: library.counted_labels(number),
            lambda: library.photos_labelled("a", labels=["a"], k=number),
            lambda: library.duplicates(within=number),
            lambda: library.watch([photos], stop=Event(), poll=number),
            lambda: library.forget(photo, keep_for=number),
            lambda: library.write_captions(batch_size=number),
            *(
                partial(library.index, [photos], **{name: number})
                for name in ("batch_size", "workers", "max_megapixels", "frames", "keep_for")
            ),
        ):
            with pytest.raises(InvalidInput):
                ask()
        assert library.status().photos == 12


def test_the_server_refuses_numbers_that_make_no_sense(indexed: Path) -> None:
    with TestClient(create_app(partial(open_tiny, indexed)), "http://127.0.0.1") as client:
        for path, told in client.get("/openapi.json").json()["paths"].items():
            for one in told.get("get", {}).get("parameters", ()):
                for number in (*BEYOND, *NO_NUMBERS):
                    is_part = one["in"] == "path"
                    place = path.replace("{id}", number if is_part else "1")
                    given = {} if is_part else {one["name"]: number}
                    if is_part or one["schema"].get("type") == "integer":
                        found = client.get(place, params=given)
                        assert 400 <= found.status_code < 500, (place, given)
                        assert isinstance(found.json()["error"], str)
        for name in ("k", "offset"):
            for number in (*BEYOND, *NO_NUMBERS):
                found = client.post("/api/search", data={name: number})
                assert found.status_code == 422
                assert isinstance(found.json()["error"], str)
        for *_, option, text in (it for it in TEXTS if it[0] == "ls"):
            name = option[2:].replace("-", "_")
            near = {"near": "1,1"} if name == "within" else {}
            found = client.get("/api/search", params={name: text, **near})
            assert found.status_code in (400, 422), (name, text)
            assert isinstance(found.json()["error"], str)


# Output that cannot be written


ANSWERS = [
    ["ls"], ["ls", "--json"], ["ls", "-0"], ["status"], ["dupes"], ["index", "--json"],
    ["copy", "COPY"], ["ls", "--help"], ["dupes", "--json"],
]  # fmt: skip


@needs_fork
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_lost_answer_is_told_in_a_line_and_lost_notes_are_not(index: Path, photos: Path) -> None:
    shutil.copy(photos / "00.jpg", photos / "same.jpg")
    with open_other(index) as library:
        library.index([photos])
    commands = [[word.replace("COPY", f"{index}.copy") for word in it] for it in ANSWERS]
    streams = [{"stdout": "closed"}, {"stdout": "/dev/full"}, {"stdout": "unread"}]
    streams += [{"stderr": "closed"}, {"stderr": "/dev/full"}]
    asked = [{"arguments": it} | place for it in commands for place in streams]
    asked += [{"arguments": ["doctor"]} | streams[1]]  # which takes its seconds
    ended = run_all(asked, CLIPSEARCH_INDEX=str(index))
    for one, done in zip(asked, ended, strict=True):
        said = done.stderr
        if one.get("stdout") == "unread":  # as by head: quiet
            assert done.code in (-signal.SIGPIPE, 1), one
            assert said == "", one
        elif "stdout" in one:
            assert done.code == 2, one
            assert "clipsearch: the answer could not be written (" in said, done
            assert said.count("\n") == 1, done
        else:
            assert done.code == 0, one
    with open_other(index) as library:
        assert library.status().photos == 13

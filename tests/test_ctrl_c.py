"""Ctrl-C twice, or SIGTERM, ends every command at once and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import all_of, picture
from tiny import TinyEncoder, open_tiny

from clipsearch import Library
from clipsearch.encoders import pocket_files
from clipsearch.encoders.spec import FAMILIES

HERE = Path(__file__).parent
START = 'from clipsearch.encoders.spec import FAMILIES\nFAMILIES["stuck"] = "stuck"\n'
DEADLINE = 300.0  # seconds; what is stuck would be for far longer
GIGABYTES = 1_900_000_000  # bytes

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"
)


def until(seen: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


class Place:
    """Where a command runs whose processes can be told from others, with temporary files aside."""

    def __init__(self, folder: Path, index: Path, scratch: Path) -> None:
        self.index, self.begun, self.scratch = index, folder / "begun", scratch
        for made in (folder / "home", folder / "start"):
            made.mkdir()
        (folder / "start" / "sitecustomize.py").write_text(START)
        paths = [str(folder / "start"), str(HERE), str(HERE.parent)]
        self._environment = os.environ | {
            "HOME": str(folder / "home"),
            "CLIPSEARCH_INDEX": str(index),
            "PYTHONPATH": os.pathsep.join(paths),
            "STUCK": str(self.begun),
            "TMPDIR": str(self.scratch),
        }

    @contextmanager
    def running(
        self, *words: str | Path, stderr: int = subprocess.PIPE
    ) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "clipsearch", *map(str, words)]
        process = subprocess.Popen(
            command, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            for number in self.left():
                os.kill(number, signal.SIGKILL)
            process.communicate()

    def wait_until_stuck(self, process: subprocess.Popen[str]) -> None:
        until(lambda: self.begun.exists() or process.poll() is not None)
        assert process.poll() is None

    def left(self) -> list[int]:
        """The processes that run here."""
        mark = f"STUCK={self.begun}\0".encode()
        return [
            int(place.name)
            for place in Path("/proc").iterdir()
            if place.name.isdecimal() and mark in _environment_of(place)
        ]


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


@pytest.fixture
def place(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setitem(FAMILIES, "stuck", "stuck")
    # Not below pytest's: decoders have a socket there, whose path may have 107 bytes.
    with tempfile.TemporaryDirectory() as scratch:
        yield Place(tmp_path, index, Path(scratch))


def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Press Ctrl-C, as a terminal does to a whole group of processes; gives what was said."""
    os.killpg(process.pid, number)
    return said_at_the_end(process)


def end_at_once(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    """Press it once more, until it is heard: two that come together are one to the system."""
    os.killpg(process.pid, number)

    def ended() -> bool:
        time.sleep(0.3)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        return process.poll() is not None

    until(ended)
    said = said_at_the_end(process, but_for=[-number])  # where it came after the command's end
    if process.stderr:  # where the first was enough it says more
        assert said.splitlines()[-1].startswith("clipsearch: stopped")


def said_at_the_end(process: subprocess.Popen[str], but_for: Sequence[int] = ()) -> str:
    _, told = process.communicate(timeout=DEADLINE)
    said = told or ""  # which a terminal has
    assert "Traceback" not in said
    assert "a fault of clipsearch" not in said
    assert "Warning" not in said
    assert process.returncode in (130, *but_for)
    return said


def index_with(index: Path, model: str, photos: Path) -> None:
    with Library.open(index, model=model, encoder=TinyEncoder()) as library:
        library.index([photos])


@pytest.mark.parametrize(
    ("command", "where", "number"),
    [
        ("index", "load", signal.SIGINT),
        ("index", "images", signal.SIGTERM),
        ("watch", "images", signal.SIGINT),
        *(
            pytest.param(*it, marks=pytest.mark.thorough)
            for it in (
                ("index", "view", signal.SIGINT),
                ("index", "images", signal.SIGINT),
                ("index", "load", signal.SIGTERM),
                ("index", "view", signal.SIGTERM),
                ("watch", "load", signal.SIGINT),
                ("watch", "view", signal.SIGINT),
            )
        ),
    ],
)
def test_twice_ends_what_indexes_in_every_phase(
    command: str, where: str, number: int, place: Place, photos: Path
) -> None:
    model = f"stuck:a/{where}"
    index_with(place.index, model, photos)
    picture(99).save(photos / "new.jpg")
    with place.running(command, photos, "--model", model) as process:
        place.wait_until_stuck(process)
        end_at_once(process, number)
        until(lambda: not place.left())
        assert list(place.scratch.iterdir()) == []
    with Library.open(place.index, model=model, encoder=TinyEncoder()) as library:
        report = library.index()
        assert (report.added, report.unchanged, report.failed) == (1, 12, 0)


STUCK_MODULE = """
import os, pathlib, time
pathlib.Path(os.environ["STUCK"]).touch()
while True:
    try:
        time.sleep(1e6)
    except BaseException as error:
        raise ImportError("this is not what happened") from error
"""


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("index", "images"),
        ("watch", "load"),
        *(
            pytest.param(*it, marks=pytest.mark.thorough)
            for it in (("index", "load"), ("index", "view"), ("watch", "view"), ("watch", "images"))
        ),
    ],
)
def test_once_ends_what_indexes_though_its_batch_takes_for_ever(
    command: str, where: str, place: Place, photos: Path
) -> None:
    with place.running(command, photos, "--model", f"stuck:a/{where}") as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == (130 if command == "index" else 0)
    assert "Traceback" not in stderr
    assert not place.left()
    assert not place.index.exists()  # which nothing was kept in yet


@pytest.mark.parametrize("command", ["caption", "finetune"])
def test_once_ends_what_has_nothing_to_keep_yet(
    command: str, place: Place, photos: Path, tmp_path: Path
) -> None:
    index_with(place.index, "stuck:a/none", photos)
    for library in ("transformers", "open_clip"):
        folder = place.index.parent / "start" / library
        folder.mkdir()
        (folder / "__init__.py").write_text(STUCK_MODULE)
    (tmp_path / "pairs.csv").write_text(f"image,caption\n{photos / '00.jpg'},a wall\n" * 4)
    words: dict[str, list[str | Path]] = {
        "caption": ["--model", photos],
        "finetune": [tmp_path / "pairs.csv", "--out", tmp_path / "out", "--model", "fast"],
    }
    with place.running(command, *words[command]) as process:
        place.wait_until_stuck(process)
        assert end(process).splitlines()[-1] == "clipsearch: stopped"
    with Library.open(place.index, model="stuck:a/none", encoder=TinyEncoder()) as kept:
        assert kept.count() == 12


@pytest.mark.skipif(pocket_files() is None, reason="needs the pocket model's packages")
def test_once_ends_looking_at_the_photos_to_learn_from(place: Place, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(2000)]
    for number, name in enumerate(names):
        picture(number % 7, (40, 30)).save(tmp_path / name)
    rows = "".join(f"{tmp_path / name},a wall\n" for name in names)
    (tmp_path / "pairs.csv").write_text("image,caption\n" + rows)
    words = ["finetune", tmp_path / "pairs.csv", "--model", "pocket", "--out", tmp_path / "out"]
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor() as reader, place.running(*words, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"looking at the photos" not in shown:
            shown += os.read(ours, 1 << 16)
        reading = reader.submit(all_of, ours)
        os.killpg(process.pid, signal.SIGINT)
        said_at_the_end(process)
        until(lambda: not place.left())
        assert reading.result(DEADLINE).endswith(b"clipsearch: stopped\r\n")
    assert list(place.scratch.iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_watch_that_waits_for_changes_speaks_of_no_batch(place: Place, photos: Path) -> None:
    with place.running("watch", photos, "--model", "stuck:a/none") as process:
        assert process.stdout
        assert "12 added" in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
        assert (process.returncode, said) == (0, "clipsearch: stopping\n")


def test_twice_leaves_no_bar_on_a_terminal(place: Place, photos: Path) -> None:
    ours, theirs = pty.openpty()
    with (
        ThreadPoolExecutor() as reader,
        place.running("index", photos, "--model", "stuck:a/images", stderr=theirs) as process,
    ):
        os.close(theirs)
        reading = reader.submit(all_of, ours)
        place.wait_until_stuck(process)
        end_at_once(process)
        shown = reading.result(DEADLINE)
    assert shown.endswith(b"\r\x1b[2K\x1b[?25hclipsearch: stopped\r\n")


@pytest.mark.parametrize("command", ["index", "watch"])
def test_once_in_a_first_run_that_has_nothing_yet_leaves_no_index(
    command: str, place: Place, photos: Path
) -> None:
    with place.running(command, photos, "--model", "stuck:a/slow") as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.readline() if process.stderr else ""
        place.begun.with_name("pressed").touch()
        process.communicate(timeout=DEADLINE)
        assert process.returncode == (130 if command == "index" else 0), said
    if place.index.exists():  # what was decoded by then is a batch, which is kept
        with Library.open(place.index, model="stuck:a/slow", encoder=TinyEncoder()) as kept:
            assert kept.count()


@pytest.mark.parametrize("words", [("query", "a dog"), ("label",)])
def test_twice_ends_what_asks(words: tuple[str, ...], place: Place, photos: Path) -> None:
    index_with(place.index, "stuck:a/texts", photos)
    with place.running(*words) as process:
        place.wait_until_stuck(process)
        end_at_once(process)
        until(lambda: not place.left())
        assert list(place.scratch.iterdir()) == []


@pytest.mark.parametrize("words", [("query", "a dog"), ("label",)])
def test_once_ends_what_asks_though_no_handler_can_run(
    words: tuple[str, ...], place: Place, photos: Path
) -> None:
    index_with(place.index, "stuck:a/texts", photos)
    with place.running(*words) as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
        assert stderr.endswith("clipsearch: stopped\n")
        assert not place.left()


def test_once_ends_what_asks_with_a_line(place: Place, photos: Path) -> None:
    index_with(place.index, "stuck:a/asleep", photos)
    with place.running("query", "a dog") as process:
        place.wait_until_stuck(process)
        assert end(process) == "clipsearch: stopped\n"
        assert list(place.scratch.iterdir()) == []


def test_once_ends_what_is_still_being_loaded_quietly(place: Place) -> None:
    library = "import pathlib, os, time\npathlib.Path(os.environ['STUCK']).touch()\ntime.sleep(1e6)"
    (place.index.parent / "start" / "typer.py").write_text(library)
    with place.running("status") as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
        assert (said, process.returncode) == ("", -signal.SIGINT)


LOADING = """
import os, pathlib, sys, time
if "multiprocessing.forkserver" in " ".join(sys.orig_argv):
    begun = pathlib.Path(os.environ["STUCK"])
    begun.touch()
    while not begun.with_name("pressed").exists():
        time.sleep(0.02)
"""


def test_once_ends_what_decoders_are_just_begun_for(place: Place, photos: Path) -> None:
    with (place.index.parent / "start" / "sitecustomize.py").open("a") as file:
        file.write(LOADING)
    with place.running("index", photos, "--model", "stuck:a/none") as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)  # in which a server that heard it would have told of it
        place.begun.with_name("pressed").touch()
        said = said_at_the_end(process)
        assert "what is done is kept" in said
        assert list(place.scratch.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a signal came")
def test_twice_is_heard_after_a_time_in_which_nothing_was(place: Place, photos: Path) -> None:
    with place.running("index", photos, "--model", "stuck:a/deaf") as process:
        place.wait_until_stuck(process)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        said_at_the_end(process, but_for=[-signal.SIGINT])
        until(lambda: not place.left())
        assert list(place.scratch.iterdir()) == []


def test_twice_ends_what_evaluates(place: Place, tmp_path: Path) -> None:
    for number, name in enumerate(["cat", "dog"]):
        (tmp_path / "classes" / name).mkdir(parents=True)
        picture(number).save(tmp_path / "classes" / name / "0.jpg")
    with place.running(
        "eval", "zeroshot", tmp_path / "classes", "--model", "stuck:a/images"
    ) as process:
        place.wait_until_stuck(process)
        end_at_once(process)
        until(lambda: not place.left())
        assert list(place.scratch.iterdir()) == []


def test_once_ends_hashing_large_files_and_what_is_done_is_kept(place: Place) -> None:
    folder = place.index.parent / "large"
    folder.mkdir()
    for number in range(12):
        with (folder / f"{number}.tif").open("wb") as file:
            file.truncate(GIGABYTES)
    picture(1).save(folder / "0.jpg")

    def is_hashing() -> bool:
        open_files = Path(f"/proc/{process.pid}/fd").iterdir()
        return any(_target_of(file).endswith(".tif") for file in open_files)

    with place.running("index", folder, "--model", "stuck:a/none", "--workers", "1") as process:
        until(is_hashing)
        said = end(process)
        assert "what is done is kept" in said
        until(lambda: not place.left())
        assert list(place.scratch.iterdir()) == []
    for file in folder.glob("*.tif"):
        file.unlink()
    with open_tiny(place.index) as library:
        report = library.index([folder])
        assert report.added + report.unchanged == 1


def _target_of(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_a_killed_run_leaves_no_decoder(place: Place, photos: Path) -> None:
    with place.running("index", photos, "--model", "stuck:a/view") as process:
        place.wait_until_stuck(process)
        process.kill()
        process.wait()
        until(lambda: not place.left())

"""What takes long is no damage: what a decoder may take, and what comes of a file that takes more.

The decoders that misbehave are views, which run in the same process and under the same limit.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from filelock import FileLock
from PIL import Image
from tiny import TinyEncoder

from clipsearch import IndexReport, Library
from clipsearch.indexing.loading import Loaded, Loaders
from clipsearch.photos.decoding import isolated
from clipsearch.photos.decoding.isolated import Processes, Turn, untimed
from clipsearch.photos.decoding.view import View

LIMIT = 2.0  # seconds, instead of minutes; what is no fault of a decoder takes twice as long here
DEADLINE = 300.0  # seconds; what never comes to be is waited for so long

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "TIMEOUT", LIMIT)


def until(seen: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


def longer_than_the_limit() -> None:
    end = time.monotonic() + 2 * LIMIT
    until(lambda: time.monotonic() > end)


# What is no fault of a decoder


@dataclass(frozen=True)
class Stopping(View):
    """Has its process stopped, as a machine is that sleeps, and writes down which that is."""

    stopped: str = ""  # the file where

    def __call__(self, image: object) -> object:  # type: ignore[override]
        Path(self.stopped).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        return View.__call__(self, image)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at the state in /proc")
@pytest.mark.usefixtures("limit")
def test_a_decoder_that_sleeps_with_its_machine_has_not_taken_long(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    picture(1).save(file := tmp_path / "photo.jpg")
    with Loaders(1, isolated=True) as loaders:
        result = loaders.submit(str(file), Stopping(16, stopped=str(stopped)))
        until(lambda: stopped.exists() and stopped.read_text())
        number = int(stopped.read_text())
        until(lambda: Path(f"/proc/{number}/stat").read_text().rsplit(")")[-1].split()[0] == "T")
        longer_than_the_limit()
        os.kill(number, signal.SIGCONT)
        assert isinstance(result(), Loaded)


@pytest.mark.usefixtures("limit")
def test_waiting_for_ones_turn_is_no_time_of_a_decoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Not one that a pool of an earlier test still holds.
    monkeypatch.setattr(isolated, "_turn_file", type(isolated._turn_file)())
    picture(1, (8000, 6001)).convert("L").save(file := tmp_path / "large.png", compress_level=1)
    with Loaders(1, isolated=True) as loaders:
        loaders.submit(str(file), View(16))()
        (turn,) = tmp_path.glob("*/turn")
        with FileLock(turn):
            result = loaders.submit(str(file), View(16))
            longer_than_the_limit()
        assert isinstance(result(), Loaded)


def _read_from_a_slow_disk(begun: str, done: str) -> str:
    with untimed():
        Path(begun).touch()
        until(Path(done).exists)
    return "read"


@pytest.mark.usefixtures("limit")
def test_reading_from_a_slow_disk_is_no_time_of_a_decoders(tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    with Processes(1) as processes:
        result = processes.start(_read_from_a_slow_disk, str(begun), str(done))
        until(begun.exists)
        longer_than_the_limit()
        done.touch()
        assert result() == "read"


def _alone(mark: str) -> None:
    with Turn():
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        time.sleep(0.02)
        os.unlink(mark)


def test_one_process_at_a_time_has_the_turn(tmp_path: Path) -> None:
    with Processes(3) as processes:
        results = [processes.start(_alone, str(tmp_path / "mark")) for _ in range(12)]
        for result in results:
            result()


def test_all_pools_of_a_program_have_one_turn(tmp_path: Path) -> None:
    with Processes(2) as some, Processes(2) as others:
        results = [
            pool.start(_alone, str(tmp_path / "mark")) for _ in range(12) for pool in (some, others)
        ]
        for result in results:
            result()


def _take(count: int) -> int:
    return np.zeros(count, np.uint8).nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits memory")
def test_a_process_takes_no_more_memory_than_its_largest_picture_needs() -> None:
    much = (3 << 30) + (os.cpu_count() or 1) * (80 << 20)  # bytes; its threads may take some
    with Processes(1, max_pixels=1_000_000) as processes:
        assert processes.start(_take, 1 << 30)() == 1 << 30
        with pytest.raises(MemoryError):
            processes.start(_take, much)()
    with Processes(1, max_pixels=200_000_000) as processes:
        assert processes.start(_take, much)() == much


# What is one


class Troubled(View):
    """Has no trouble with any picture but a black one."""

    def __call__(self, image: Image.Image) -> object:  # type: ignore[override]
        if image.getextrema() == ((0, 0),) * 3:
            self.trouble()
        return View.__call__(self, image)

    def trouble(self) -> None:
        raise NotImplementedError


class Busy(Troubled):
    def trouble(self) -> None:
        while True:
            pass


class Asleep(Troubled):
    def trouble(self) -> None:
        while True:
            time.sleep(DEADLINE)


class Crashing(Troubled):
    def trouble(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
        signal.pause()


class Killed(Troubled):
    def trouble(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


TOO_LONG = "decoding it took more than 2 seconds"
CRASHED = "the decoder crashed on it"
FAULTS = pytest.mark.parametrize(
    ("view", "reason"), [(Busy, TOO_LONG), (Asleep, TOO_LONG), (Crashing, CRASHED)]
)


def run(
    index: Path, folder: Path, view: type[View] = View, retry: bool = False
) -> tuple[IndexReport, dict[str, str]]:
    """Index a folder in processes, with a view; gives the report, and the failures by name."""
    encoder = TinyEncoder()
    encoder.prepare = view(16, "squash")
    with Library.open(index, model="pocket", encoder=encoder) as library:
        report = library.index([folder], isolated=True, retry=retry, workers=2)
        failures = library.status().failures
    return report, {Path(failure[0]).name: failure[1] for failure in failures}


def black(file: Path) -> None:
    Image.new("RGB", (60, 40)).save(file)


@FAULTS
@pytest.mark.usefixtures("limit")
def test_a_decoder_that_comes_to_no_end_costs_each_copy_of_its_file_alone(
    photos: Path, index: Path, view: type[View], reason: str
) -> None:
    black(photos / "a.png")
    for name in ("b.png", "c.png"):
        shutil.copy(photos / "a.png", photos / name)
    report, failures = run(index, photos, view)
    assert (report.added, report.failed, report.complete) == (12, 3, True)
    assert failures == dict.fromkeys(("a.png", "b.png", "c.png"), reason)


@pytest.mark.parametrize(
    ("view", "reason"),
    [pytest.param(Asleep, TOO_LONG, marks=pytest.mark.thorough), (Crashing, CRASHED)],
)
@pytest.mark.usefixtures("limit")
def test_it_is_tried_three_times_and_then_when_it_changes_or_is_asked_for(
    tmp_path: Path, index: Path, view: type[View], reason: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    black(folder / "a.png")
    for _ in range(3):
        report, failures = run(index, folder, view)
        assert (report.failed, failures) == (1, {"a.png": reason})
    report, failures = run(index, folder, view)
    assert (report.failed, failures) == (0, {"a.png": reason})
    report, failures = run(index, folder, view, retry=True)
    assert (report.failed, failures) == (1, {"a.png": reason})
    os.utime(folder / "a.png", (1, 1))
    report, failures = run(index, folder, view)
    assert (report.failed, failures) == (1, {"a.png": reason})
    report, failures = run(index, folder)
    assert (report.added, failures) == (1, {})


@pytest.mark.usefixtures("limit")
def test_a_decoder_that_is_killed_for_want_of_memory_is_tried_at_every_run(
    tmp_path: Path, index: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    black(folder / "a.png")
    for _ in range(5):
        report, failures = run(index, folder, Killed)
        assert report.failed == 1
        assert "killed" in failures["a.png"]
    assert run(index, folder)[0].added == 1


# What was known


def known(index: Path) -> dict[str, int]:
    with Library.open(index, model="pocket", encoder=TinyEncoder()) as library:
        return {photo.path.name: photo.id for photo in library.photos()}


@pytest.mark.parametrize(
    "view",
    [*(pytest.param(it, marks=pytest.mark.thorough) for it in (Busy, Asleep, Killed)), Crashing],
)
@pytest.mark.usefixtures("limit")
def test_a_known_photo_whose_new_bytes_a_decoder_fails_on_stays_what_it_was(
    photos: Path, index: Path, view: type[View]
) -> None:
    run(index, photos)
    before = known(index)
    shutil.copy(photos / "00.jpg", aside := photos.parent / "aside.jpg")
    black(photos / "00.png")
    (photos / "00.png").rename(photos / "00.jpg")
    for _ in range(4):
        report, failures = run(index, photos, view)
        assert (report.removed, [*failures]) == (0, ["00.jpg"])
        assert known(index) == before
    with Library.open(index, model="pocket", encoder=TinyEncoder()) as library:
        assert library.similar(aside, 1)[0].path == photos / "00.jpg"
    report, failures = run(index, photos, retry=True)
    assert (report.updated, failures, known(index)) == (1, {}, before)

"""What comes of a file in a worker, through `Library.index`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import picture
from tiny import open_tiny

from clipsearch.indexing.loading import Limits, Loaded, Loaders, Unread
from clipsearch.photos.decoding import isolated
from clipsearch.photos.decoding.view import View


def test_an_animation_is_embedded_by_its_first_frame_or_by_some(tmp_path: Path) -> None:
    frames = [picture(seed, (64, 64)) for seed in range(4)]
    folder = tmp_path / "photos"
    folder.mkdir()
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    with open_tiny(tmp_path / "first") as library:
        library.index([folder])
        first = library.similar(frames[0])[0].score
    with open_tiny(tmp_path / "mean") as library:
        library.index([folder], frames=4)
        scores = [library.similar(frame)[0].score for frame in frames]
    assert first > 0.99
    assert max(scores) < 0.99
    assert min(scores) > 0.1


def test_a_picture_above_the_limit_in_megapixels_is_refused_and_the_limit_raised(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1, (1500, 1000)).save(folder / "large.png")
    with open_tiny(tmp_path / "index") as library:
        assert library.index([folder], max_megapixels=1).failed == 1
        assert "--max-megapixels" in library.status().failures[0][1]
        assert library.index([folder], max_megapixels=2, retry=True).added == 1


class Crash(View):
    """Stands for a decoder that takes its process with it."""

    def __call__(self, image: object) -> object:  # type: ignore[override]
        os.kill(os.getpid(), signal.SIGSEGV)
        return image


class Hang(View):
    """Stands for a decoder that never ends."""

    def __call__(self, image: object) -> object:  # type: ignore[override]
        signal.pause()
        return image


def test_a_crash_costs_its_own_file_alone(tmp_path: Path) -> None:
    picture(1).save(file := tmp_path / "photo.jpg")
    with Loaders(2, isolated=True) as loaders:
        waits = [loaders.submit(str(file), Crash(16)), loaders.submit(str(file), View(16))]
        crashed, fine = (wait() for wait in waits)
    assert crashed == Unread("the decoder crashed on it", lasting=False, suspect=True)
    assert isinstance(fine, Loaded)


def test_a_hang_costs_its_own_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "TIMEOUT", 1.0)
    picture(1).save(file := tmp_path / "photo.jpg")
    with Loaders(2, isolated=True) as loaders:
        waits = [loaders.submit(str(file), Hang(16)), loaders.submit(str(file), View(16))]
        hung, fine = (wait() for wait in waits)
    reason = "decoding it took more than 1 seconds"
    assert hung == Unread(reason, lasting=False, suspect=True)
    assert isinstance(fine, Loaded)


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_large_pictures_are_loaded_in_turns_and_all_come(tmp_path: Path, isolated: bool) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        picture(number, (8000, 6001)).convert("L").save(file, compress_level=1)
    with Loaders(3, isolated, Limits()) as loaders:
        results = [wait() for wait in [loaders.submit(str(f), View(16)) for f in files]]
    assert all(isinstance(result, Loaded) for result in results)


INDEX = """
import sys, clipsearch, tiny
from multiprocessing.util import get_temp_dir
if __name__ == "__main__":
    if sys.argv[3] == "decided":
        get_temp_dir()
    with tiny.open_tiny(tiny.Path(sys.argv[1])) as library:
        try:
            print(library.index([sys.argv[2]], isolated=True).added)
        except clipsearch.NoProcess as error:
            print(error)
"""


def indexed_where(index: Path, photos: Path, temporary: Path, sockets: str = "") -> str:
    """What comes of indexing with temporary files there; a program may have decided on sockets."""
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", INDEX, index, photos, sockets], cwd=Path(__file__).parent,
        env=os.environ | {"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_temporary_files_may_be_at_a_long_path(index: Path, photos: Path, tmp_path: Path) -> None:
    temporary = tmp_path / ("long" * 30)
    assert indexed_where(index, photos, temporary) == "12"
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="others may have longer paths")
def test_where_no_process_can_be_started_it_says_so(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    said = indexed_where(index, photos, tmp_path / ("long" * 30), sockets="decided")
    assert said.startswith("no process to decode photos in could be started (")

"""Files that are put in place whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsearch import InvalidInput
from clipsearch.replacing import check_writable, is_unfinished, put_in_place, replacing


def test_a_file_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    place.write_text("old")
    with replacing(place) as fresh:
        fresh.write_text("new")
        assert place.read_text() == "old"
        assert is_unfinished(fresh.name)
    assert place.read_text() == "new"
    assert os.listdir(tmp_path) == ["page.html"]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    place.write_text("old")

    def fail() -> None:
        with replacing(place) as fresh:
            fresh.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    place = tmp_path / "private"
    place.write_text("old")
    place.chmod(0o600)
    with replacing(place) as fresh:
        fresh.write_text("new")
    assert place.stat().st_mode & 0o777 == 0o600


def test_a_folder_never_takes_the_place_of_one_that_holds_something(tmp_path: Path) -> None:
    fresh, place = tmp_path / "fresh", tmp_path / "place"
    (fresh / "below").mkdir(parents=True)
    (fresh / "below" / "file").write_text("new")
    place.mkdir()
    (place / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        put_in_place(fresh, place)
    (place / "mine").unlink()
    put_in_place(fresh, place)
    assert (place / "below" / "file").read_text() == "new"


def test_whether_a_folder_can_be_written_is_seen_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "new", tmp_path / "new" / "below"):
        check_writable(place, "out")
    for place in (tmp_path / "file", tmp_path / "file" / "new" / "below"):
        with pytest.raises(InvalidInput, match=f"^out {place} is or lies in a file, .*/file; name"):
            check_writable(place, "out")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody writes in")
def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(
        InvalidInput, match=r"^out /proc/new cannot be written \(.*\); name another"
    ):
        check_writable(Path("/proc/new"), "out")

"""Reading an index without the right to write to it, while others do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import Run, picture
from tiny import open_tiny

from clipsearch import Library
from clipsearch.errors import LibraryError

ALL = None
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

pytestmark = pytest.mark.skipif(not AS_ROOT, reason="mounting and other users need root")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see that none stays."""
    place = tmp_path / "scratch"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


@contextmanager
def mounted_read_only(folder: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    if subprocess.run(["mount", "--bind", folder, place], check=False).returncode:
        pytest.skip("mounting needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def view(indexed: Path, tmp_path: Path) -> Iterator[Path]:
    """The index of 12 photos, mounted read-only elsewhere."""
    with mounted_read_only(indexed, tmp_path / "view") as place:
        yield place


def add(index: Path, photos: Path, first: int, last: int) -> None:
    for seed in range(first, last):
        picture(seed, (40, 30)).save(photos / f"{seed}.jpg")
    with open_tiny(index) as library:
        library.index([photos])


def counts(library: Library) -> set[int]:
    """How many photos the index has, by every way to ask."""
    found = library.query("a dog", ALL)
    return {len(found), len(library.photos()), library.count(), library.status().photos}


def with_a_log(index: Path, photos: Path, place: Path) -> Path:
    """What a back-up has of an index that somebody reads: its new pages are in the log alone."""
    with closing(sqlite3.connect(index / "catalog.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM photos").fetchall()
        add(index, photos, 100, 103)
        shutil.copytree(index, place)
    (place / "catalog.db-shm").unlink()
    assert (place / "catalog.db-wal").stat().st_size > 32
    return place


def test_a_reader_that_stays_sees_what_is_written_through_another_mount(
    view: Path, indexed: Path, photos: Path, clipsearch: Run
) -> None:
    with open_tiny(view, create=False) as library:
        assert counts(library) == {12}
        for there in range(12, 72, 20):
            add(indexed, photos, there, there + 20)
            assert counts(library) == {there + 20}
        with open_tiny(indexed) as writer:  # while it is open there is a log, and a map of it
            writer.forget(photos / "trip")
            assert counts(library) == {68}
            writer.index([photos / "trip"])
            assert counts(library) == {72}
        assert counts(library) == {72}
        assert "72" in clipsearch("status", "--index", view).stdout


def test_photos_that_are_still_in_a_log_are_shown(
    indexed: Path, photos: Path, tmp_path: Path, scratch: Path, clipsearch: Run
) -> None:
    backup = with_a_log(indexed, photos, tmp_path / "backup")
    with mounted_read_only(backup, tmp_path / "view") as view:
        with open_tiny(view, create=False) as library:
            assert counts(library) == {15}
            with library.twin() as other:
                assert counts(other) == {15}
                assert len(list(scratch.iterdir())) == 1
            add(backup, photos, 103, 105)  # which takes the log into the file
            assert counts(library) == {17}
        assert list(scratch.iterdir()) == []
        listed = clipsearch("ls", "-k", "all", "--paths", "--index", view)
        assert len(listed.stdout.splitlines()) == 17
    assert list(scratch.iterdir()) == []


def test_the_log_of_another_catalog_is_passed_over(
    indexed: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    restored = tmp_path / "restored"
    shutil.copytree(indexed, restored)
    for round in range(3):
        add(indexed, photos, 200 + 50 * round, 250 + 50 * round)
    backup = with_a_log(indexed, photos, tmp_path / "backup")
    shutil.copy(backup / "catalog.db-wal", restored)
    with (
        mounted_read_only(restored, tmp_path / "view") as view,
        open_tiny(view, create=False) as library,
    ):
        assert counts(library) == {12}
    assert "log of another catalog" in caplog.text


@pytest.mark.parametrize("is_later", [True, False])
def test_the_log_of_another_catalog_is_never_written_into_one_that_is_put_back(
    indexed: Path, photos: Path, tmp_path: Path, clipsearch: Run, is_later: bool
) -> None:
    restored = tmp_path / "restored"
    shutil.copytree(indexed, restored)
    if is_later:
        add(indexed, photos, 200, 250)
        shutil.copy(with_a_log(indexed, photos, tmp_path / "backup") / "catalog.db-wal", restored)
    else:
        assert clipsearch("copy", tmp_path / "copy").returncode == 0
        with closing(sqlite3.connect(tmp_path / "copy" / "catalog.db")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE other (a)")
            shutil.copy(tmp_path / "copy" / "catalog.db-wal", restored)
    before = (restored / "catalog.db").read_bytes()
    for command in ("ls", "status", "index", "doctor", "ls"):
        done = clipsearch(command, "--index", restored)
        assert done.returncode
        assert "move catalog.db-wal" in done.stderr + done.stdout
        assert (restored / "catalog.db").read_bytes() == before
    (restored / "catalog.db-wal").unlink()
    (restored / "catalog.db-shm").unlink(missing_ok=True)
    listed = clipsearch("ls", "-k", "all", "--paths", "--index", restored)
    assert len(listed.stdout.splitlines()) == 12


def test_a_catalog_that_is_put_back_is_what_is_read(
    view: Path, indexed: Path, photos: Path, tmp_path: Path
) -> None:
    kept = shutil.copy(indexed / "catalog.db", tmp_path)
    add(indexed, photos, 100, 105)
    with open_tiny(view, create=False) as library:
        assert counts(library) == {17}
        shutil.copy(kept, indexed / "catalog.db")  # in place
        assert counts(library) == {12}
        add(indexed, photos, 105, 107)
        assert counts(library) == {19}
        os.replace(kept, indexed / "catalog.db")
        assert counts(library) == {12}


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users can look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_user_who_may_only_read_sees_what_is_written(
    indexed: Path, photos: Path, open_to_all: Path
) -> None:
    index = shutil.copytree(indexed, open_to_all / "index")
    index.chmod(0o755)
    with as_nobody():
        library = open_tiny(index, create=False)
    with library:

        def seen() -> set[int]:
            with as_nobody(), open_tiny(index, create=False) as fresh:
                return counts(library) | counts(fresh)

        assert seen() == {12}
        add(index, photos, 100, 103)
        assert seen() == {15}
        with open_tiny(index) as writer:
            writer.forget(photos / "trip")
            assert seen() == {11}
            writer.index([photos / "trip"])
            assert seen() == {15}
        assert seen() == {15}
        with as_nobody(), pytest.raises(LibraryError, match="cannot be written"):
            library.forget(photos)


def test_a_user_who_may_only_read_sees_what_is_in_a_log(
    indexed: Path, photos: Path, open_to_all: Path
) -> None:
    backup = with_a_log(indexed, photos, open_to_all / "backup")
    backup.chmod(0o755)
    with as_nobody(), open_tiny(backup, create=False) as library:
        assert counts(library) == {15}


def test_a_catalog_without_the_right_to_read_is_said_to_be_that(
    indexed: Path, open_to_all: Path
) -> None:
    index = shutil.copytree(indexed, open_to_all / "index")
    with as_nobody(), pytest.raises(LibraryError, match="cannot be read"):
        open_tiny(index, create=False)
    index.chmod(0o755)
    (index / "catalog.db").chmod(0o600)
    with as_nobody(), pytest.raises(LibraryError, match=r"catalog\.db cannot be read"):
        open_tiny(index, create=False)

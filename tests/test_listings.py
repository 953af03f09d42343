"""A folder that shows what it showed is taken as known at a glance, and never wrongly.

That what is kept of folders is right whatever happens is for test_any_order.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import picture
from tiny import OTHER, TinyEncoder, open_tiny

from clipsearch import Library


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three folders, of two photos each."""
    root = tmp_path / "photos"
    for number, name in enumerate(
        ["1.jpg", "2.jpg", "a/1.jpg", "a/2.jpg", "a/b/1.jpg", "a/b/2.jpg"]
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, (40, 32)).save(root / name)
    return root


@pytest.fixture
def library(index: Path, photos: Path) -> Iterator[Library]:
    """One that knows them, and how their folders are listed."""
    with open_tiny(index) as library:
        library.index([photos])
        library.index()
        yield library


def kept(index: Path) -> dict[str, int]:
    """Of how many photos the listings are that are kept, by folder."""
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        return dict(db.execute("SELECT path, photos FROM listings WHERE digest NOT NULL"))


def test_a_run_with_nothing_to_do_knows_all_folders_and_writes_nothing(
    library: Library, index: Path
) -> None:
    assert kept(index) == {"": 2, "a": 2, "a/b": 2}
    with closing(sqlite3.connect(index / "catalog.db")) as other:
        (before,) = other.execute("PRAGMA data_version").fetchone()
        assert library.index().unchanged == 6
        (after,) = other.execute("PRAGMA data_version").fetchone()
    assert after == before


def test_only_the_folder_of_a_new_photo_is_read_again(
    library: Library, index: Path, photos: Path
) -> None:
    picture(9, (40, 32)).save(photos / "a" / "3.jpg")
    report = library.index()
    assert (report.added, report.unchanged) == (1, 6)
    assert kept(index) == {"": 2, "a/b": 2}
    library.index()
    assert kept(index) == {"": 2, "a": 3, "a/b": 2}


def test_a_photo_that_comes_and_goes_is_gone(library: Library, photos: Path) -> None:
    shutil.copy2(photos / "1.jpg", photos / "a" / "3.jpg")
    library.index()
    (photos / "a" / "3.jpg").unlink()
    report = library.index()
    assert (report.removed, report.unchanged) == (1, 6)


def test_a_photo_that_becomes_what_it_was_is_read_again(library: Library, photos: Path) -> None:
    changed, before = photos / "a" / "1.jpg", photos.parent / "before.jpg"
    shutil.copy2(changed, before)
    picture(9, (40, 32)).save(changed)
    assert library.index().updated == 1
    shutil.copy2(before, changed)  # with its size and time
    assert library.index().updated == 1


def test_a_photo_whose_time_alone_is_another_is_known_by_that(
    library: Library, index: Path, photos: Path
) -> None:
    os.utime(photos / "a" / "1.jpg", ns=(1, 1))
    report = library.index()
    assert (report.updated, report.unchanged) == (0, 6)
    assert kept(index) == {"": 2, "a/b": 2}  # its time was written
    library.index()
    assert kept(index) == {"": 2, "a": 2, "a/b": 2}


def test_a_photo_of_a_time_that_no_catalog_holds_is_indexed_once(
    library: Library, photos: Path
) -> None:
    far = photos / "a" / "far.jpg"
    picture(9, (40, 32)).save(far)
    os.utime(far, (13_569_465_600, 13_569_465_600))  # the year 2400
    if far.stat().st_mtime < 13_569_465_600:
        pytest.skip("its file system has no such times")
    assert library.index().added == 1
    for _ in range(2):
        report = library.index()
        assert (report.updated, report.unchanged) == (0, 7)
    assert {hit.path: hit.present for hit in library.query("a zebra", 9)}[far]


def test_folders_that_moved_are_told_as_moved(library: Library, index: Path, photos: Path) -> None:
    (photos / "a").rename(photos / "c")
    report = library.index()
    assert (report.moved, report.unchanged) == (4, 2)
    library.index()
    assert kept(index) == {"": 2, "c": 2, "c/b": 2}


def test_a_file_that_cannot_be_read_does_not_hide_its_folder(
    library: Library, photos: Path
) -> None:
    (photos / "a" / "3.jpg").write_bytes(b"no picture")
    assert library.index().failed == 1
    picture(9, (40, 32)).save(photos / "a" / "3.jpg")
    assert library.index().added == 1


def test_rules_hold_for_folders_that_were_known(library: Library, photos: Path) -> None:
    assert library.index([photos], exclude=["b/"]).removed == 2
    assert library.index([photos], exclude=[]).added == 2


def test_a_root_above_takes_them_over(library: Library, index: Path, photos: Path) -> None:
    assert library.index([photos.parent]).unchanged == 6
    assert kept(index) == {"photos": 2, "photos/a": 2, "photos/a/b": 2}


def test_another_model_embeds_what_the_first_one_did(library: Library, index: Path) -> None:
    library.close()

    class Other(TinyEncoder):
        weights = "other"

    with Library.open(index, model=OTHER, encoder=Other()) as other:
        assert other.index().embedded == 6
    with open_tiny(index) as first:
        assert first.index().unchanged == 6


def test_photos_behind_links_are_found_each_time(
    library: Library, index: Path, photos: Path
) -> None:
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    picture(9, (40, 32)).save(elsewhere / "9.jpg")
    (photos / "a" / "link.jpg").symlink_to(elsewhere / "9.jpg")
    assert library.index([photos], follow_links=True).added == 1
    for _ in range(2):
        report = library.index()
        assert (report.added, report.removed, report.unchanged) == (0, 0, 7)


def test_an_index_of_before_learns_how_folders_are_listed(library: Library, index: Path) -> None:
    library.close()
    with closing(sqlite3.connect(index / "catalog.db")) as db:
        for trigger in ("new", "changed", "gone", "vector_gone"):
            db.execute(f"DROP TRIGGER listing_of_{trigger}")
        db.executescript(
            "DROP TABLE listings; DROP INDEX photos_by_size; PRAGMA user_version = 19;"
            "DELETE FROM _sqlite_migrations WHERE name = 'm020_listings'"
        )
    with open_tiny(index) as library:
        assert library.index().unchanged == 6
    assert kept(index) == {"": 2, "a": 2, "a/b": 2}

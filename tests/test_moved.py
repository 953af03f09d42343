"""Folders that were moved are known again by what they are, and what is in them is not read."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import picture
from test_plan import did, plan_of
from tiny import open_tiny

from clipsearch import Library
from clipsearch.indexing import comparison
from clipsearch.store.catalog import Catalog


@pytest.fixture
def library(index: Path) -> Iterator[Library]:
    with open_tiny(index) as library:
        yield library


def album(photos: Path, name: str = "album", count: int = 3) -> Path:
    folder = photos / name
    (folder / "inner").mkdir(parents=True)
    for seed in range(count):
        picture(seed + 50).save(folder / f"{seed}.jpg")
        picture(seed + 60).save(folder / "inner" / f"{seed}.jpg")
    return folder


def ids_by_name(library: Library, folder: Path) -> dict[str, int]:
    found = {str(hit.path): hit.id for hit in library.query("x", 1000)}
    inside = os.path.join(folder, "")
    return {path[len(inside) :]: id for path, id in found.items() if path.startswith(inside)}


def test_a_folder_that_was_moved_is_known_without_reading_what_is_in_it(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    folder = album(photos)
    library.index([photos])
    before = ids_by_name(library, folder)
    assert len(before) == 6
    for to in (photos / "renamed", photos / "sub" / "deep" / "album", tmp_path / "elsewhere"):
        to.parent.mkdir(exist_ok=True, parents=True)
        folder = folder.rename(to)
        if to.parent == tmp_path:
            with closing(Catalog.open(library.folder)) as catalog:
                catalog.add_root(str(to))
        plan = plan_of(library)
        assert (len(plan.moves), plan.work, plan.gone) == (6, [], [])
        assert did(library.index()) == {"moved": 6, "unchanged": 12}
        assert ids_by_name(library, folder) == before
    assert plan_of(library).is_empty


def test_folders_of_an_index_of_before_are_known_from_its_next_run_on(
    library: Library, photos: Path
) -> None:
    folder = album(photos)
    library.index([photos])
    library.close()
    with closing(sqlite3.connect(library.folder / "catalog.db")) as db, db:
        db.executescript(
            "DROP TABLE folders; DELETE FROM _sqlite_migrations WHERE name = 'm015_folders';"
            "PRAGMA user_version = 14"
        )
    with open_tiny(library.folder) as again:
        assert did(again.index()) == {"unchanged": 18}
        folder.rename(photos / "renamed")
        assert len(plan_of(again).moves) == 6


def changed(file: Path) -> None:
    """Another content of the same size, and another time."""
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def exchanged(file: Path) -> None:
    """Two files have each other's names."""
    other = file.with_name("1.jpg")
    aside = file.with_name("aside")
    for one, to in ((file, aside), (other, file), (aside, other)):
        one.rename(to)


@pytest.mark.parametrize("change", [changed, exchanged])
def test_what_is_another_in_a_folder_that_was_moved_is_read(
    library: Library, photos: Path, change: Callable[[Path], None]
) -> None:
    folder = album(photos)
    library.index([photos])
    folder = folder.rename(photos / "renamed")
    change(folder / "0.jpg")
    read = {item.found.path for item in plan_of(library).work}
    assert "renamed/0.jpg" in read
    library.index()
    with closing(Catalog.open(library.folder)) as catalog:
        (root,) = catalog.roots()
        for path, known in catalog.known(root.id).items():
            assert known.digest == hashlib.sha256((photos / path).read_bytes()).hexdigest()


@pytest.mark.parametrize("unlike", ["name", "size", "time"])
def test_a_folder_that_has_the_number_of_one_that_is_gone_takes_nothing_of_it(
    library: Library, photos: Path, unlike: str
) -> None:
    folder = album(photos)
    library.index([photos])
    other = photos / "other"
    other.mkdir()
    for number in range(3):
        stat, content = (folder / f"{number}.jpg").stat(), (folder / "0.jpg").read_bytes()
        file = other / (f"{number}.jpg" if unlike != "name" else f"other {number}.jpg")
        file.write_bytes(content.ljust(stat.st_size + (unlike == "size"), bytes([number])))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + (unlike == "time")))
    shutil.rmtree(folder)
    with closing(Catalog.open(library.folder)) as catalog:
        (root,) = catalog.roots()
        inode = other.stat().st_dev, other.stat().st_ino
        catalog.set_folders(root.id, {"album": inode}, [])  # which it was given again
    plan = plan_of(library)
    assert plan.moves == []
    assert {item.found.path for item in plan.work} == {
        f"other/{file.name}" for file in other.iterdir()
    }


def test_a_folder_without_a_number_is_not_kept(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = album(photos)
    library.index([photos])
    monkeypatch.setattr(comparison, "LARGEST", 0)  # no number of a folder is so small
    library.index()
    folder.rename(photos / "renamed")
    assert plan_of(library).moves == []
    assert did(library.index()) == {"moved": 6, "unchanged": 12}


def test_what_two_folders_of_before_may_have_held_is_read(library: Library, photos: Path) -> None:
    folder = album(photos)
    shutil.copy2(folder / "0.jpg", folder / "inner" / "0.jpg")
    library.index([photos])
    folder.rename(photos / "renamed")
    with closing(Catalog.open(library.folder)) as catalog:
        (root,) = catalog.roots()
        inode = catalog.folders(root.id)["album"]
        catalog.set_folders(root.id, {"album/inner": inode}, [])
    plan = plan_of(library)
    assert {new.found.path for _, new in plan.moves} == {"renamed/1.jpg", "renamed/2.jpg"}
    assert "renamed/0.jpg" in {item.found.path for item in plan.work}
    assert did(library.index()) == {"moved": 6, "unchanged": 12}


def test_a_copy_of_a_folder_that_is_there_is_no_move(library: Library, photos: Path) -> None:
    folder = album(photos)
    library.index([photos])
    shutil.copytree(folder, photos / "copy")
    assert plan_of(library).moves == []
    assert did(library.index()) == {"added": 6, "unchanged": 18}
    shutil.rmtree(folder)
    assert did(library.index()) == {"removed": 6, "unchanged": 18}


def test_a_folder_that_was_moved_is_read_where_all_is_verified(
    library: Library, photos: Path
) -> None:
    folder = album(photos)
    library.index([photos])
    folder.rename(photos / "renamed")
    assert len(plan_of(library, verify=True).work) == 18
    assert did(library.index(verify=True)) == {"moved": 6, "unchanged": 12}

"""What leaves the index is kept for a while, and comes back without a model."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from tiny import TinyEncoder, open_tiny

from clipsearch import InvalidInput, Library


class Counting(TinyEncoder):
    """Counts the pictures that it embeds."""

    count = 0

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        self.count += len(batch)
        return super().encode_images(batch)


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def library(index: Path, photos: Path, encoder: Counting) -> Iterator[Library]:
    """A library of twelve photos, each with a caption of a model."""
    with Library.open(index, model="pocket", encoder=encoder) as library:
        library.index([photos])
        encoder.count = 0
        yield library


def rows(index: Path, select: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(index / "catalog.db") as db:
        return sorted(db.execute(select).fetchall())


def caption_all(index: Path) -> None:
    with sqlite3.connect(index / "catalog.db") as db:
        db.execute("INSERT INTO captions SELECT digest, 'blip', 'of ' || path FROM photos")


EMBEDDED = "SELECT path, vector, photos.width, taken_at FROM photos JOIN vectors USING (digest)"


def forget_all(library: Library, photos: Path) -> None:
    assert library.forget(photos) == 12


def delete_all_but_one(library: Library, photos: Path) -> None:
    for file in sorted(photos.rglob("*.jpg"))[1:]:
        file.rename(file.with_suffix(".away"))
    assert library.index().removed == 11
    for file in photos.rglob("*.away"):
        file.rename(file.with_suffix(".jpg"))


def prune(library: Library, photos: Path) -> None:
    photos.rename(photos.with_name("away"))
    assert library.index(prune=True).removed == 12
    photos.with_name("away").rename(photos)


def edit(library: Library, photos: Path) -> None:
    before = {file: (file.read_bytes(), file.stat()) for file in photos.rglob("*.jpg")}
    for seed, file in enumerate(before):
        picture(100 + seed).save(file)
    assert library.index().updated == 12
    for file, (content, stat) in before.items():
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def damage(library: Library, photos: Path) -> None:
    before = {file: (file.read_bytes(), file.stat()) for file in photos.rglob("*.jpg")}
    for file in before:
        file.write_bytes(b"\xff\xd8 no picture any more")
    assert library.index().failed == 12
    for file, (content, stat) in before.items():
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("leave", [forget_all, delete_all_but_one, prune, edit, damage])
def test_what_comes_back_is_not_embedded_again(
    library: Library,
    photos: Path,
    index: Path,
    encoder: Counting,
    leave: Callable[[Library, Path], None],
) -> None:
    caption_all(index)
    before = rows(index, EMBEDDED), rows(index, "SELECT * FROM captions")
    hashes = rows(index, "SELECT * FROM pictures")
    order = [hit.path for hit in library.query("a dog")]
    leave(library, photos)
    encoder.count = 0
    report = library.index([photos])
    assert (encoder.count, report.embedded) == (0, 0)
    assert (rows(index, EMBEDDED), rows(index, "SELECT * FROM captions")) == before
    assert set(hashes) <= set(rows(index, "SELECT * FROM pictures"))
    assert [hit.path for hit in library.query("a dog")] == order
    assert library.captions(photos / "05.jpg") == {"blip": "of 05.jpg"}
    assert library.query('"of 05"', hybrid=True)[0].path == photos / "05.jpg"


def test_what_left_is_neither_searched_nor_counted(
    library: Library, photos: Path, index: Path
) -> None:
    caption_all(index)
    library.forget(photos / "trip")
    held = library.status()
    assert (held.photos, held.models[0].vectors, held.captions) == (8, 8, {"blip": 8})
    assert (held.kept.contents, held.kept.days) == (4, 30)
    assert held.kept.bytes == 4 * 2 * held.models[0].dim
    assert len(library.query("a dog", k=None)) == 8
    assert library.captions(photos / "trip" / "08.jpg") == {}


def test_a_content_that_has_another_copy_does_not_leave(
    library: Library, photos: Path, index: Path
) -> None:
    shutil.copy(photos / "00.jpg", photos / "copy.jpg")
    library.index()
    library.forget(photos / "copy.jpg", keep_for=0)
    assert library.status().kept.contents == 0
    assert len(rows(index, EMBEDDED)) == 12


def test_ids_of_vectors_are_not_used_twice(library: Library, photos: Path, index: Path) -> None:
    before = {id for (id,) in rows(index, "SELECT id FROM vectors")}
    library.forget(photos / "trip")
    library.index([photos / "trip"])
    after = {id for (id,) in rows(index, "SELECT id FROM vectors")}
    assert len(after) == 12
    assert max(before) < max(after)
    assert len(after - before) == 4


def age(index: Path, days: int) -> None:
    with sqlite3.connect(index / "catalog.db") as db:
        db.execute("UPDATE departed SET since = since - ?", (days * 86_400,))


def kept_rows(index: Path) -> int:
    tables = ("departed", "departed_vectors")
    return sum(len(rows(index, f"SELECT digest FROM {table}")) for table in tables)


def test_it_is_kept_for_thirty_days(
    library: Library, photos: Path, index: Path, encoder: Counting
) -> None:
    caption_all(index)
    library.forget(photos / "trip")
    age(index, 29)
    library.index()
    assert library.status().kept.contents == 4
    age(index, 1)
    library.index()
    assert kept_rows(index) == 0
    assert [len(rows(index, f"SELECT * FROM {it}")) for it in ("pictures", "captions")] == [8, 8]
    assert library.index([photos / "trip"]).embedded == encoder.count == 4


def test_how_long_it_is_kept_can_be_said(library: Library, photos: Path, index: Path) -> None:
    library.forget(photos / "trip")
    library.index(keep_for=90)
    age(index, 89)
    library.index()
    library.forget(photos / "00.jpg", keep_for=0)
    assert (library.status().kept.contents, library.status().kept.days) == (4, 90)
    library.index(keep_for=0)
    assert kept_rows(index) == 0
    library.forget(photos / "01.jpg")
    assert kept_rows(index) == 0


@pytest.mark.parametrize("days", [-1, 36_501, 1 << 70])
def test_days_that_make_no_sense_are_refused(library: Library, photos: Path, days: int) -> None:
    with pytest.raises(InvalidInput, match=r"--keep-for (must be at least 0|is at most 36500)"):
        library.index(keep_for=days)
    with pytest.raises(InvalidInput, match=r"--keep-for (must be at least 0|is at most 36500)"):
        library.forget(photos, keep_for=days)
    assert library.status().photos == 12


def test_a_back_up_has_it_too(
    library: Library, photos: Path, index: Path, encoder: Counting
) -> None:
    library.forget(photos)
    library.copy(index.with_name("own"), own=True)
    with Library.open(index.with_name("own"), encoder=encoder) as other:
        assert other.index([photos]).added == 12
    assert encoder.count == 0


def test_a_model_that_is_removed_leaves_nothing(
    library: Library, photos: Path, index: Path
) -> None:
    with sqlite3.connect(index / "catalog.db") as db:
        db.execute("INSERT INTO models VALUES (9, 'ViT-B-32/openai', 'w', 'p', 2, NULL, 'torch')")
        db.execute(
            "INSERT INTO vectors (digest, model_id, vector) SELECT digest, 9, x'01' FROM photos"
        )
    library.forget(photos / "trip")
    assert len(rows(index, "SELECT * FROM departed_vectors")) == 8
    library.remove_model("ViT-B-32/openai")
    assert len(rows(index, "SELECT * FROM departed_vectors")) == 4


def test_an_index_of_before_is_taken_over(indexed: Path, photos: Path) -> None:
    with sqlite3.connect(indexed / "catalog.db") as db:
        db.executescript(
            "DROP TABLE departed_vectors; DROP TABLE departed;"
            "ALTER TABLE library DROP COLUMN kept_for; PRAGMA user_version = 6;"
            "DELETE FROM _sqlite_migrations WHERE name = 'm007_departed'"
        )
    with open_tiny(indexed) as library:
        assert library.forget(photos) == 12
        assert library.index([photos]).embedded == 0


# The command line


def test_in_a_pipe_nothing_is_asked_and_the_way_back_is_told(
    indexed: Path, photos: Path, clipsearch: Run
) -> None:
    assert clipsearch("index", photos, "--exclude", "0*.jpg").returncode == 0
    done = clipsearch("forget", photos)
    assert done.stdout == f"2 photos taken out: {photos}\n"
    assert f"clipsearch index --exclude '0*.jpg' {photos}" in done.stderr
    assert "within 30 days" in done.stderr
    held = json.loads(clipsearch("status", "--json").stdout)["kept"]
    assert (held["contents"], held["days"]) == (12, 30)
    assert "kept      12 contents that left" in clipsearch("status").stdout
    assert clipsearch("index", photos, "--keep-for", "-1").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "answer", "left"),
    [([], "n\n", 12), ([], "\n", 12), ([], "y\n", 0), (["--yes"], "", 0), (["-y"], "", 0)],
)
def test_on_a_terminal_a_folder_is_asked_about(
    indexed: Path, photos: Path, home: Path, arguments: list[str], answer: str, left: int
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    run = subprocess.run(
        [sys.executable, "-m", "clipsearch", "forget", str(photos), *arguments],
        stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, timeout=300,
        env={**os.environ, "HOME": str(home), "CLIPSEARCH_INDEX": str(indexed)},
    )  # fmt: skip
    said = os.read(ours, 1 << 16).decode()
    assert ("12 photos of" in said) == (not arguments)
    assert run.returncode == (1 if left else 0)
    assert bool(run.stdout) == (not left)
    with open_tiny(indexed) as library:
        assert library.status().photos == left


def test_one_photo_is_not_asked_about(indexed: Path, photos: Path, home: Path) -> None:
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "clipsearch", "forget", str(photos / "00.jpg")],
        stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, timeout=300,
        env={**os.environ, "HOME": str(home), "CLIPSEARCH_INDEX": str(indexed)},
    )  # fmt: skip
    assert run.stdout.startswith("1 photo taken out")
    os.close(ours)

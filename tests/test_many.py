"""What is done to one photo costs no more where there are many: counted in steps of SQLite's."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import OTHER, TinyEncoder, open_other

from clipsearch import Library
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.urls import is_below, is_below_any
from clipsearch.store.catalog import Changes, NewPhoto
from clipsearch.store.vectors.sync import bring_up, vector_file

EVERY = 10  # steps at which SQLite says so


def fill(library: Library, photos: Path, count: int) -> None:
    """Have an index know so many photos, a hundred a folder, whose files are one byte each."""
    catalog = library._catalog
    root = catalog.add_root(str(photos))
    encoder = TinyEncoder()
    model = catalog.add_model(OTHER, encoder.weights, encoder.preprocess, encoder.dim, None)
    row = np.eye(encoder.dim, dtype=np.float16)
    changes = Changes()
    for number in range(count):
        file = photos / f"{number // 100:03}" / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
        stat, digest = file.stat(), hashlib.sha256(b"%d" % number).hexdigest()
        changes.photos.append(
            NewPhoto(None, root.id, f"{number // 100:03}/{number:05}.jpg", digest,
                     stat.st_size, stat.st_mtime_ns, Facts(4032, 3024))
        )  # fmt: skip
        changes.vectors.append((digest, row[number % encoder.dim].tobytes()))
    catalog.write(model.id, changes)
    bring_up(catalog, model, vector_file(library.folder, model))


def steps(library: Library, do: Callable[[], object]) -> int:
    """How many steps of SQLite's virtual machine something takes."""
    count = 0

    def look() -> None:
        nonlocal count
        count += EVERY

    library._catalog._db.set_progress_handler(look, EVERY)
    do()
    library._catalog._db.set_progress_handler(None, 0)
    return count


@pytest.fixture
def sizes(tmp_path: Path) -> list[tuple[Library, Path]]:
    """Libraries of a few photos and of ten times as many, with their folders."""
    found = []
    for count in (200, 2000):
        photos, library = tmp_path / f"photos {count}", open_other(tmp_path / f"index {count}")
        fill(library, photos, count)
        found.append((library, photos))
    return found


def test_to_forget_a_photo_costs_as_much_among_many(sizes: list[tuple[Library, Path]]) -> None:
    few, many = (
        steps(library, lambda: library.forget(photos / "001" / "00150.jpg"))  # noqa: B023
        for library, photos in sizes
    )
    assert many < 2 * few
    for library, photos in sizes:
        before = library.count()
        library.forget(photos / "000")
        assert library.count() == before - 100
        assert library.index().added == 0


def test_a_path_lies_below_many_folders_if_it_does_below_one() -> None:
    chosen = random.Random(0)
    for _ in range(5000):
        path = "/".join(chosen.choices(["a", "b", "ab", "a b", "é"], k=chosen.randint(1, 4)))
        folders = {
            "/".join(chosen.choices(["a", "b", "ab", "a b", "é"], k=chosen.randint(1, 4)))
            for _ in range(chosen.randint(0, 5))
        }
        assert is_below_any(path, folders) == any(is_below(path, it) for it in folders)
    assert is_below_any("a/b", {""})


def test_many_photos_that_were_forgotten_stay_so(sizes: list[tuple[Library, Path]]) -> None:
    library, photos = sizes[0]
    for number in range(50, 150):
        library.forget(photos / f"{number // 100:03}" / f"{number:05}.jpg")
    (photos / "000" / "00050.jpg x").mkdir()  # begins as one that was forgotten
    (photos / "000" / "00049.jpg").rename(photos / "000" / "00050.jpg x" / "new.jpg")
    report = library.index()
    assert (report.added, report.moved, report.removed, report.unchanged) == (0, 1, 0, 99)

"""Fifty SIGKILLs at random moments of one indexing run over a thousand files."""

from __future__ import annotations

import io
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import asked_for, picture
from tiny import TinyEncoder, open_tiny

from clipsearch.photos.decoding.decode import decode

FILES = 1000
KILLS = 50 if asked_for("thorough") else 15

Photos = list[tuple[str, str, bytes]]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand small photos in ten folders, one in ten a copy of another."""
    root = tmp_path_factory.mktemp("many")
    for number in range(FILES):
        folder = root / f"{number % 10}"
        folder.mkdir(exist_ok=True)
        picture(number - number % 10 // 9, (64, 48)).save(folder / f"{number:04}.jpg")
    return root


def stored(index: Path) -> Photos:
    """Path, digest and vector of all photos, as another program reads them."""
    with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as db:
        return db.execute(
            "SELECT path, photos.digest, vector FROM photos"
            " JOIN vectors ON vectors.digest = photos.digest ORDER BY path"
        ).fetchall()


def indexer(index: Path, folder: Path) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("tiny.py")
    command = [sys.executable, str(program), str(index), str(folder), "5"]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_many_kills_lose_and_double_nothing(many: Path, tmp_path: Path) -> None:
    index, chance = tmp_path / "index", random.Random(7)
    held: Photos = []
    kills = 0
    while kills < KILLS:
        process = indexer(index, many)
        # Moments count from the first sign of life, or most kills would hit the start-up.
        target = len(held) + chance.choice([0, 0, 1, 2, 6])
        while process.poll() is None and (
            not (index / "catalog.db").exists() or count(index) < target
        ):
            pass
        wait = chance.random() * 0.02
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait)
        process.kill()
        process.communicate()
        kills += 1
        now = stored(index) if count(index) >= 0 else []
        assert set(held) <= set(now)
        assert len(now) == count(index)
        held = now
    with open_tiny(index) as library:
        library.index([many])
        assert library.status().photos == FILES
    with open_tiny(tmp_path / "undisturbed") as library:
        library.index([many])
    assert stored(index) == stored(tmp_path / "undisturbed")


def count(index: Path) -> int:
    """How many photos are committed; -1 while there is no table yet."""
    try:
        with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM photos").fetchone()[0])
    except sqlite3.OperationalError:
        return -1


def test_the_tiny_encoder_gives_each_picture_its_own_place() -> None:
    content = picture_bytes(1), picture_bytes(2)
    tiny = TinyEncoder()
    views = [tiny.prepare(decode(data).image)[None] for data in content]
    one, other = (tiny.encode_images(view)[0] for view in views)
    assert one @ one == pytest.approx(1)
    assert one @ other < 0.9


def picture_bytes(seed: int) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(stream, "JPEG")
    return stream.getvalue()

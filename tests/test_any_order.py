"""Whatever happens on the disk, in whatever order: after a run the catalog equals the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from conftest import picture
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image
from tiny import TinyEncoder, open_tiny

from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.decoding.phash import LEAST_SIDE

NAMES = st.sampled_from(
    [f"{folder}{name}.jpg" for folder in ("", "a/", "a/b/") for name in ("x", "y", "\udcff")]
)  # the last of which is not UTF-8
RUNS = st.sampled_from([0, 1, 1, 2])  # of the index after a change
SEEDS = st.integers(0, 5)  # few, so that the same content comes again


class Disk(RuleBasedStateMachine):
    """A folder of photos that people work on, and its index."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        self.root = self.scratch / "photos"
        self.away = self.scratch / "unplugged"
        self.root.mkdir()
        self.library = open_tiny(self.scratch / "index")
        self.is_fresh = False  # whether the index was brought up to date since the last change

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.scratch)

    def photos(self) -> dict[str, Path]:
        return {str(p.relative_to(self.root)): p for p in self.root.rglob("*.jpg")}

    def is_last(self, name: str) -> bool:
        """Whether its folder would be empty without it, which counts as unplugged."""
        return len(list((self.root / name).parent.rglob("*.jpg"))) == 1

    @initialize(names=st.lists(NAMES, min_size=1), seed=SEEDS)
    def begin(self, names: list[str], seed: int) -> None:
        for number, name in enumerate(names):
            self.write(name, seed + number, 0)
        self.index(2)

    @rule(name=NAMES, seed=SEEDS, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def write(self, name: str, seed: int, runs: int) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, (40, 32)).save(self.root / name)
        self.index(runs)

    @rule(name=NAMES, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def break_it(self, name: str, runs: int) -> None:
        if (self.root / name).exists():
            (self.root / name).write_bytes(b"\xff\xd8 no picture any more")
            self.index(runs)

    @rule(old=NAMES, new=NAMES, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def rename(self, old: str, new: str, runs: int) -> None:
        is_over = (self.root / new).exists()
        if (self.root / old).exists() and not (is_over and self.is_last(old)):
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (self.root / old).replace(self.root / new)
            self.index(runs)

    @rule(old=NAMES, new=NAMES, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def copy(self, old: str, new: str, runs: int) -> None:
        if (self.root / old).exists() and old != new:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / old, self.root / new)
            self.index(runs)

    @rule(one=NAMES, other=NAMES, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def swap(self, one: str, other: str, runs: int) -> None:
        if one != other and (self.root / one).exists() and (self.root / other).exists():
            (self.root / one).replace(self.scratch / "between")
            (self.root / other).replace(self.root / one)
            (self.scratch / "between").replace(self.root / other)
            self.index(runs)

    @rule(runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def rename_a_folder(self, runs: int) -> None:
        one, other = self.root / "a", self.root / "c"
        if one.exists() != other.exists():
            one.rename(other) if one.exists() else other.rename(one)
            self.index(runs)

    @rule(name=NAMES, runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def delete(self, name: str, runs: int) -> None:
        if (self.root / name).exists() and not self.is_last(name):
            (self.root / name).unlink()
            self.index(runs)

    @rule(number=st.integers(0, 2), runs=RUNS)
    def lose_embeddings(self, number: int, runs: int) -> None:
        with closing(sqlite3.connect(self.scratch / "index" / "catalog.db")) as db, db:
            db.execute("DELETE FROM vectors WHERE id % 3 = ?", (number,))
        self.index(runs)

    @rule(runs=RUNS)
    @precondition(lambda self: self.root.exists())
    def unplug(self, runs: int) -> None:
        self.root.rename(self.away)
        self.index(runs)

    @rule(runs=RUNS)
    @precondition(lambda self: self.away.exists())
    def plug_in(self, runs: int) -> None:
        self.away.rename(self.root)
        self.index(runs)

    def index(self, runs: int) -> None:
        """Bring the index up to date: a first run, and one with nothing to do."""
        self.is_fresh = False
        for _ in range(runs):
            before = self.held()
            self.library.index([self.root], batch_size=2)
            if self.root.exists():
                self.is_fresh = True
            else:
                assert self.held() == before

    @invariant()
    def a_listing_is_of_all_that_is_held_of_a_folder(self) -> None:
        with closing(sqlite3.connect(self.scratch / "index" / "catalog.db")) as db:
            kept = dict(db.execute("SELECT path, photos FROM listings WHERE digest NOT NULL"))
            paths = db.execute("SELECT path FROM photos WHERE typeof(path) = 'text'").fetchall()
        held = Counter(os.path.dirname(path) for (path,) in paths)
        assert kept == {folder: held[folder] for folder in kept}

    @invariant()
    def the_catalog_equals_the_disk(self) -> None:
        if not (self.is_fresh and self.root.exists()):
            return
        readable = {n: p for n, p in self.photos().items() if b"no picture" not in p.read_bytes()}
        held = self.held()
        assert held.keys() == readable.keys()
        for name, (digest, vector) in held.items():
            content = readable[name].read_bytes()
            assert digest == hashlib.sha256(content).hexdigest()
            assert np.abs(embedding(content) - np.frombuffer(vector, np.float16)).max() < 1e-3

    @invariant()
    def each_photo_is_found_by_itself(self) -> None:
        if self.is_fresh and self.root.exists():
            for path in self.photos().values():
                if b"no picture" not in (content := path.read_bytes()):
                    hits = self.library.similar(as_indexed(content), k=20)
                    best = {hit.path for hit in hits if hit.score > hits[0].score - 1e-3}
                    assert path in best

    def held(self) -> dict[str, tuple[str, bytes]]:
        """Digest and vector of each photo, as another program reads them."""
        with closing(sqlite3.connect(self.scratch / "index" / "catalog.db")) as db:
            rows = db.execute(
                "SELECT path, photos.digest, vector FROM photos"
                " LEFT JOIN vectors ON vectors.digest = photos.digest"
            )
            return {os.fsdecode(path): (digest, vector) for path, digest, vector in rows}


def embedding(content: bytes) -> np.ndarray:
    tiny = TinyEncoder()
    row: np.ndarray = tiny.encode_images(tiny.prepare(as_indexed(content))[None])[0]
    return row


def as_indexed(content: bytes) -> Image.Image:
    """The picture at the size that an index run decodes for so small an encoder."""
    return decode(content, min_side=LEAST_SIDE).image


Disk.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = Disk.TestCase

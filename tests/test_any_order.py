"""Whatever happens on the disk, in whatever order: after a run the catalog equals the disk."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from conftest import picture
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from PIL import Image
from tiny import TinyEncoder, open_tiny

from clipsearch.photos.decoding.decode import decode
from clipsearch.photos.decoding.phash import LEAST_SIDE

NAMES = st.sampled_from([f"{folder}{name}.jpg" for folder in ("", "a/", "a/b/") for name in "xyz"])
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
        self.was_indexed = False

    def teardown(self) -> None:
        self.library.close()
        shutil.rmtree(self.scratch)

    def photos(self) -> dict[str, Path]:
        return {str(p.relative_to(self.root)): p for p in self.root.rglob("*.jpg")}

    def is_last(self, name: str) -> bool:
        """Whether its folder would be empty without it, which counts as unplugged."""
        return len(list((self.root / name).parent.rglob("*.jpg"))) == 1

    @rule(name=NAMES, seed=SEEDS)
    @precondition(lambda self: self.root.exists())
    def write(self, name: str, seed: int) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed, (40, 32)).save(self.root / name)
        self.is_fresh = False

    @rule(name=NAMES)
    @precondition(lambda self: self.root.exists())
    def break_it(self, name: str) -> None:
        if (self.root / name).exists():
            (self.root / name).write_bytes(b"\xff\xd8 no picture any more")
            self.is_fresh = False

    @rule(old=NAMES, new=NAMES)
    @precondition(lambda self: self.root.exists())
    def rename(self, old: str, new: str) -> None:
        is_over = (self.root / new).exists()
        if (self.root / old).exists() and not (is_over and self.is_last(old)):
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (self.root / old).replace(self.root / new)
            self.is_fresh = False

    @rule(old=NAMES, new=NAMES)
    @precondition(lambda self: self.root.exists())
    def copy(self, old: str, new: str) -> None:
        if (self.root / old).exists() and old != new:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / old, self.root / new)
            self.is_fresh = False

    @rule(one=NAMES, other=NAMES)
    @precondition(lambda self: self.root.exists())
    def swap(self, one: str, other: str) -> None:
        if one != other and (self.root / one).exists() and (self.root / other).exists():
            (self.root / one).replace(self.scratch / "between")
            (self.root / other).replace(self.root / one)
            (self.scratch / "between").replace(self.root / other)
            self.is_fresh = False

    @rule(name=NAMES)
    @precondition(lambda self: self.root.exists())
    def delete(self, name: str) -> None:
        if (self.root / name).exists() and not self.is_last(name):
            (self.root / name).unlink()
            self.is_fresh = False

    @rule()
    @precondition(lambda self: self.was_indexed and self.root.exists())
    def unplug(self) -> None:
        self.root.rename(self.away)

    @rule()
    @precondition(lambda self: self.away.exists())
    def plug_in(self) -> None:
        self.away.rename(self.root)

    @rule(batch=st.integers(1, 4))
    @precondition(lambda self: self.was_indexed or (self.root.exists() and self.photos()))
    def index(self, batch: int) -> None:
        before = self.held() if self.was_indexed else {}
        self.library.index([self.root], batch_size=batch)
        if self.root.exists():
            self.is_fresh = self.was_indexed = True
        else:
            assert self.held() == before

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
            return {path: (digest, vector) for path, digest, vector in rows}


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

"""Wherever the vectors are, the answers are those of brute force, filters included.

The same tests run on the files of the index folder and on a real Milvus server.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import engine as engines
import numpy as np
import pytest
from conftest import Run, picture
from engine import Engine
from tiny import TinyEncoder, open_tiny

from clipsearch import Hit, InvalidInput, Library, LibraryError
from clipsearch.photos.facts.facts import Facts
from clipsearch.search.answers import Answer, Question
from clipsearch.search.filtering.filters import Filters
from clipsearch.store.catalog import Catalog, Changes, Model, NewPhoto
from clipsearch.store.lock import write_lock
from clipsearch.store.milvus import store

DIM = TinyEncoder.dim
COUNT = 10_000
NOWHERE = "milvus:http://127.0.0.1:9"
K = 10
QUESTIONS = 15

STORES = ("faiss", "milvus")

# Folders below the root, among them some that an expression must not take apart.
FOLDERS = (
    "", "trips", "trips/2023", "trips/2024", "trips0", "Trips", 'say "so"', "it's", "a\\b",
    "new\nline", "ünï/漢字", "100%_x", os.fsdecode(b"byt\xe9s/in"),
)  # fmt: skip
CAMERAS = (None, "Canon EOS 5D", "CANON PowerShot", "NIKON Z 6", 'A "quoted" one', "Ünique ÜX")
ONE_SIDED = "Leica M"
ENDINGS = (".jpg", ".JPG", ".png", ".heic", ".nef", ".tiff")
PLACES = (None, (48.858, 2.294), (48.86, 2.35), (-17.7, 179.99), (-17.7, -179.99), (89.9, 10.0))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A real server that wants a token, for all tests of this file."""
    folder = tmp_path_factory.mktemp("engine") / "milvus"
    with engines.engine(folder) as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_MILVUS_TOKEN", engines.TOKEN)
        yield started
    assert not folder.exists()


Address = Callable[[str], str]


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Address:
    """The `--store` of a kind; the server is started for the first that needs it."""

    def of(kind: str) -> str:
        if kind == "faiss":
            return kind
        return f"milvus:http://{request.getfixturevalue('engine').address}"

    return of


class Shelf:
    """An index with photos whose vectors and facts are made up, and the truth about it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.root = str(folder.parent / "photos")
        folder.mkdir(parents=True)
        tiny = TinyEncoder()
        with closing(Catalog.create(folder)) as catalog:
            self.model: Model = catalog.add_model(
                "pocket", tiny.weights, tiny.preprocess, DIM, None
            )
            self.root_id = catalog.add_root(self.root).id
        self.photos: dict[str, tuple[Facts, np.ndarray]] = {}  # by the path below the root
        self.add(range(count))

    def add(self, numbers: range, folder: str | None = None) -> None:
        """Write photos as an index run does."""
        rows = clustered(numbers.stop, DIM)
        new = []
        for number in numbers:
            path, facts = made_up(number, folder)
            row = rows[number - number % 7] if number % 7 == 1 else rows[number]  # some are copies
            if row[0] > 0.13:  # a third of them, on one side
                facts = replace(facts, camera=ONE_SIDED)
            self.photos[path] = facts, row.astype(np.float32)
            digest = hashlib.sha256(row.tobytes()).hexdigest()
            new.append((digest, row.tobytes(), path, facts))
        changes = Changes(
            vectors=[(digest, row) for digest, row, _, _ in new],
            photos=[
                NewPhoto(None, self.root_id, path, digest, 1, 1, facts)
                for digest, _, path, facts in new
            ],
        )
        with closing(Catalog.open(self.folder)) as catalog:
            catalog.write(self.model.id, changes)

    def remove(self, path: str) -> None:
        with closing(Catalog.open(self.folder)) as catalog:
            catalog.remove_photos([catalog.known(self.root_id)[path].id])
            catalog.sweep()
        del self.photos[path]

    def rename(self, old: str, new: str) -> None:
        facts, row = self.photos.pop(old)
        self.photos[new] = facts, row
        with closing(Catalog.open(self.folder)) as catalog:
            known = catalog.known(self.root_id)[old]
            moved = NewPhoto(known.id, self.root_id, new, known.digest, 1, 1, facts)
            catalog.write(self.model.id, Changes(photos=[moved]))

    def library(self) -> Library:
        return open_tiny(self.folder)

    def nearest(
        self, query: np.ndarray, k: int, keep: Callable[[str, Facts], bool] = lambda path, it: True
    ) -> tuple[list[str], list[float]]:
        """The paths and cosines of the nearest photos that are kept, by comparing with all."""
        kept = [path for path, (facts, _) in self.photos.items() if keep(path, facts)]
        if not kept:
            return [], []
        scores = np.stack([self.photos[path][1] for path in kept]) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return [kept[at] for at in order], scores[order].tolist()

    def below(self, hits: list[Hit]) -> list[str]:
        return [os.path.relpath(hit.path, self.root) for hit in hits]


def made_up(number: int, folder: str | None = None) -> tuple[str, Facts]:
    """A photo's path below the root and its facts; each number gives others."""
    rng = np.random.default_rng(number)
    place = PLACES[rng.integers(len(PLACES))]
    day = int(rng.integers(1, 29))
    facts = Facts(
        width=int(rng.integers(100, 6000)) if number % 11 else None,
        height=int(rng.integers(100, 6000)) if number % 11 else None,
        taken_at=f"20{rng.integers(10, 25)}-0{rng.integers(1, 10)}-{day:02}T12:00:00+02:00",
        camera=CAMERAS[rng.integers(len(CAMERAS))],
        latitude=place[0] + rng.normal() / 100 if place and abs(place[0]) < 89 else None,
        longitude=place[1] if place else None,
        taken_from="exif" if number % 3 else "file",
        lens="50mm" if number % 5 == 0 else None,
    )
    if number % 9 == 0:
        facts = replace(facts, width=facts.height)
    if facts.taken_from == "file":  # the file's time in the catalog: 1970
        facts = replace(facts, taken_at=None, taken_from=None)
    name = f"{number}{ENDINGS[rng.integers(len(ENDINGS))]}"
    return os.path.join(FOLDERS[number % len(FOLDERS)] if folder is None else folder, name), facts


def clustered(count: int, dim: int) -> np.ndarray:
    """(count, dim) float16 unit rows that lie in clusters, as pictures do; the first are always
    the same."""
    centres = np.random.default_rng(1).normal(size=(100, dim))
    rng = np.random.default_rng(2)
    rows = centres[rng.integers(100, size=1_000_000)[:count]]
    rows = rows + 0.5 * np.random.default_rng(3).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def questions() -> np.ndarray:
    rows = clustered(QUESTIONS * 50, DIM)[::50].astype(np.float32)
    rows = rows + np.random.default_rng(4).normal(size=rows.shape) / 10
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def asked(
    library: Library, query: np.ndarray, k: int = K, filters: Filters | None = None
) -> list[Hit]:
    (answer,) = library.answer([Question(pictures=[query], k=k, filters=filters)])
    assert isinstance(answer, Answer), answer
    return answer.hits


@pytest.fixture(scope="module", params=STORES)
def shelf(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, address: Address
) -> Shelf:
    """An index that no test writes to, in each kind of store."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf") / "index", COUNT)
    with shelf.library() as library:
        moved = library.move(address(request.param))
        assert library.status().store == moved.store == address(request.param)
    return shelf


@pytest.fixture(params=STORES)
def small(request: pytest.FixtureRequest, tmp_path: Path, address: Address) -> Shelf:
    """A small index to write to, in each kind of store."""
    shelf = Shelf(tmp_path / "index", 200)
    with shelf.library() as library:
        library.move(address(request.param))
    return shelf


def assert_found(
    shelf: Shelf, filters: Filters | None, keep: Callable[[str, Facts], bool], recall: float = 0.99
) -> None:
    """The answers are those of brute force, nothing else is among them, none is missing."""
    right = total = 0
    with shelf.library() as library:
        for query in questions():
            hits = asked(library, query, filters=filters)
            paths, scores = shelf.nearest(query, K, keep)
            assert len(hits) == len(paths)
            assert all(keep(path, shelf.photos[path][0]) for path in shelf.below(hits))
            held = [float(shelf.photos[path][1] @ query) for path in shelf.below(hits)]
            assert [hit.score for hit in hits] == pytest.approx(held, abs=2e-3)
            assert all(better >= worse - 1e-4 for better, worse in pairwise(held))
            # By the scores, since copies of a photo are as good as each other.
            right += sum(score >= scores[-1] - 1e-3 for score in held)
            total += len(paths)
    assert total
    assert right >= recall * total


def test_the_nearest_photos_are_found(shelf: Shelf) -> None:
    assert_found(shelf, None, lambda path, facts: True)


def is_below(folder: str) -> Callable[[str, Facts], bool]:
    return lambda path, facts: path.startswith(f"{folder}/" if folder else "")


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_photos_of_a_folder_are_found(folder: str, shelf: Shelf) -> None:
    where = os.path.join(shelf.root, folder)
    assert_found(shelf, Filters(folder=[where]), is_below(folder))


def taken(facts: Facts) -> str:
    return (facts.taken_at or "1970-01-01")[:10]


def near(facts: Facts, latitude: float, longitude: float, kilometres: float) -> bool:
    if facts.latitude is None or facts.longitude is None:
        return False
    east = (facts.longitude - longitude + 180) % 360 - 180
    down, across = facts.latitude - latitude, east * math.cos(math.radians(latitude))
    return math.hypot(down, across) * 111.195 <= kilometres


def longer(facts: Facts) -> int:
    return max(facts.width or 0, facts.height or 0)


def shorter(facts: Facts) -> int:
    return min(facts.width or 0, facts.height or 0)


FILTERS: dict[str, tuple[Filters, Callable[[str, Facts], bool]]] = {
    "since": (Filters(since="2016-05"), lambda path, it: taken(it) >= "2016-05-01"),
    "until": (Filters(until="2012"), lambda path, it: taken(it) < "2013-01-01"),
    "a day": (
        Filters(since="2016-05-12", until="2016-05-12"),
        lambda path, it: taken(it) == "2016-05-12",
    ),
    "camera": (Filters(camera="canon"), lambda path, it: "canon" in (it.camera or "").lower()),
    "quotes": (Filters(camera='"QUOTED"'), lambda path, it: "quoted" in (it.camera or "")),
    "no camera": (Filters(camera="no such one"), lambda path, it: False),
    "near": (
        Filters(near="48.858,2.294", within="3km"),
        lambda path, it: near(it, 48.858, 2.294, 3),
    ),
    "date line": (Filters(near="-17.7,180"), lambda path, it: near(it, -17.7, 180, 5)),
    "landscape": (
        Filters(orientation="landscape"),
        lambda path, it: (it.width or 0) > (it.height or 0),
    ),
    "square": (
        Filters(orientation="square"),
        lambda path, it: it.width is not None and it.width == it.height,
    ),
    "sides": (
        Filters(min_size="1920x1080"),
        lambda path, it: longer(it) >= 1920 and shorter(it) >= 1080,
    ),
    "a side": (Filters(min_size="5000"), lambda path, it: longer(it) >= 5000),
    "megapixels": (
        Filters(min_size="12.5MP"),
        lambda path, it: (it.width or 0) * (it.height or 0) >= 12.5e6,
    ),
    "huge": (Filters(min_size="99999999999MP"), lambda path, it: False),
    "jpeg": (Filters(type=["jpeg"]), lambda path, it: path.lower().endswith(".jpg")),
    "two kinds": (
        Filters(type=["heic", "tif"]),
        lambda path, it: path.endswith((".heic",)),
    ),
    "dated": (Filters(has=["date"]), lambda path, it: it.taken_from == "exif"),
    "placed": (
        Filters(has=["gps"]),
        lambda path, it: it.latitude is not None and it.longitude is not None,
    ),
    "with camera": (Filters(has=["camera"]), lambda path, it: it.camera is not None),
    # Of lenses an engine knows nothing: it is given the ids.
    "lens": (Filters(has=["lens"]), lambda path, it: it.lens is not None),
    "all at once": (
        Filters(since="2015", camera="canon", type=["jpeg"], min_size="500", has=["lens"]),
        lambda path, it: taken(it) >= "2015" and "canon" in (it.camera or "").lower()
        and path.lower().endswith(".jpg") and longer(it) >= 500 and it.lens is not None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_only_photos_that_satisfy_a_filter_are_found(name: str, shelf: Shelf) -> None:
    filters, keep = FILTERS[name]
    if any(keep(path, facts) for path, (facts, _) in shelf.photos.items()):
        assert_found(shelf, filters, keep)
    else:
        with shelf.library() as library:
            assert asked(library, questions()[0], filters=filters) == []


@pytest.mark.parametrize("k", [10, 100, 2000])
def test_what_a_filter_leaves_is_found_far_from_the_question(k: int, shelf: Shelf) -> None:
    query = -np.eye(DIM, dtype=np.float32)[0]
    with shelf.library() as library:
        hits = asked(library, query, k, Filters(camera="leica"))
    paths, scores = shelf.nearest(query, k, lambda path, facts: facts.camera == ONE_SIDED)
    assert len(hits) == len(paths) == k
    assert [hit.score for hit in hits] == pytest.approx(scores, abs=2e-3)


@pytest.mark.parametrize("k", [3000, 9000])
def test_long_answers_are_long(k: int, shelf: Shelf) -> None:
    with shelf.library() as library:
        hits = asked(library, questions()[0], k)
    assert len(hits) == k
    scores = shelf.nearest(questions()[0], k)[1]
    assert hits[-1].score == pytest.approx(scores[-1], abs=0.01)


@pytest.mark.parametrize("filters", [None, Filters(type=["png"])], ids=["all", "filtered"])
def test_all_photos_can_be_asked_for(filters: Filters | None, shelf: Shelf, tmp_path: Path) -> None:
    picture(1, (16, 16)).save(tmp_path / "one.png")
    with shelf.library() as library:
        hits = library.similar(tmp_path / "one.png", None, filters=filters)
    wanted = [path for path in shelf.photos if filters is None or path.endswith(".png")]
    assert sorted(shelf.below(hits)) == sorted(wanted)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_exact_answers_are_exact(shelf: Shelf, tmp_path: Path) -> None:
    with shelf.library() as library:
        for seed in range(5):
            picture(seed, (16, 16)).save(tmp_path / "one.png")
            query = library.embed((tmp_path / "one.png").read_bytes())
            assert query is not None
            hits = library.similar(tmp_path / "one.png", K, exact=True)
            assert [hit.score for hit in hits] == pytest.approx(
                shelf.nearest(query, K)[1], abs=2e-3
            )


def test_several_questions_at_once_get_the_answers_of_each(shelf: Shelf) -> None:
    filtered = Filters(type=["png"])
    batch = [Question(pictures=[query], k=5) for query in questions()[:8]]
    batch += [Question(pictures=[query], k=5, filters=filtered) for query in questions()[:8]]
    with shelf.library() as library:
        answers = library.answer(batch)
        for question, answer in zip(batch, answers, strict=True):
            assert isinstance(answer, Answer)
            alone = asked(library, question.pictures[0], 5, question.filters)
            assert [hit.score for hit in answer.hits] == pytest.approx(
                [hit.score for hit in alone], abs=1e-5
            )


def all_found(
    shelf: Shelf, filters: Filters | None = None, folder: Path | None = None
) -> list[str]:
    with open_tiny(folder or shelf.folder) as library:
        return sorted(shelf.below(asked(library, questions()[0], 1000, filters)))


def test_what_comes_changes_and_goes_is_known_to_the_next_search(small: Shelf) -> None:
    assert all_found(small) == sorted(small.photos)
    small.add(range(200, 260), "fresh")
    small.remove(made_up(0)[0])
    small.remove(made_up(7)[0])  # of which there is a copy
    moved = made_up(3)[0]
    small.rename(moved, "other/place.jpg")
    assert all_found(small) == sorted(small.photos)
    fresh = [path for path in small.photos if path.startswith("fresh/")]
    assert all_found(small, Filters(folder=[f"{small.root}/fresh"])) == sorted(fresh)
    assert all_found(small, Filters(folder=[f"{small.root}/other"])) == ["other/place.jpg"]
    old = [path for path in small.photos if path.startswith("trips/")]
    assert all_found(small, Filters(folder=[f"{small.root}/trips"])) == sorted(old)


def test_what_another_process_is_writing_is_found_meanwhile(small: Shelf) -> None:
    with write_lock(small.folder):
        small.add(range(200, 260), "fresh")
        small.rename(made_up(3)[0], "other/place.jpg")
        assert all_found(small) == sorted(small.photos)
        fresh = [path for path in small.photos if path.startswith("fresh/")]
        assert all_found(small, Filters(folder=[f"{small.root}/fresh"])) == sorted(fresh)
        assert all_found(small, Filters(folder=[f"{small.root}/other"])) == ["other/place.jpg"]
    assert all_found(small) == sorted(small.photos)


def test_a_catalog_from_a_backup_is_believed(small: Shelf) -> None:
    backup = small.folder.parent / "backup.db"
    shutil.copy(small.folder / "catalog.db", backup)  # whole, since nobody has it open
    before = dict(small.photos)
    small.add(range(200, 260), "fresh")
    assert all_found(small) == sorted(small.photos)
    for leftover in small.folder.glob("catalog.db*"):
        leftover.unlink()
    shutil.copy(backup, small.folder / "catalog.db")
    small.photos = before
    assert all_found(small) == sorted(small.photos)
    small.add(range(300, 380), "later")  # under numbers that were in use before
    with small.library() as library:
        library.move(library.status().store)
    assert all_found(small) == sorted(small.photos)


def test_labels_are_counted_wherever_the_vectors_are(small: Shelf) -> None:
    with small.library() as library:
        counts = library.count_labels(labels=["cat", "dog", "house"])
    assert sum(count.photos for count in counts) == len(small.photos)


# Moving


@pytest.fixture
def milvus(address: Address) -> str:
    return address("milvus")


def files(shelf: Shelf) -> list[str]:
    return sorted(path.suffix for path in (shelf.folder / "vectors").glob("*"))


def test_vectors_are_moved_there_and_back(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 200)
    with shelf.library() as library:
        library.move("faiss")
        assert files(shelf) == [".f16", ".ids"]
        moved = library.move(milvus)
        assert (moved.store, moved.photos, moved.compared, moved.left) == (milvus, 200, 200, None)
        assert files(shelf) == []
        assert library.status().store == milvus
        assert asked(library, questions()[0]) != []
        back = library.move("faiss")
        assert (back.store, back.left) == ("faiss", None)
        assert files(shelf) == [".f16", ".ids"]
    assert collections(milvus, shelf) == []
    assert all_found(shelf) == sorted(shelf.photos)


def collections(milvus: str, shelf: Shelf) -> list[str]:
    with closing(Catalog.open(shelf.folder)) as catalog:
        mine = [engine.library for engine in catalog.engines()]
    with closing(client_of(milvus)) as client:
        names = client.list_collections()
    return [name for name in names if any(it in name for it in mine)]


def drop_collection(milvus: str, shelf: Shelf) -> None:
    (name,) = collections(milvus, shelf)
    with closing(client_of(milvus)) as client:
        client.drop_collection(name)


def revision_of(milvus: str, shelf: Shelf) -> int:
    """Up to where the engine was told of the catalog's changes."""
    (name,) = collections(milvus, shelf)
    with closing(client_of(milvus)) as client:
        return int(client.describe_collection(name)["properties"]["clipsearch.revision"])


def client_of(milvus: str) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(milvus.removeprefix("milvus:"), token=engines.TOKEN)


def test_a_move_that_was_stopped_goes_on(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 2500)

    def stop(done: int, total: int) -> None:
        if done >= total / 2:
            raise KeyboardInterrupt

    seen = []
    with shelf.library() as library:
        with pytest.raises(KeyboardInterrupt):
            library.move(milvus, progress=stop)
        assert library.status().store == "faiss"
        assert_found(shelf, None, lambda path, facts: True)
        shelf.add(range(2500, 2600), "fresh")
        shelf.remove(made_up(0)[0])
        library.move(milvus, progress=lambda done, total: seen.append(total))
        assert seen[0] < 2000  # not all of it once more
    assert len(collections(milvus, shelf)) == 1
    assert_found(shelf, None, lambda path, facts: True)


@pytest.mark.thorough
def test_moving_to_where_the_vectors_are_mends_them(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 200)
    with shelf.library() as library:
        library.move(milvus)
    (name,) = collections(milvus, shelf)
    with closing(client_of(milvus)) as client:
        client.delete(name, ids=list(range(50, 100)))
    with shelf.library() as library:
        assert library.move(milvus).photos == 200
    assert all_found(shelf) == sorted(shelf.photos)


@pytest.mark.thorough
def test_a_collection_that_is_gone_is_made_again(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 200)
    with shelf.library() as library:
        library.move(milvus)
    drop_collection(milvus, shelf)
    assert all_found(shelf) == sorted(shelf.photos)


def test_a_new_index_can_begin_in_an_engine(photos: Path, index: Path, milvus: str) -> None:
    with open_tiny(index) as library:
        report = library.index([photos], store=milvus, batch_size=4)
        assert report.added == 12
        assert library.status().store == milvus
        assert list(index.glob("vectors/*.f16")) == []
        assert len(library.query("a dog", 20)) == 12
        (photos / "trip" / "08.jpg").unlink()
        picture(99).save(photos / "new.jpg")
        report = library.index()
        assert (report.added, report.removed) == (1, 1)
        found = {hit.path.name for hit in library.query("a dog", 20)}
        assert found == {path.name for path in photos.rglob("*.jpg")}
        in_trip = library.query("a dog", filters=Filters(folder=[photos / "trip"]))
        assert {hit.path.name for hit in in_trip} == {"09.jpg", "10.jpg", "11.jpg"}
        with pytest.raises(InvalidInput, match=r"store move milvus:other"):
            library.index([photos], store="milvus:other:1")
        with pytest.raises(InvalidInput, match="keeps an approximate index"):
            library.optimize()


@pytest.mark.thorough
def test_two_indexes_share_an_engine(tmp_path: Path, milvus: str) -> None:
    shelves = [Shelf(tmp_path / name / "index", count) for name, count in (("a", 30), ("b", 50))]
    for shelf in shelves:
        with shelf.library() as library:
            library.move(milvus)
    for shelf in shelves:
        assert all_found(shelf) == sorted(shelf.photos)


# Copies of an index whose vectors are in an engine


def test_a_copy_asks_the_engine_and_never_tells_it(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 100)
    copies = [tmp_path / "older" / "index", tmp_path / "newer" / "index"]
    with shelf.library() as library:
        library.move(milvus)
        library.copy(copies[0])
    assert list(copies[0].glob("vectors/*")) == []
    older = sorted(shelf.photos)
    shelf.add(range(100, 130))
    gone = made_up(3)[0]
    shelf.remove(gone)
    with shelf.library() as library:
        library.copy(copies[1])  # the engine knows nothing of these yet
    revision = revision_of(milvus, shelf)
    assert all_found(shelf, folder=copies[1]) == sorted(shelf.photos)
    assert all_found(shelf, folder=copies[0]) == older
    assert revision_of(milvus, shelf) == revision
    assert all_found(shelf) == sorted(shelf.photos)
    assert revision_of(milvus, shelf) > revision
    # What is gone from the engine by now is missing in an older copy, and nothing else.
    assert all_found(shelf, folder=copies[0]) == [path for path in older if path != gone]
    drop_collection(milvus, shelf)
    with pytest.raises(LibraryError, match="has no vectors of this index any more"):
        all_found(shelf, folder=copies[1])
    assert collections(milvus, shelf) == []


def test_a_copy_that_becomes_an_index_has_its_vectors_in_files(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 100)
    with shelf.library() as library:
        library.move(milvus)
        library.copy(tmp_path / "copy")
    with open_tiny(tmp_path / "copy") as copy:
        left = copy.copy(tmp_path / "own" / "index", own=True).left
    (name,) = collections(milvus, shelf)
    assert left is not None
    assert name.startswith(left.rpartition(" ")[2].removesuffix("..."))
    with open_tiny(tmp_path / "own" / "index") as own:
        assert own.status().store == "faiss"
    assert all_found(shelf, folder=tmp_path / "own" / "index") == sorted(shelf.photos)


# When the engine dies, or is not there


def test_the_index_is_written_also_while_no_engine_answers(
    photos: Path, index: Path, milvus: str, clipsearch: Run
) -> None:
    with open_tiny(index) as library:
        library.index([photos], store=milvus)
    with closing(sqlite3.connect(index / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE stores SET address = ?", (NOWHERE,))
    picture(99).save(photos / "new.jpg")
    with open_tiny(index) as library:
        report = library.index()
        assert (report.added, report.complete) == (1, True)
    forgotten = clipsearch("forget", photos / "trip")
    assert forgotten.returncode == 0
    assert f"no engine answers at {NOWHERE}" in forgotten.stderr
    assert "The index is written all the same" in forgotten.stderr
    with closing(sqlite3.connect(index / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE stores SET address = ?", (milvus,))
    with open_tiny(index) as library:
        found = {hit.path for hit in library.query("a dog", 20)}
    assert found == set(photos.glob("*.jpg"))


@pytest.mark.thorough
def test_who_asks_does_not_fill_a_large_engine(
    tmp_path: Path, milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_BY_A_READER", 50)
    shelf = Shelf(tmp_path / "index", 60)
    with shelf.library() as library:
        library.move(milvus)
    drop_collection(milvus, shelf)
    with pytest.raises(LibraryError, match="bring it up: clipsearch store move milvus:"):
        all_found(shelf)
    with shelf.library() as library:
        library.move(milvus)
    assert all_found(shelf) == sorted(shelf.photos)


@pytest.mark.thorough
def test_a_run_goes_on_and_all_is_found_again_when_the_engine_is_killed(
    photos: Path, index: Path, engine: Engine, milvus: str
) -> None:
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done >= 4 and not killed:
            killed.append(done)
            engine.kill()

    only_trip = Filters(folder=[photos / "trip"])
    with open_tiny(index) as library:
        library.index([photos / "trip"], store=milvus)
        before = [(hit.path, hit.score) for hit in library.query("a dog", 20)]
        report = library.index([photos], batch_size=2, progress=kill)
        assert (report.added, report.failed, report.complete) == (8, 0, True)
        assert killed
        # A library that was open goes on, and so does one that is opened now.
        assert len(library.query("a dog", 20)) == 12
        with open_tiny(index) as other:
            hits = other.query("a dog", 20, filters=only_trip)
            assert [(hit.path, hit.score) for hit in hits] == before


# Bad input


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("mongo", r"can be faiss or milvus:http://HOST:19530"),
        ("milvus:", r"write milvus:http://HOST:19530"),
        ("milvus:http://host:99999999", r"99999999 is no port"),
        ("milvus:./file.db", r"write milvus:http://HOST:19530"),
        ("milvus:http://ann:secret@host", r"CLIPSEARCH_MILVUS_TOKEN"),
        (NOWHERE, r"no engine answers at milvus:http://127.0.0.1:9; start it"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_and_nothing_moves(
    store: str, message: str, tmp_path: Path, photos: Path
) -> None:
    pytest.importorskip("pymilvus")
    shelf = Shelf(tmp_path / "shelf" / "index", 30)
    with shelf.library() as library, pytest.raises((InvalidInput, LibraryError), match=message):
        library.move(store)
    assert all_found(shelf) == sorted(shelf.photos)
    with open_tiny(tmp_path / "new") as library:
        with pytest.raises((InvalidInput, LibraryError), match=message):
            library.index([photos], store=store)
        assert (library.status().photos, library.status().roots) == (0, ())
        assert library.status().store == "faiss"


def test_a_collection_of_another_model_is_refused(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 30)
    with shelf.library() as library:
        library.move(milvus)
    (name,) = collections(milvus, shelf)
    with closing(client_of(milvus)) as client:
        client.alter_collection_properties(name, {"clipsearch.weights": "others"})
        with shelf.library() as library:
            with pytest.raises(LibraryError, match=f"{name} at {milvus} is of another model"):
                asked(library, questions()[0])
            back = library.move("faiss")  # needs nothing from it, and leaves it alone
            assert back.left is not None
        assert client.has_collection(name)
    assert all_found(shelf) == sorted(shelf.photos)


def test_an_engine_that_is_too_old_is_refused(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipsearch.store.milvus import client as milvus

    monkeypatch.setattr(milvus, "OLDEST", (99, 9))
    shelf = Shelf(tmp_path / "index", 30)
    # By another name, so that it is asked for its version anew.
    port = engine.address.partition(":")[2]
    with shelf.library() as library, pytest.raises(LibraryError, match=r"is Milvus 2\.\d+, and 99"):
        library.move(f"milvus:localhost:{port}")
    assert all_found(shelf) == sorted(shelf.photos)


@pytest.mark.parametrize("wrong", ["", "root:wrong", "nobody:Milvus"])
def test_a_wrong_token_is_refused(
    wrong: str, tmp_path: Path, milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path / "index", 30)
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TOKEN", wrong)
    with shelf.library() as library:
        with pytest.raises(LibraryError, match=r"does not take the token; put user:password"):
            library.move(milvus)
        assert library.status().store == "faiss"
    assert all_found(shelf) == sorted(shelf.photos)


def test_a_token_is_never_written_down(tmp_path: Path, milvus: str) -> None:
    shelf = Shelf(tmp_path / "index", 30)
    with shelf.library() as library:
        library.move(milvus)
    assert engines.TOKEN.encode() not in (shelf.folder / "catalog.db").read_bytes()


def test_an_engine_that_is_gone_is_named_and_left_behind(
    clipsearch: Run, index: Path, photos: Path, milvus: str
) -> None:
    with open_tiny(index) as library:
        library.index([photos], store=milvus)
        library.query("a dog")  # is remembered, so that it needs no model
    with closing(sqlite3.connect(index / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE stores SET address = ?", (NOWHERE,))
    failed = clipsearch("query", "a dog")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert f"no engine answers at {NOWHERE}" in failed.stderr
    moved = clipsearch("store", "move", "faiss")
    assert (moved.returncode, moved.stdout) == (0, "12 vectors in faiss\n")
    assert "could not be removed" in moved.stderr
    with open_tiny(index) as library:
        assert len(library.query("a dog", 20)) == 12


def test_without_the_group_an_engine_is_refused_by_its_name(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "index", 30)
    code = (
        "import sys; sys.modules['pymilvus'] = None\n"
        "from clipsearch import Library\n"
        f"Library.open({str(shelf.folder)!r}).move('milvus:host')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'clipsearch[milvus]'" in done.stderr


def test_the_files_need_no_client_of_an_engine(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "index", 30)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tiny import open_tiny\n"
        f"library = open_tiny({str(shelf.folder)!r})\n"
        "assert library.query('a dog')\n"
        "print({'pymilvus', 'grpc', 'pandas'} & sys.modules.keys())"
    )
    tests = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, tests], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr

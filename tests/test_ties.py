"""A vector file is its catalog's or is not believed, and nobody who has it mapped loses it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from tiny import TinyEncoder, open_other

from clipsearch import ModelError
from clipsearch.doctor import BROKEN, Finding, examine_index
from clipsearch.photos.facts.facts import Facts
from clipsearch.store.catalog import Catalog, Changes, Model, NewPhoto
from clipsearch.store.lock import write_lock
from clipsearch.store.vectors import stretch, sync
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.format import BEFORE_SEALS, MAGIC, ROWS_START
from clipsearch.store.vectors.sync import bring_up, vector_file

ALL = 1000
DIM = 16


@pytest.fixture
def indexed(photos: Path, index: Path) -> Path:
    """An index of `photos` by a model that is the same for the command line."""
    with open_other(index) as library:
        library.index([photos])
    return index


def scores(folder: Path) -> dict[str, float]:
    """What a query finds, by the file's name."""
    with open_other(folder, create=False) as library:
        return {hit.path.name: hit.score for hit in library.query("a boat", ALL)}


def truth(folder: Path) -> dict[str, float]:
    """What the catalog's own vectors give by plain arithmetic."""
    words = TinyEncoder().encode_texts(["a boat"])[0]
    with closing(sqlite3.connect(folder / "catalog.db")) as db:
        rows = db.execute("SELECT path, vector FROM photos JOIN vectors USING (digest)").fetchall()
    return {
        Path(path).name: float(np.frombuffer(row, np.float16).astype(np.float32) @ words)
        for path, row in rows
    }


def assert_true(folder: Path) -> None:
    assert scores(folder) == pytest.approx(truth(folder), abs=1e-3)


def broken(folder: Path) -> list[Finding]:
    return [it for it in examine_index(folder) if it.state == BROKEN]


def paint(photos: Path, seeds: range) -> None:
    for seed in seeds:
        picture(seed, (64, 48)).save(photos / f"new{seed}.jpg")


def index_all(folder: Path) -> None:
    with open_other(folder) as library:
        library.index()


# Whose a file is


def put_back(indexed: Path, photos: Path) -> None:
    """Other photos get the ids of those that came after the catalog's backup; files of those."""
    backup, files = indexed.with_name("backup.db"), indexed.with_name("files")
    shutil.copy(indexed / "catalog.db", backup)
    paint(photos, range(100, 104))
    index_all(indexed)
    shutil.copytree(indexed / "vectors", files)
    shutil.copy(backup, indexed / "catalog.db")
    for seed in range(100, 104):
        (photos / f"new{seed}.jpg").unlink()
    paint(photos, range(200, 204))
    index_all(indexed)
    shutil.copytree(files, indexed / "vectors", dirs_exist_ok=True)


def put_back_in_another_order(indexed: Path, photos: Path) -> None:
    """The last photo has the id that it had before, and the two before it have each other's."""
    backup, files = indexed.with_name("backup.db"), indexed.with_name("files")
    shutil.copy(indexed / "catalog.db", backup)
    for order in ([100, 101, 102], [101, 100, 102]):
        for seed in order:
            paint(photos, range(seed, seed + 1))
            index_all(indexed)
        if order[0] == 100:
            shutil.copytree(indexed / "vectors", files)
            shutil.copy(backup, indexed / "catalog.db")
            for seed in order:
                (photos / f"new{seed}.jpg").unlink()
    shutil.copytree(files, indexed / "vectors", dirs_exist_ok=True)


def take_anothers(indexed: Path, photos: Path) -> None:
    """The files of an index of as many other photos."""
    others, other = photos.with_name("others"), indexed.with_name("other")
    others.mkdir()
    paint(others, range(300, 312))
    with open_other(other) as library:
        library.index([others])
    shutil.copytree(other / "vectors", indexed / "vectors", dirs_exist_ok=True)


STRANGE = {it.__name__: it for it in (put_back, put_back_in_another_order, take_anothers)}


@pytest.mark.parametrize("strange", STRANGE)
def test_files_of_another_history_are_found_out(strange: str, indexed: Path, photos: Path) -> None:
    STRANGE[strange](indexed, photos)
    assert any("of another catalog" in it.what for it in broken(indexed))
    assert_true(indexed)
    assert broken(indexed) == []


@pytest.mark.parametrize("strange", STRANGE)
def test_who_may_not_write_disregards_them(strange: str, indexed: Path, photos: Path) -> None:
    STRANGE[strange](indexed, photos)
    before = {file: file.read_bytes() for file in indexed.glob("vectors/*")}
    with write_lock(indexed):
        assert_true(indexed)
    assert {file: file.read_bytes() for file in indexed.glob("vectors/*")} == before


def unsealed(folder: Path) -> bytes:
    """Make the file of rows one of the format before."""
    (file,) = folder.glob("vectors/*.f16")
    content = file.read_bytes()
    content = BEFORE_SEALS + content[16:32] + bytes(ROWS_START - 32) + content[ROWS_START:]
    file.write_bytes(content)
    return content


def test_files_of_the_format_before_are_taken_over(indexed: Path) -> None:
    old = unsealed(indexed)
    (file,) = indexed.glob("vectors/*.f16")
    with write_lock(indexed):
        assert_true(indexed)
    assert file.read_bytes() == old
    paint(indexed.with_name("photos"), range(100, 102))
    index_all(indexed)
    assert file.read_bytes().startswith(MAGIC)
    assert file.read_bytes()[16:24] == old[16:24]
    assert_true(indexed)
    assert broken(indexed) == []


def test_files_of_the_format_before_that_are_anothers_are_found_out(
    indexed: Path, photos: Path
) -> None:
    take_anothers(indexed, photos)
    unsealed(indexed)
    with write_lock(indexed):
        assert_true(indexed)
    assert_true(indexed)


def test_an_index_of_its_own_keeps_the_files_that_were_copied(
    indexed: Path, tmp_path: Path
) -> None:
    with open_other(indexed) as library:
        library.copy(tmp_path / "own", own=True)
    (ours,), (theirs,) = indexed.glob("vectors/*.f16"), tmp_path.glob("own/vectors/*.f16")
    assert theirs.read_bytes()[16:24] == ours.read_bytes()[16:24]
    assert theirs.read_bytes()[32:48] != ours.read_bytes()[32:48]
    with write_lock(tmp_path / "own"):
        assert_true(tmp_path / "own")
    assert broken(tmp_path / "own") == []


# What doctor says


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)


FAULTS: dict[str, Callable[[Path], object]] = {
    "rows cut": lambda it: [os.truncate(f, 4100) for f in it.glob("vectors/*.f16")],
    "ids cut": lambda it: [os.truncate(f, 40) for f in it.glob("vectors/*.ids")],
    "no ids": lambda it: [f.unlink() for f in it.glob("vectors/*.ids")],
    "a row changed": lambda it: [flip(f, 4096 + 5 * 32) for f in it.glob("vectors/*.f16")],
    "the header changed": lambda it: [flip(f, 50) for f in it.glob("vectors/*.f16")],
    "an embedding of NaN": lambda it: spoil(it, "x'007e'"),
    "a short embedding": lambda it: spoil(it, "x'00'"),
}


def spoil(folder: Path, value: str) -> None:
    with closing(sqlite3.connect(folder / "catalog.db")) as db, db:
        spoilt = f"CAST({value} || substr(vector, 3) AS BLOB)"
        db.execute(f"UPDATE vectors SET vector = {spoilt} WHERE id = 3")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_what_doctor_says_helps(fault: str, rebuilt: bool, indexed: Path) -> None:
    FAULTS[fault](indexed)
    if rebuilt:
        for file in indexed.glob("vectors/*"):
            file.unlink()
    for finding in broken(indexed):
        helped(indexed, str(finding.remedy))
    assert broken(indexed) == []
    assert_true(indexed)


def helped(folder: Path, remedy: str) -> None:
    """Do what a remedy says."""
    for part in remedy.split("; "):
        if part.startswith("delete "):
            Path(part.removeprefix("delete ")).unlink()
        elif part.startswith("the next clipsearch query"):
            scores(folder)
        else:
            assert part.startswith("clipsearch index --verify")
            with open_other(folder) as library:
                library.index(verify=True)


@pytest.mark.parametrize("fault", ["an embedding of NaN", "a short embedding"])
def test_a_damaged_embedding_of_the_catalog_spoils_no_other(fault: str, indexed: Path) -> None:
    before = scores(indexed)
    FAULTS[fault](indexed)
    for file in indexed.glob("vectors/*"):
        file.unlink()
    for _ in range(2):
        found = scores(indexed)
        assert len(found) == 11
        assert found == pytest.approx({name: before[name] for name in found}, abs=1e-6)


def test_a_copy_is_renewed_as_doctor_says(indexed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with open_other(indexed) as library:
        library.copy(copy)
    FAULTS["a row changed"](copy)
    (finding,) = broken(copy)
    delete, renew = str(finding.remedy).split("; ")
    assert renew == f"clipsearch copy {copy} --index {indexed} renews it"
    Path(delete.removeprefix("delete ")).unlink()
    with open_other(indexed) as library:
        library.copy(copy)
    assert broken(copy) == []


# What the store accepts


@pytest.mark.parametrize(
    "row",
    [np.full(DIM, np.nan), np.full(DIM, np.inf), np.zeros(DIM), np.ones(DIM), np.eye(DIM)[0][:8]],
    ids=["NaN", "infinite", "zeros", "long", "short"],
)
def test_what_is_no_embedding_is_not_kept(row: np.ndarray, indexed: Path) -> None:
    with closing(Catalog.open(indexed)) as catalog:
        model, before = catalog.models()[0], catalog.count_photos()
        good = ("good", np.eye(DIM)[0].astype(np.float16).tobytes())
        with pytest.raises(ModelError, match="1 embeddings that are not 16 finite numbers"):
            catalog.write(model.id, Changes([good, ("bad", row.astype(np.float16).tobytes())]))
        assert catalog.vector_of(model.id, "good") is None
        assert catalog.count_photos() == before


def test_embeddings_that_are_none_go_when_an_older_index_is_opened(indexed: Path) -> None:
    FAULTS["an embedding of NaN"](indexed)
    with closing(sqlite3.connect(indexed / "catalog.db")) as db, db:
        db.execute("DROP TABLE batches")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm008_batches'")
        db.execute("PRAGMA user_version = 7")
    unsealed(indexed)
    assert len(scores(indexed)) == 11
    index_all(indexed)
    assert len(scores(indexed)) == 12
    assert_true(indexed)


# Who was delayed


class Written:
    """A catalog that is written to, and the vectors of it that a brute force knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = Catalog.create(folder)
        self.root = self.catalog.add_root("/x").id
        self.model: Model = self.catalog.add_model("x", "w", "p", DIM, None)
        self.number = 0

    def add(self, count: int) -> None:
        rows = np.random.default_rng(self.number).standard_normal((count, DIM))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        changes = Changes()
        for row in rows.astype(np.float16):
            digest, self.number = f"{self.number:064}", self.number + 1
            changes.vectors.append((digest, row.tobytes()))
            changes.photos.append(NewPhoto(None, self.root, f"{digest}.jpg", digest, 1, 1, Facts()))
        self.catalog.write(self.model.id, changes)

    def remove_first(self, count: int) -> None:
        photos = sorted(it.id for it in self.catalog.known(self.root).values())
        self.catalog.remove_photos(photos[:count])
        self.catalog.sweep()

    def follow(self) -> None:
        bring_up(self.catalog, self.model, self.opened())

    def opened(self) -> VectorFile:
        return vector_file(self.folder, self.model)

    def assert_finds_all(self, file: VectorFile) -> None:
        rows = dict(self.catalog.vectors_after(self.model.id, 0))
        assert set(rows) <= set(file.search(np.ones(DIM, np.float32), ALL).ids.tolist())
        ids = np.array(sorted(rows), np.int64)
        assert file.rows_of(ids).tobytes() == b"".join(rows[id] for id in ids.tolist())


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    written = Written(tmp_path)
    written.add(200)
    written.follow()
    yield written
    written.catalog.close()


@pytest.mark.parametrize("meanwhile", ["appended", "compacted", "deleted", "made anew"])
def test_a_reader_that_was_delayed_writes_by_what_is_there_under_the_lock(
    meanwhile: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.add(10)
    judge = sync.is_behind

    def delayed(catalog: Catalog, model: Model, file: VectorFile) -> bool:
        result = judge(catalog, model, file)
        with write_lock(written.folder):
            written.follow()
            if meanwhile == "compacted":
                written.remove_first(60)
                written.follow()
            elif meanwhile == "deleted":
                written.opened().delete()
            elif meanwhile == "made anew":
                written.opened().delete()
                written.follow()
            written.add(7)
        return result

    monkeypatch.setattr(sync, "is_behind", delayed)
    file = sync.file_to_search(written.folder, written.catalog, written.model)
    monkeypatch.undo()
    for it in (file, written.opened()):
        written.assert_finds_all(it)
    assert not judge(written.catalog, written.model, written.opened())


HARMS: dict[str, Callable[[Written], object]] = {
    "more": lambda it: it.add(50),
    "fewer": lambda it: it.remove_first(100),
    "no ids": lambda it: it.opened().ids_path.unlink(),
    "damaged ids": lambda it: flip(it.opened().ids_path, 20),
    "a damaged header": lambda it: flip(it.opened().rows_path, 20),
}


@pytest.mark.parametrize("harm", HARMS)
def test_who_has_the_file_mapped_keeps_all_of_it(harm: str, written: Written) -> None:
    mapped = written.opened()
    before, size = mapped.rows.tobytes(), mapped.rows_path.stat().st_size
    kept = mapped.rows_path.open("rb")
    HARMS[harm](written)
    written.follow()
    assert os.fstat(kept.fileno()).st_size >= size
    kept.close()
    assert mapped.rows.tobytes() == before
    written.assert_finds_all(written.opened())


def test_a_run_goes_on_where_somebody_deletes_the_files(indexed: Path, photos: Path) -> None:
    paint(photos, range(100, 106))

    def delete(done: int, total: int) -> None:
        for file in indexed.glob("vectors/*"):
            file.unlink()

    with open_other(indexed) as library:
        library.index(batch_size=1, progress=delete)
    assert_true(indexed)


# A FAISS that lays its indexes out in another way


@pytest.mark.parametrize("place", [0, 4, 12, 16, 24])
@pytest.mark.parametrize("unexpected", [True, False])
def test_another_layout_of_faiss_changes_no_answer(
    place: int, unexpected: bool, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    within = written.opened().ids[::3]
    before = [written.opened().search(query, 10, some) for query in queries
              for some in (None, within)]  # fmt: skip
    many = written.opened().search_many(queries, 500)
    stretch._is_as_expected.cache_clear()
    monkeypatch.setattr(stretch, "COUNT_AT", place)
    if not unexpected:  # seen only by what comes of it
        monkeypatch.setattr(stretch, "_is_as_expected", lambda dim: True)
    file = written.opened()
    after = [file.search(query, 10, some) for query in queries for some in (None, within)]
    assert isinstance(file._stretches[0][1], stretch.NumpyStretch)
    for one, two in zip([*before, *many], [*after, *file.search_many(queries, 500)], strict=True):
        assert one.ids.tolist() == two.ids.tolist()
        assert two.scores == pytest.approx(one.scores, abs=1e-5)
    monkeypatch.undo()
    stretch._is_as_expected.cache_clear()
    assert isinstance(written.opened()._stretches[0][1], stretch.FaissStretch)


# Two at once, killed at any moment


WRITER = """
import sys, random
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_ties import Written
from clipsearch.store.lock import write_lock
from clipsearch.store.catalog import Catalog
chance, written = random.Random(int(sys.argv[2])), Written.__new__(Written)
written.folder = Path(sys.argv[1])
written.catalog = Catalog.open(written.folder)
written.model, written.root = written.catalog.models()[0], written.catalog.roots()[0].id
written.number = written.catalog.last_vector_id()
while True:
    with write_lock(written.folder, 60):
        written.add(chance.randrange(1, 20))
        if chance.random() < 0.3:
            written.remove_first(chance.randrange(1, 60))
        written.follow()
"""


def disturbed(written: Written, kills: int) -> None:
    chance = random.Random(5)
    query = np.random.default_rng(2).standard_normal(DIM).astype(np.float32)
    for kill in range(kills):
        command = [sys.executable, "-c", WRITER, written.folder, str(kill), Path(__file__).parent]
        writer = subprocess.Popen(list(map(str, command)))
        start, target = written.catalog.last_vector_id(), chance.randrange(1, 200)
        while written.catalog.last_vector_id() < start + target:
            assert writer.poll() is None
            file = sync.file_to_search(written.folder, written.catalog, written.model)
            found = file.search(query, 10)
            rows = written.catalog.rows_of(found.ids.tolist())
            for id, score in zip(found.ids.tolist(), found.scores.tolist(), strict=True):
                if id in rows:  # not if it was removed meanwhile
                    row = np.frombuffer(rows[id], np.float16).astype(np.float32)
                    assert score == pytest.approx(float(row @ query), abs=1e-3)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        written.assert_finds_all(
            sync.file_to_search(written.folder, written.catalog, written.model)
        )


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_writer_that_is_killed_leaves_right_answers(written: Written) -> None:
    disturbed(written, 2)


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_writer_that_is_killed_often_leaves_right_answers(written: Written) -> None:
    disturbed(written, 40)

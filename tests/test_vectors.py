"""The vector file gives exact answers, and never a wrong one, whatever a crash left of it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from tiny import open_tiny

from clipsearch import LibraryError
from clipsearch.photos.facts.facts import Facts
from clipsearch.store.catalog import Catalog, Changes, Model, NewPhoto
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.format import IDS_START, ROWS_START
from clipsearch.store.vectors.matches import Matches
from clipsearch.store.vectors.sync import bring_up, hold_missing, is_behind

DIM = 16
ROW = 2 * DIM  # bytes
COUNT = 20
SIZES = [0, 1, 2, 7, 100, 1000, 20_001]


def unit_rows(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * 3 + 5  # with gaps, as after deletions


def filled(stem: Path, count: int, seed: int = 0) -> VectorFile:
    file = VectorFile(stem, DIM)
    file.add(numbered(count), unit_rows(count, seed=seed))
    return file


def query(seed: int = 99, dim: int = DIM) -> np.ndarray:
    return unit_rows(1, dim, seed)[0].astype(np.float32)


def assert_exact(
    matches: Matches, ids: np.ndarray, rows: np.ndarray, question: np.ndarray, k: int
) -> None:
    """The answer is the k best of `ids` by brute force, up to the order of equal scores."""
    truth = rows.astype(np.float32) @ question
    best = np.sort(truth)[::-1][:k]
    assert len(set(matches.ids.tolist())) == len(matches.ids) == len(best)
    assert matches.scores == pytest.approx(best, abs=1e-3)
    places = {int(id): place for place, id in enumerate(ids)}
    assert [truth[places[int(id)]] for id in matches.ids] == pytest.approx(best, abs=1e-3)


# Search is exact


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("k", [1, 10, 50])
def test_a_search_finds_what_brute_force_finds(count: int, k: int, tmp_path: Path) -> None:
    file = filled(tmp_path / "m", count)
    assert_exact(file.search(query(), k), numbered(count), unit_rows(count), query(), k)


@pytest.mark.parametrize("held", [0, 3])
@pytest.mark.parametrize("count", SIZES)
def test_many_queries_at_once_find_what_each_finds_alone(
    count: int, held: int, tmp_path: Path
) -> None:
    ids, rows = numbered(count + held), unit_rows(count + held)
    file = VectorFile(tmp_path / "m", DIM)
    file.add(ids[:count], rows[:count])
    file.hold(ids[count:], rows[count:])
    queries = np.stack([query(), -query(), np.roll(query(), 1)])
    for one, matches in zip(queries, file.search_many(queries, 10), strict=True):
        assert_exact(matches, ids, rows, one, 10)


@pytest.mark.parametrize("cores", [1, 2, 5, 16, None])
def test_the_number_of_cores_changes_no_answer(
    cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    count = 60_001
    ids, rows = numbered(count), unit_rows(count, 8)
    file = VectorFile(tmp_path / "m", 8)
    file.add(ids, rows)
    assert_exact(file.search(query(dim=8), 30), ids, rows, query(dim=8), 30)


@pytest.mark.parametrize("dim", [8, 20, 256, 512, 1000])
def test_vectors_may_be_of_any_length(dim: int, tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "m", dim)
    file.add(numbered(50), unit_rows(50, dim))
    assert_exact(
        file.search(query(dim=dim), 10), numbered(50), unit_rows(50, dim), query(dim=dim), 10
    )


@pytest.mark.parametrize("count", [0, 1, 100])
def test_asking_for_more_than_there_is_gives_all(count: int, tmp_path: Path) -> None:
    matches = filled(tmp_path / "m", count).search(query(), 1000)
    assert sorted(matches.ids) == numbered(count).tolist()


def test_a_photo_is_most_like_itself(tmp_path: Path) -> None:
    file, rows = filled(tmp_path / "m", 100), unit_rows(100).astype(np.float32)
    found = [file.search(row, 1) for row in rows]
    assert [int(matches.ids[0]) for matches in found] == numbered(100).tolist()
    assert [float(matches.scores[0]) for matches in found] == pytest.approx([1] * 100, abs=2e-3)


@pytest.mark.parametrize("count", [1, 100, 20_001])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.03, 0.5, 1])
def test_a_filter_searches_exactly_among_what_it_allows(
    share: float, count: int, tmp_path: Path
) -> None:
    file = filled(tmp_path / "m", count)
    chosen = np.sort(np.random.default_rng(1).permutation(count)[: max(1, int(share * count))])
    ids, rows = numbered(count)[chosen], unit_rows(count)[chosen]
    assert_exact(file.search(query(), 10, within=ids), ids, rows, query(), 10)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux tells what was read")
@pytest.mark.parametrize("k", [1, 128, 129])
@pytest.mark.parametrize("is_far", [False, True])
def test_a_filter_strewn_over_the_file_is_exact_also_where_it_leaves_what_is_farthest(
    k: int, is_far: bool, tmp_path: Path
) -> None:
    file, question = filled(tmp_path / "v", 5000), query()
    order = np.argsort(unit_rows(5000).astype(np.float32) @ question)
    chosen = np.sort(order[:2500] if is_far else np.arange(0, 5000, 2))
    matches = file.search(question, k, numbered(5000)[chosen])
    assert_exact(matches, numbered(5000)[chosen], unit_rows(5000)[chosen], question, k)


def test_a_few_rows_are_read_from_disk_without_those_between(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "m", 512)
    file.add(numbered(30_000), np.zeros((30_000, 512), np.float16))
    with file.rows_path.open("rb") as written:
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = bytes_read()
    VectorFile(tmp_path / "m", 512).rows_of(numbered(30_000)[::1500])
    assert bytes_read() - before < 1_000_000  # 20 rows of 1 KB, and a page or two for each


def bytes_read() -> int:
    """What this process had read from disks."""
    (line,) = re.findall(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(line)


@pytest.mark.parametrize("count", [0, 100, 20_001])
def test_a_filter_that_allows_nothing_finds_nothing(count: int, tmp_path: Path) -> None:
    matches = filled(tmp_path / "m", count).search(query(), 10, within=np.empty(0, np.int64))
    assert len(matches.ids) == len(matches.scores) == 0


@pytest.mark.parametrize("known", [0, 1, 30])
def test_a_filter_may_name_ids_that_are_not_there(known: int, tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)
    within = np.sort(np.concatenate([numbered(known), np.array([-1, 0, 6, 7, 10**9])]))
    matches = file.search(query(), 50, within=within)
    assert_exact(matches, numbered(known), unit_rows(known), query(), 50)


# Keeping


def contents(file: VectorFile) -> tuple[list[int], bytes]:
    return file.ids.tolist(), file.rows.tobytes()


@pytest.mark.parametrize("pieces", [[100], [1] * 100, [50, 0, 50], [99, 1], [33, 33, 34]])
def test_adding_in_pieces_equals_adding_at_once(pieces: list[int], tmp_path: Path) -> None:
    file, start = VectorFile(tmp_path / "m", DIM), 0
    for piece in pieces:
        span = slice(start, start := start + piece)
        file.add(numbered(100)[span], unit_rows(100)[span])
    assert contents(file) == contents(filled(tmp_path / "at once", 100))
    assert contents(VectorFile(tmp_path / "m", DIM)) == contents(file)


def test_a_small_batch_costs_no_copy_of_all_ids(tmp_path: Path) -> None:
    count = 200_000
    file = VectorFile(tmp_path / "m", 2)
    file.add(np.arange(count) + 1, np.ones((count, 2), np.float16))
    file.add([count + 1], np.ones((1, 2), np.float16))
    tracemalloc.start()
    try:
        file.add([count + 2], np.ones((1, 2), np.float16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count  # bytes; a copy would be 8 times as large
    assert file.fingerprint() == (count + 2, count + 2)


def test_what_is_added_is_found_at_once(tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 10)
    assert file.search(query(), 100).ids.max() == numbered(10).max()
    file.add([1000], query()[None].astype(np.float16))
    assert file.search(query(), 1).ids.tolist() == [1000]


def test_a_file_that_was_closed_is_the_same_when_opened(tmp_path: Path) -> None:
    before = filled(tmp_path / "m", 1000)
    after = VectorFile(tmp_path / "m", DIM)
    assert contents(after) == contents(before)
    assert after.fingerprint() == before.fingerprint() == (1000, 3 * 999 + 5)
    assert np.array_equal(after.search(query(), 20).ids, before.search(query(), 20).ids)


def test_a_file_that_was_never_made_is_empty(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "m", DIM)
    assert (file.fingerprint(), len(file.rows)) == ((0, 0), 0)
    assert len(file.search(query(), 5).ids) == 0
    assert list(tmp_path.iterdir()) == []


def test_searching_writes_nothing(tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    file.search(query(), 5)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_a_file_of_vectors_of_another_length_is_not_believed(tmp_path: Path) -> None:
    filled(tmp_path / "m", 10)
    assert VectorFile(tmp_path / "m", DIM // 2).fingerprint() == (0, 0)


@pytest.mark.parametrize("saved", [0, 1, 100])
@pytest.mark.parametrize("within", [None, "all", "held alone", "saved alone"])
def test_what_is_held_is_searched_and_not_written(
    saved: int, within: str | None, tmp_path: Path
) -> None:
    count = saved + 10
    ids, rows = numbered(count), unit_rows(count)
    file = VectorFile(tmp_path / "m", DIM)
    file.add(ids[:saved], rows[:saved])
    file.hold(ids[saved:], rows[saved:])
    part = {"held alone": slice(saved, None), "saved alone": slice(saved)}.get(
        str(within), slice(None)
    )
    allowed = None if within is None else ids[part]
    assert_exact(file.search(query(), 15, allowed), ids[part], rows[part], query(), 15)
    assert file.rows_of(ids).tobytes() == rows.tobytes()
    assert VectorFile(tmp_path / "m", DIM).fingerprint()[0] == saved


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_give_what_is_asked_for_and_there(size: int, tmp_path: Path) -> None:
    ids, rows = numbered(40), unit_rows(40)
    file = VectorFile(tmp_path / "m", DIM)
    assert list(file.blocks(ids, size)) == []
    file.add(ids[:30], rows[:30])
    file.hold(ids[30:], rows[30:])
    asked = np.append(ids[5:35], 10_000)
    blocks = list(file.blocks(asked, size))
    assert all(len(block_ids) <= size for block_ids, _ in blocks)
    assert np.concatenate([block_ids for block_ids, _ in blocks]).tolist() == ids[5:35].tolist()
    found = np.concatenate([block_rows for _, block_rows in blocks])
    assert found.tobytes() == rows[5:35].astype(np.float16).tobytes()


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_keeping_some_drops_all_others(step: int, tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)
    ids, rows = numbered(100)[::step], unit_rows(100)[::step]
    file.keep(ids)
    assert contents(file) == (ids.tolist(), rows.tobytes())
    assert contents(VectorFile(tmp_path / "m", DIM)) == contents(file)
    assert_exact(file.search(query(), 30), ids, rows, query(), 30)


def test_keeping_none_leaves_an_empty_file_to_which_more_is_added(tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)
    file.keep(np.empty(0, np.int64))
    assert file.fingerprint() == (0, 0)
    file.add([1000], unit_rows(1))
    assert contents(VectorFile(tmp_path / "m", DIM)) == ([1000], unit_rows(1).tobytes())


def test_replacing_leaves_nothing_of_what_was_there(tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)
    ids, rows = numbered(70), unit_rows(70, seed=5)
    file.replace((ids[i : i + 20], rows[i : i + 20]) for i in range(0, 70, 20))
    assert contents(VectorFile(tmp_path / "m", DIM)) == (ids.tolist(), rows.tobytes())
    assert_exact(file.search(query(), 10), ids, rows, query(), 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.f16", "m.ids"]


def test_a_replacement_that_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    file = filled(tmp_path / "m", 100)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield numbered(10), unit_rows(10, seed=5)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        file.replace(batches())
    assert contents(VectorFile(tmp_path / "m", DIM)) == contents(filled(tmp_path / "same", 100))


def test_the_name_of_a_model_may_hold_dots(tmp_path: Path) -> None:
    file = filled(tmp_path / "PE.Core.v1", 10)
    filled(tmp_path / "PE.Core.v2", 5)
    file.keep(numbered(3))
    assert VectorFile(tmp_path / "PE.Core.v1", DIM).fingerprint()[0] == 3
    assert VectorFile(tmp_path / "PE.Core.v2", DIM).fingerprint()[0] == 5


# After a crash: never a wrong answer, and all is repaired from the catalog


class Kept:
    """A catalog with COUNT vectors, and the vector file that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = Catalog.create(folder)
        self.model: Model = self.catalog.add_model("m", "w", "p", DIM, None)
        self.root = self.catalog.add_root(str(folder / "photos"))
        self.rows = unit_rows(COUNT)
        added = self.write(range(COUNT))
        self.ids = np.array([id for id, _ in added])
        bring_up(self.catalog, self.model, self.opened())

    def write(self, numbers: range) -> list[tuple[int, bytes]]:
        digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in numbers]
        rows = unit_rows(numbers.stop)
        return self.catalog.write(
            self.model.id,
            Changes(
                vectors=[(d, rows[n].tobytes()) for d, n in zip(digests, numbers, strict=True)],
                photos=[
                    NewPhoto(None, self.root.id, f"{n}.jpg", d, 1, 1, Facts())
                    for d, n in zip(digests, numbers, strict=True)
                ],
            ),
        )

    def opened(self) -> VectorFile:
        return VectorFile(self.folder / "m", DIM)

    def assert_never_wrong(self) -> None:
        file = self.opened()
        held = len(file.ids)
        assert file.ids.tolist() == self.ids[:held].tolist()
        assert file.rows.tobytes() == self.rows[:held].tobytes()
        assert_exact(file.search(query(), 9), self.ids[:held], self.rows[:held], query(), 9)

    def assert_repaired(self) -> None:
        file = self.opened()
        bring_up(self.catalog, self.model, file)
        assert not is_behind(self.catalog, self.model, self.opened())
        for it in (file, self.opened()):
            assert contents(it) == (self.ids.tolist(), self.rows.tobytes())
            assert_exact(it.search(query(), 9), self.ids, self.rows, query(), 9)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.catalog.close()


ROWS_END, IDS_END = ROWS_START + COUNT * ROW, IDS_START + COUNT * 8
ROWS_CUTS = [
    0, 1, 15, 16, 17, 24, 31, 32, 33, 1000, ROWS_START - 1, ROWS_START, ROWS_START + 1,
    ROWS_START + ROW - 1, ROWS_START + ROW, ROWS_START + 7 * ROW, ROWS_START + 7 * ROW + 5,
    ROWS_END - ROW, ROWS_END - 1,
]  # fmt: skip
IDS_CUTS = [0, 1, 7, 8, 15, 16, 17, 23, 24, 25, 72, IDS_END - 9, IDS_END - 8, IDS_END - 1]


@pytest.mark.parametrize("length", ROWS_CUTS)
def test_rows_cut_anywhere_give_no_wrong_answer_and_are_repaired(kept: Kept, length: int) -> None:
    os.truncate(kept.folder / "m.f16", length)
    kept.assert_never_wrong()
    kept.assert_repaired()


@pytest.mark.parametrize("length", IDS_CUTS)
def test_ids_cut_anywhere_give_no_wrong_answer_and_are_repaired(kept: Kept, length: int) -> None:
    os.truncate(kept.folder / "m.ids", length)
    kept.assert_never_wrong()
    kept.assert_repaired()


@pytest.mark.parametrize("rows", [0, 31, ROWS_START, ROWS_START + 3 * ROW + 1, ROWS_END - 1])
@pytest.mark.parametrize("ids", [0, 15, 16, 40, 41, IDS_END - 1])
def test_both_cut_give_no_wrong_answer_and_are_repaired(kept: Kept, rows: int, ids: int) -> None:
    os.truncate(kept.folder / "m.f16", rows)
    os.truncate(kept.folder / "m.ids", ids)
    kept.assert_never_wrong()
    kept.assert_repaired()


@pytest.mark.parametrize("name", ["m.f16", "m.ids"])
def test_one_file_missing_gives_no_wrong_answer_and_is_repaired(kept: Kept, name: str) -> None:
    (kept.folder / name).unlink()
    kept.assert_never_wrong()
    kept.assert_repaired()


def damaged(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "offset"), [("m.f16", at) for at in range(32)] + [("m.ids", at) for at in range(16)]
)
def test_a_damaged_header_is_not_believed_and_repaired(kept: Kept, name: str, offset: int) -> None:
    damaged(kept.folder / name, offset)
    assert kept.opened().fingerprint() == (0, 0)
    kept.assert_repaired()


@pytest.mark.parametrize("row", range(1, COUNT, 6))
def test_ids_out_of_order_are_not_believed_and_repaired(kept: Kept, row: int) -> None:
    damaged(kept.folder / "m.ids", IDS_START + 8 * row + 7)  # the sign
    kept.assert_never_wrong()
    kept.assert_repaired()


@pytest.mark.parametrize("name", ["m.f16", "m.ids"])
def test_files_of_two_pairs_are_not_believed_together(kept: Kept, name: str) -> None:
    other = kept.folder / "other"
    filled(other, COUNT, seed=3)
    shutil.copy(other.with_suffix(Path(name).suffix), kept.folder / name)
    assert kept.opened().fingerprint() == (0, 0)
    kept.assert_repaired()


def test_a_crash_between_the_two_halves_of_a_replacement_is_repaired(kept: Kept) -> None:
    old_ids = (kept.folder / "m.ids").read_bytes()
    kept.opened().keep(kept.ids[3:])
    (kept.folder / "m.ids").write_bytes(old_ids)
    assert kept.opened().fingerprint() == (0, 0)
    kept.assert_repaired()


@pytest.mark.parametrize("surplus", [1, ROW - 1, ROW, 5 * ROW + 3])
def test_a_crash_between_rows_and_ids_is_harmless(kept: Kept, surplus: int) -> None:
    with open(kept.folder / "m.f16", "ab") as file:
        file.write(b"\x3c" * surplus)
    kept.assert_never_wrong()
    assert kept.opened().fingerprint()[0] == COUNT
    kept.write(range(COUNT, COUNT + 2))
    file = kept.opened()
    bring_up(kept.catalog, kept.model, file)
    assert kept.opened().rows.tobytes() == unit_rows(COUNT + 2).tobytes()


@pytest.mark.parametrize("surplus", [1, 7])
def test_a_crash_within_an_id_is_harmless(kept: Kept, surplus: int) -> None:
    with open(kept.folder / "m.f16", "ab") as rows, open(kept.folder / "m.ids", "ab") as ids:
        rows.write(bytes(ROW))
        ids.write(bytes(surplus))
    assert kept.opened().fingerprint()[0] == COUNT
    kept.assert_never_wrong()
    kept.assert_repaired()


def test_blocks_of_zeros_that_a_power_cut_left_are_not_believed(kept: Kept) -> None:
    with open(kept.folder / "m.f16", "ab") as rows, open(kept.folder / "m.ids", "ab") as ids:
        rows.write(bytes(2 * ROW))
        ids.write(bytes(16))
    kept.assert_never_wrong()
    kept.assert_repaired()


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: os.truncate(folder / "m.f16", ROWS_START + 50),
        lambda folder: os.truncate(folder / "m.ids", IDS_START + 50),
        lambda folder: (folder / "m.ids").unlink(),
        lambda folder: damaged(folder / "m.f16", 3),
        lambda folder: VectorFile(folder / "m", DIM).keep(np.arange(5, COUNT)),
    ],
    ids=["rows cut", "ids cut", "ids missing", "header damaged", "first rows missing"],
)
def test_a_search_that_may_not_write_is_whole_all_the_same(
    kept: Kept, break_it: Callable[[Path], object]
) -> None:
    break_it(kept.folder)
    before = [path.read_bytes() for path in sorted(kept.folder.glob("m.*"))]
    file = kept.opened()
    assert is_behind(kept.catalog, kept.model, file)
    hold_missing(kept.catalog, kept.model, file)
    assert_exact(file.search(query(), 9), kept.ids, kept.rows, query(), 9)
    assert [path.read_bytes() for path in sorted(kept.folder.glob("m.*"))] == before


def test_a_file_ahead_of_a_catalog_that_was_put_back_is_rewritten(kept: Kept) -> None:
    file = kept.opened()
    file.add([int(kept.ids[-1]) + 1], unit_rows(1, seed=8))
    kept.assert_repaired()


def test_many_photos_that_are_gone_are_swept_out_of_the_file(kept: Kept) -> None:
    known = kept.catalog.known(kept.root.id)
    kept.catalog.remove_photos(known[f"{number}.jpg"].id for number in range(0, COUNT, 2))
    kept.catalog.sweep()
    file = kept.opened()
    bring_up(kept.catalog, kept.model, file)
    assert contents(kept.opened()) == (kept.ids[1::2].tolist(), kept.rows[1::2].tobytes())


def test_a_catalog_of_many_vectors_is_brought_up_whole(tmp_path: Path) -> None:
    count = 10_001  # more than are read at a time
    kept = Kept(tmp_path)
    kept.write(range(COUNT, count))
    bring_up(kept.catalog, kept.model, kept.opened())
    assert kept.opened().rows.tobytes() == unit_rows(count).tobytes()
    assert kept.opened().ids.tolist() == list(range(1, count + 1))
    kept.catalog.close()


# Changed while they are open


def _cut(file: Path, other: Path) -> None:
    os.truncate(file, 0)


def _overwritten(file: Path, other: Path) -> None:
    shutil.copyfile(other, file)


def _zeroed(file: Path, other: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:ROWS_START].ljust(len(content), b"\0"))


def _gone(file: Path, other: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("harm", [_cut, _overwritten, _zeroed, _gone])
def test_an_open_library_answers_as_before_whatever_becomes_of_its_files(
    indexed: Path, photos: Path, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    for photo in photos.glob("*.jpg"):
        picture(int(photo.stem) + 100).save(photo)
    with open_tiny(tmp_path / "other") as other:
        other.index([photos])
    with open_tiny(indexed) as library:
        expected = [(hit.id, hit.score) for hit in library.query("a dog", 12)]
        for file in sorted((indexed / "vectors").iterdir()):
            harm(file, tmp_path / "other" / "vectors" / file.name)
        assert [(hit.id, hit.score) for hit in library.query("a dog", 12)] == expected


@pytest.mark.parametrize("is_there", [True, False])
def test_an_open_library_writes_nothing_where_another_index_or_none_has_its_name(
    indexed: Path, photos: Path, tmp_path: Path, is_there: bool
) -> None:
    for photo in photos.glob("*.jpg"):
        picture(int(photo.stem) + 100).save(photo)
    with open_tiny(other := tmp_path / "other") as library:
        library.index([photos])
    with open_tiny(indexed) as library:
        before = [hit.score for hit in library.query("a dog", 12)]
        indexed.rename(tmp_path / "before")
        if is_there:
            other.rename(indexed)
        files = {it: it.read_bytes() for it in indexed.glob("*/*")}
        after = [hit.score for hit in library.query("a dog", 12)]
        assert after == pytest.approx(before, abs=1e-5)
        with pytest.raises(LibraryError, match="another index, or none"):
            library.index([photos])
        assert {it: it.read_bytes() for it in indexed.glob("*/*")} == files
        assert indexed.exists() == is_there

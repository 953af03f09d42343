"""An approximate index finds nearly all that exact search finds, and is never believed wrongly."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from tiny import TinyEncoder

from clipsearch import Hit, InvalidInput, Library, LibraryBusy
from clipsearch.photos.facts.facts import Facts
from clipsearch.store.catalog import Catalog, Changes, NewPhoto
from clipsearch.store.lock import write_lock
from clipsearch.store.vectors.approximate import building as approximate
from clipsearch.store.vectors.approximate import index as searched
from clipsearch.store.vectors.approximate.format import BLOCK
from clipsearch.store.vectors.approximate.index import ApproximateIndex, faster
from clipsearch.store.vectors.file import VectorFile
from clipsearch.store.vectors.matches import Matches

DIM = 256
COUNT = 8_013  # the last rows fill no block
PHOTOS = "/no/such/photos"
CODES_START = 20_480  # the page after 64 bytes and the centroids: see index/README.md


def clustered(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Unit rows as a CLIP's are: in a narrow cone, in clusters of all sizes, some alone."""
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    # Most of the variance is in some of the directions, as if there were about 40.
    wide = world.permutation((np.arange(dim) + 4.0) ** -0.75)
    centers = world.standard_normal((200, dim)) * wide
    chosen = (200 * rng.random(count) ** 2).astype(int)
    alone = rng.random((count, 1)) < 0.15
    near = rng.uniform(0.3, 0.9, (count, 1)) * rng.standard_normal((count, dim)) * wide
    far = rng.standard_normal((count, dim)) * wide
    rows = 1.5 * wide.mean() + np.where(alone, far, centers[chosen]) + near
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def words(count: int, dim: int = DIM) -> np.ndarray:
    """Questions that are far from all rows, as those in words are, (count, dim) float32."""
    noise = np.random.default_rng(5).standard_normal((count, dim)) / dim**0.5
    far = 0.35 * clustered(count, dim, 6) + 0.9 * noise
    return (far / np.linalg.norm(far, axis=1, keepdims=True)).astype(np.float32)


def filled(stem: Path, count: int = COUNT, dim: int = DIM, seed: int = 0) -> VectorFile:
    file = VectorFile(stem, dim)
    file.add(np.arange(count) * 2 + 1, clustered(count, dim, seed))
    return file


def reopened(file: VectorFile) -> VectorFile:
    return VectorFile(file.ids_path.with_suffix(""), file.dim)


def used(file: VectorFile) -> bool:
    return isinstance(faster(file), ApproximateIndex)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> VectorFile:
    """A vector file with an approximate index, for all tests that change neither."""
    file = filled(tmp_path_factory.mktemp("original") / "m")
    approximate.build(file)
    return file


@pytest.fixture
def built(original: VectorFile, tmp_path: Path) -> VectorFile:
    """A vector file with an approximate index, for one test."""
    for path in (original.rows_path, original.ids_path, original.ann_path):
        shutil.copy(path, tmp_path)
    return VectorFile(tmp_path / "m", DIM)


def share_found(index: ApproximateIndex | VectorFile, file: VectorFile, asked: np.ndarray) -> float:
    found = [set(index.search(question, 10).ids.tolist()) for question in asked]
    truth = [set(file.search(question, 10).ids.tolist()) for question in asked]
    return sum(len(a & b) for a, b in zip(found, truth, strict=True)) / (10 * len(asked))


def assert_same(found: Matches, true: Matches) -> None:
    assert found.ids.tolist() == true.ids.tolist()
    assert found.scores == pytest.approx(true.scores, abs=1e-5)


# What it finds


@pytest.mark.parametrize("dim", [DIM, 254, 255, 257, 512])
def test_nearly_all_of_the_nearest_are_found(dim: int, tmp_path: Path) -> None:
    file = filled(tmp_path / "m", dim=dim)
    index, recall = approximate.build(file)
    assert recall >= 0.99
    assert share_found(index, file, words(100, dim)) >= 0.99
    assert share_found(index, file, clustered(100, dim, seed=3).astype(np.float32)) >= 0.99


def test_it_ranks_few_of_the_rows_exactly(original: VectorFile) -> None:
    index = faster(original)
    assert isinstance(index, ApproximateIndex)
    assert 10 <= index.header.candidates <= COUNT / 16


def test_the_number_of_cores_and_of_scans_changes_no_answer(
    original: VectorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [faster(original).search(question, 10) for question in words(20)]
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    monkeypatch.setattr(searched, "ROWS_A_SCAN", 1024)
    for question, matches in zip(words(20), before, strict=True):
        assert_same(faster(reopened(original)).search(question, 10), matches)


@pytest.mark.parametrize("limits", [(), (70,), (200, 300)])
def test_the_steps_in_which_candidates_are_counted_change_little(
    limits: tuple[int, ...], built: VectorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, recall = approximate.build(built)
    monkeypatch.setattr(approximate, "LIMITS", limits)
    again, same = approximate.build(built)
    # Rows whose codes score the same come in any order.
    assert again.header.candidates == pytest.approx(index.header.candidates, rel=0.1)
    assert same == pytest.approx(recall, abs=0.01)


def test_scores_are_exact(original: VectorFile) -> None:
    matches = faster(original).search(words(1)[0], 10)
    places = np.searchsorted(original.ids, matches.ids)
    assert matches.scores == pytest.approx(
        original.rows[places].astype(np.float32) @ words(1)[0], abs=1e-6
    )
    assert (np.diff(matches.scores) <= 0).all()


@pytest.mark.parametrize("k", [400, COUNT - 1, COUNT, 10 * COUNT])
def test_a_long_answer_is_whole(k: int, original: VectorFile) -> None:
    assert_same(faster(original).search(words(1)[0], k), original.search(words(1)[0], k))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_filter_is_searched_exactly(share: float, original: VectorFile) -> None:
    within = original.ids[np.random.default_rng(2).random(COUNT) < share]
    for question in words(5):
        assert_same(
            faster(original).search(question, 10, within), original.search(question, 10, within)
        )


# As photos come and go


def test_what_is_added_later_is_found(built: VectorFile) -> None:
    new = words(50).astype(np.float16)
    built.add(np.arange(50) + 10 * COUNT, new)
    for file in (built, reopened(built)):
        assert used(file)
        first = [int(faster(file).search(row.astype(np.float32), 1).ids[0]) for row in new]
        assert first == list(range(10 * COUNT, 10 * COUNT + 50))


def test_what_could_not_be_saved_is_found(built: VectorFile) -> None:
    built.hold([10 * COUNT], words(1).astype(np.float16))
    assert used(built)
    assert faster(built).search(words(1)[0], 1).ids.tolist() == [10 * COUNT]


def test_the_last_rows_that_fill_no_block_are_found(original: VectorFile) -> None:
    for place in range(COUNT // BLOCK * BLOCK - 1, COUNT):
        row = original.rows[place].astype(np.float32)
        assert faster(original).search(row, 1).ids.tolist() == [place * 2 + 1]


@pytest.mark.parametrize(("more", "again"), [(COUNT // 10, False), (COUNT, True)])
def test_much_growth_builds_it_again(built: VectorFile, more: int, again: bool) -> None:
    before = built.ann_path.read_bytes()
    built.add(np.arange(more) + 10 * COUNT, clustered(more, seed=7))
    approximate.renew(built)
    assert (built.ann_path.read_bytes() != before) is again
    assert share_found(faster(built), built, words(50)) >= 0.99


def test_none_is_built_where_there_was_none(tmp_path: Path) -> None:
    file = filled(tmp_path / "m")
    approximate.renew(file)
    assert not file.ann_path.exists()


def test_it_is_dropped_when_too_few_are_left(built: VectorFile) -> None:
    built.keep(built.ids[:500])
    approximate.renew(built)
    assert not built.ann_path.exists()


# What is not believed


def assert_exact(file: VectorFile) -> None:
    assert not used(file)
    for question in words(3):
        assert_same(faster(file).search(question, 10), file.search(question, 10))


@pytest.mark.parametrize("left", [0, 1, 15, 16, 63, 64, 65, 4000, 5000, -4096, -1])
def test_a_file_cut_anywhere_is_ignored(left: int, built: VectorFile) -> None:
    content = built.ann_path.read_bytes()
    built.ann_path.write_bytes(content[:left])
    assert_exact(built)
    built.ann_path.write_bytes(content + b"more")
    assert_exact(built)


@pytest.mark.parametrize("offset", [*range(64), 64, 1000])
def test_a_damaged_header_is_ignored(offset: int, built: VectorFile) -> None:
    content = bytearray(built.ann_path.read_bytes())
    content[offset] ^= 0x40
    built.ann_path.write_bytes(content)
    assert_exact(built)


@pytest.mark.parametrize("filler", [b"\0", b"\x5a", b"\xff"])
def test_codes_that_say_nothing_of_the_rows_are_ignored(filler: bytes, built: VectorFile) -> None:
    content = built.ann_path.read_bytes()
    start = CODES_START  # as index/README.md says
    built.ann_path.write_bytes(content[:start] + filler * (len(content) - start))
    assert_exact(built)


def test_an_index_of_other_vectors_is_ignored(built: VectorFile, tmp_path: Path) -> None:
    other = filled(tmp_path / "other")  # the same rows, but another file
    other.ann_path.write_bytes(built.ann_path.read_bytes())
    assert_exact(other)


def test_an_index_of_rows_that_were_rewritten_is_ignored(built: VectorFile) -> None:
    built.keep(built.ids[5:])
    assert_exact(built)
    assert_exact(reopened(built))
    approximate.renew(built)
    assert used(built)


def test_an_index_of_more_rows_than_there_are_is_ignored(built: VectorFile) -> None:
    content = built.ids_path.read_bytes()
    built.ids_path.write_bytes(content[: -8 * 100])
    assert_exact(reopened(built))


def test_an_index_of_other_ids_is_ignored(built: VectorFile) -> None:
    content = built.ids_path.read_bytes()
    built.ids_path.write_bytes(content[:-800] + (built.ids[-100:] + 1).tobytes())
    assert_exact(reopened(built))


def test_vectors_that_are_disregarded_are_not_found_by_it(built: VectorFile) -> None:
    built.disregard()
    assert len(faster(built).search(words(1)[0], 10).ids) == 0


# Building


class Stop(Exception):
    pass


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_a_build_that_is_stopped_leaves_the_old_index(
    moment: float, error: type[BaseException], built: VectorFile, tmp_path: Path
) -> None:
    built.add(np.arange(COUNT) + 10 * COUNT, clustered(COUNT, seed=7))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def stop(done: int, total: int) -> None:
        if done >= moment * total:
            raise error

    with pytest.raises(error):
        approximate.build(built, stop)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert used(built)


def test_progress_goes_up_to_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    approximate.build(filled(tmp_path / "m"), lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] <= seen[-1][1]


def test_vectors_that_are_all_the_same_are_found(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "m", DIM)
    file.add(np.arange(COUNT) + 1, np.repeat(clustered(1), COUNT, 0))
    approximate.build(file)
    assert len(set(faster(file).search(words(1)[0], 10).ids.tolist())) == 10


# A library


class WideEncoder(TinyEncoder):
    """As tiny, with as many numbers as a CLIP has; texts lie anywhere far from all photos."""

    dim = DIM

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(super().encode_images(batch), DIM // 16) / (DIM // 16) ** 0.5

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return words(len(texts))


def open_wide(folder: Path) -> Library:
    return Library.open(folder, model="pocket", encoder=WideEncoder())


@dataclass(frozen=True)
class Made:
    """An index folder whose photos are embeddings alone."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, count: int) -> Made:
        folder.mkdir()
        catalog = Catalog.create(folder)
        encoder = WideEncoder()
        model = catalog.add_model("pocket", encoder.weights, encoder.preprocess, encoder.dim, None)
        root = catalog.add_root(PHOTOS)
        names = [f"{'old' if number % 4 == 0 else 'new'}/{number}.jpg" for number in range(count)]
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        pairs = list(zip(names, digests, strict=True))
        photos = [NewPhoto(None, root.id, name, digest, 1, 1, Facts()) for name, digest in pairs]
        rows = clustered(count, encoder.dim)
        vectors = [(digest, row.tobytes()) for digest, row in zip(digests, rows, strict=True)]
        catalog.write(model.id, Changes(photos=photos, vectors=vectors))
        catalog.close()
        return cls(folder)

    @property
    def ann_files(self) -> list[Path]:
        return sorted(self.folder.glob("vectors/*.ann*"))

    def break_most_codes(self) -> None:
        """Make the approximate index miss, in a way that only a search can notice."""
        (file,) = self.ann_files
        codes = np.memmap(file, np.uint8, "r+", CODES_START).reshape(-1, BLOCK * DIM // 4)
        looked_at = np.linspace(0, len(codes) - 1, 4, dtype=int)
        kept = codes[looked_at].copy()
        codes[:] = codes[np.random.default_rng(0).permutation(len(codes))]
        codes[looked_at] = kept
        codes.flush()


@pytest.fixture
def made(index: Path) -> Made:
    """An index that is not optimized."""
    return Made.of(index, 4000)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = Made.of(tmp_path_factory.mktemp("first") / "index", 4000)
    with open_wide(made.folder) as library:
        library.optimize(force=True)
    return made


@pytest.fixture
def optimized(first: Made, index: Path) -> Made:
    """An index that is optimized."""
    shutil.copytree(first.folder, index)
    return Made(index)


def ids(hits: list[Hit]) -> set[int]:
    return {hit.id for hit in hits}


def test_a_query_uses_it_and_an_exact_one_does_not(made: Made) -> None:
    with open_wide(made.folder) as library:
        before = library.query("a dog")
        library.optimize(force=True)
        assert library.query("a dog", exact=True) == before
        assert len(ids(library.query("a dog")) & ids(before)) >= 9
    made.break_most_codes()
    with open_wide(made.folder) as library:
        assert ids(library.query("a dog")) != ids(before)
        assert library.query("a dog", exact=True) == before
        assert library.query("a dog", None) == library.query("a dog", None, exact=True)


def test_a_picture_may_be_searched_for_exactly_too(optimized: Made) -> None:
    optimized.break_most_codes()
    with open_wide(optimized.folder) as library:
        exact = library.similar(picture(1), exact=True)
        assert exact == library.similar(picture(1), None)[:10]
        assert ids(library.similar(picture(1))) != ids(exact)


def test_photos_that_are_gone_are_not_answers(optimized: Made) -> None:
    with open_wide(optimized.folder) as library:
        gone = library.query("a dog", 20)
        for hit in gone:
            library.forget(hit.path)
        hits = library.query("a dog", 20)
        assert not ids(hits) & ids(gone)
        assert len(hits) == 20


def test_when_much_is_gone_it_is_built_again(optimized: Made) -> None:
    optimized.break_most_codes()
    with open_wide(optimized.folder) as library:
        library.forget(Path(PHOTOS, "old"))
        assert len(optimized.ann_files) == 1
        assert library.query("a dog") == library.query("a dog", exact=True)


def test_a_copy_of_the_index_has_it_too(optimized: Made, tmp_path: Path) -> None:
    copy = Made(tmp_path / "copy")

    def found(made: Made) -> set[int]:
        with open_wide(made.folder) as library:
            return ids(library.query("a dog"))

    def renew() -> None:
        with open_wide(optimized.folder) as library:
            library.copy(copy.folder)

    renew()
    assert copy.ann_files[0].read_bytes() == optimized.ann_files[0].read_bytes()
    assert found(copy) == found(optimized)
    copy.break_most_codes()
    assert found(copy) != found(optimized)  # it is used
    before = copy.ann_files[0].stat()
    renew()
    assert copy.ann_files[0].stat().st_ino == before.st_ino  # what fits is not copied again
    with open_wide(optimized.folder) as library:
        library.forget(Path(PHOTOS, "old"))  # so much that it is built again
    renew()
    assert copy.ann_files[0].read_bytes() == optimized.ann_files[0].read_bytes()
    assert found(copy) == found(optimized)


def test_a_small_library_is_left_as_it_is(made: Made) -> None:
    with open_wide(made.folder) as library:
        (report,) = library.optimize()
    assert not report.built
    assert report.exact_ms > 0
    assert made.ann_files == []


def test_a_library_that_somebody_writes_to_is_not_optimized(made: Made) -> None:
    with open_wide(made.folder) as library, write_lock(made.folder), pytest.raises(LibraryBusy):
        library.optimize()


@pytest.mark.parametrize("count", [0, 1, 12, 999])
def test_too_few_photos_are_not_forced(count: int, index: Path) -> None:
    made = Made.of(index, count)
    with Library.open(index) as library, pytest.raises(InvalidInput, match=f"there are {count};"):
        library.optimize(force=True)
    assert made.ann_files == []


def test_few_photos_need_no_help_however_long_a_search_takes(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made.of(index, 12)
    monkeypatch.setattr(approximate, "FAST_ENOUGH_MS", -1.0)  # as on a machine with much to do
    with Library.open(index) as library:
        (report,) = library.optimize()
    assert not report.built
    assert made.ann_files == []


# The command


def test_the_command_says_that_a_small_library_needs_no_help(made: Made, clipsearch: Run) -> None:
    said = clipsearch("optimize")
    assert said.returncode == 0
    assert "4000 photos" in said.stdout
    assert "needs no help" in said.stdout
    assert said.stderr == ""


def test_the_command_is_quiet_in_a_pipe_and_tells_what_it_built(
    made: Made, clipsearch: Run
) -> None:
    said = clipsearch("optimize", "--force")
    assert (said.returncode, said.stderr) == (0, "")
    assert "recall@10" in said.stdout
    assert [path.suffix for path in made.ann_files] == [".ann"]


def test_the_command_gives_json(made: Made, clipsearch: Run) -> None:
    (plain,) = json.loads(clipsearch("optimize", "--json").stdout)
    (forced,) = json.loads(clipsearch("optimize", "--json", "--force").stdout)
    assert (plain["built"], plain["recall"]) == (False, None)
    assert forced["built"]
    assert forced["vectors"] == 4000
    assert forced["recall"] >= 0.99
    assert forced["bytes"] == made.ann_files[0].stat().st_size


def test_an_index_without_photos_needs_nothing(index: Path, clipsearch: Run) -> None:
    Library.open(index).close()
    said = clipsearch("optimize", "--force")
    assert (said.returncode, said.stdout) == (0, "the index holds no photos yet\n")


def test_too_few_photos_are_an_error_of_one_line(index: Path, clipsearch: Run) -> None:
    Made.of(index, 12)
    said = clipsearch("optimize", "--force")
    assert said.returncode == 2
    assert said.stderr.startswith("clipsearch: ")
    assert said.stderr.count("\n") == 1

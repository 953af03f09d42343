"""A model's vectors, kept for FAISS in two append-only files.

`<model>.f16` is a 4096-byte header and then float16 rows; `<model>.ids` is a 16-byte header and
then their int64 ids, ascending. Both are derived from the catalog and can be rebuilt from it.

FAISS searches the rows where they lie, by memory map, so that opening reads only the ids, and
adding a batch costs its own bytes and not a new copy of the index. FAISS reads its own format, so
an index header is put, in memory only, right before the rows (see `_view`).
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from clipsearch.replacing import put_in_place

MAGIC = b"clipsearch f16 1"  # 16 bytes: what the file is, and the format's version
ROWS_START = 4096  # rows begin on a page, so that float16 loads are aligned
IDS_START = 16

# Below this many rows two threads cost more than they save.
ROWS_A_THREAD = 20_000
# A thread's stretch starts on a page of the file, and on a byte of a bitmap of the rows.
STRETCH_UNIT = 4096
# A filter that leaves less than this share of the rows is searched by gathering them: FAISS looks
# at a bit for each of all rows, but takes a tenth of the time for each that is left.
SMALL_SHARE = 0.002
# Fewer ids than this share of all are looked up one by one sooner than all are gone through.
FEW = 0.1

Ids = Sequence[int] | np.ndarray  # int64


@dataclass(frozen=True, slots=True)
class Matches:
    """The nearest vectors of one query, best first."""

    ids: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n,) float32, cosine


NOTHING = Matches(np.empty(0, np.int64), np.empty(0, np.float32))


class Unsaved(NamedTuple):
    """Vectors that could not be written to disk, searched beside those that are."""

    ids: np.ndarray  # (n,) int64, ascending, above all ids in the file
    rows: np.ndarray  # (n, dim) float16


class Maps(NamedTuple):
    """A file of rows in memory, all maps of one and the same file."""

    whole: np.ndarray  # (bytes,) uint8
    scattered: np.ndarray  # the same, of which the system reads no more than is asked for
    # The rows from start to stop, and the ROWS_START bytes before them.
    stretches: list[tuple[tuple[int, int], np.ndarray]]


class VectorFile:
    """The vectors of one model, as they are on disk at the moment of opening."""

    def __init__(self, stem: Path, dim: int) -> None:
        self.rows_path = stem.with_name(stem.name + ".f16")
        self.ids_path = stem.with_name(stem.name + ".ids")
        self.ann_path = stem.with_name(stem.name + ".ann")  # see approximate.py
        self.dim = dim
        self.ids = self._room = np.empty(0, np.int64)
        self._open()
        self._unsaved = Unsaved(np.empty(0, np.int64), np.empty((0, dim), np.float16))

    def fingerprint(self) -> tuple[int, int]:
        """How many vectors there are, and the highest id (0 for none)."""
        return len(self.ids), int(self.ids[-1]) if len(self.ids) else 0

    def add(self, ids: Ids, rows: np.ndarray) -> None:
        """Append (n, dim) float16 rows; ids must ascend, and be above those already there."""
        if not len(ids):
            return
        if not len(self.ids):
            self._start()  # also over files that are damaged
        # Rows first: what a crash leaves without an id is overwritten by the next batch.
        with _open_at(self.rows_path, self._row_offset(len(self.ids))) as file:
            file.write(np.ascontiguousarray(rows, np.float16).tobytes())
            _sync(file)
        with _open_at(self.ids_path, IDS_START + 8 * len(self.ids)) as file:
            file.write(np.asarray(ids, np.int64).tobytes())
            _sync(file)
        self._take_in(ids)
        self._forget_view()

    def hold(self, ids: Ids, rows: np.ndarray) -> None:
        """Take (n, dim) float16 rows into the search but not into the file."""
        self._unsaved = Unsaved(np.asarray(ids, np.int64), rows.reshape(-1, self.dim))

    def disregard(self) -> None:
        """Search as if the file were empty, and leave it as it is."""
        self.ids = np.empty(0, np.int64)
        self._forget_view()

    def replace(self, batches: Iterable[tuple[Ids, np.ndarray]]) -> None:
        """Write the files anew from (ids, rows) batches, and put them in place when complete."""
        fresh = VectorFile(self.rows_path.with_suffix(".new"), self.dim)
        for path in fresh._paths:
            path.unlink(missing_ok=True)
        fresh._start()
        fresh.ids = np.empty(0, np.int64)
        for ids, rows in batches:
            fresh.add(ids, rows)
        # The two carry one random number: a pair that a crash leaves mixed is not believed.
        put_in_place(fresh.rows_path, self.rows_path)
        put_in_place(fresh.ids_path, self.ids_path)
        self.ids = fresh.ids
        self._forget_view()

    def keep(self, alive: np.ndarray) -> None:
        """Drop all vectors whose ids are not among `alive` ((n,) int64, ascending)."""
        kept = np.isin(self.ids, alive, assume_unique=True)
        rows, ids = self.rows, self.ids
        self.replace(
            (ids[start:stop][kept[start:stop]], rows[start:stop][kept[start:stop]])
            for start, stop in _spans(len(ids), 65_536)
        )

    def delete(self) -> None:
        """Remove both files, and the approximate index that was made of them."""
        for path in (*self._paths, self.ann_path):
            path.unlink(missing_ok=True)

    @cached_property
    def rows(self) -> np.ndarray:
        """All rows, (n, dim) float16, unit length, mapped and not read."""
        count = len(self.ids)
        if not count:
            return np.empty((0, self.dim), np.float16)
        content = self._maps.whole[ROWS_START : self._row_offset(count)]
        return content.view(np.float16).reshape(-1, self.dim)

    @cached_property
    def scattered(self) -> np.ndarray:
        """As `rows`, to take a few from here and there: what is around them is not read ahead.

        Where a system reads megabytes ahead, a thousand rows would be gigabytes.
        """
        if not len(self.ids):
            return self.rows
        content = self._maps.scattered[ROWS_START : self._row_offset(len(self.ids))]
        return content.view(np.float16).reshape(-1, self.dim)

    @property
    def pair(self) -> bytes:
        """The 8 random bytes that the two files share; a rewritten file has others."""
        return self._maps.whole[len(MAGIC) : len(MAGIC) + 8].tobytes()

    def blocks(self, within: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of the ids `within`, (n,) int64, `size` at a time and ascending.

        A block is (n,) int64 ids and (n, dim) float16 unit rows.
        """
        for ids, rows in ((self.ids, self.rows), self._unsaved):
            places = _positions(ids, within)
            for start, stop in _spans(len(places), size):
                block = places[start:stop]
                yield ids[block], rows[block]

    def rows_of(self, ids: Ids) -> np.ndarray:
        """The vectors of ids that are there, in their order: (n, dim) float16 unit rows."""
        places = np.searchsorted(self.ids, ids)
        saved = places < len(self.ids)
        rows = np.empty((len(places), self.dim), np.float16)
        together = len(places) and np.ptp(places) < 16 * len(places)
        rows[saved] = (self.rows if together else self.scattered)[places[saved]]
        unsaved = np.asarray(ids)[~saved]
        rows[~saved] = self._unsaved.rows[np.searchsorted(self._unsaved.ids, unsaved)]
        return rows

    def spread(self, most: int) -> tuple[np.ndarray, int]:
        """At most about so many rows, evenly spread, (n, dim) float16; and how many there are."""
        total = len(self.ids) + len(self._unsaved.ids)
        step = max(1, -(-total // most))
        return np.concatenate([self.rows[::step], self._unsaved.rows[::step]]), total

    def search(
        self, query: np.ndarray, k: int, within: np.ndarray | None = None, start: int = 0
    ) -> Matches:
        """The k rows with the highest inner product with `query`, (dim,) float32.

        `within`, (n,) int64, limits the search to those ids, and `start` to the rows from that
        one on. Exact. The answer is shorter than k when there are not as many.
        """
        saved = self._search_saved(query, k, within, start)
        if not len(self._unsaved.ids):
            return saved
        places = _positions(self._unsaved.ids, within)
        return best(k, saved, scored(query, *self._unsaved, places))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `search` for each of `queries`, (n, dim) float32, at less cost than one by one."""
        saved = self._search_stretches(queries, k, None)
        if not len(self._unsaved.ids):
            return saved
        everywhere = _positions(self._unsaved.ids, None)
        return [
            best(k, matches, scored(query, *self._unsaved, everywhere))
            for query, matches in zip(queries, saved, strict=True)
        ]

    def _search_saved(
        self, query: np.ndarray, k: int, within: np.ndarray | None, start: int
    ) -> Matches:
        if within is None and not start:
            return self._search_stretches(query[None], k, None)[0]
        places = start + _positions(self.ids[start:], within)
        if len(places) < SMALL_SHARE * len(self.ids):
            return best(k, scored(query, self.ids, self.scattered, places))
        allowed = np.zeros(len(self.ids), bool)
        allowed[places] = True
        bitmap = np.packbits(allowed, bitorder="little")
        return self._search_stretches(query[None], k, bitmap)[0]

    def _search_stretches(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> list[Matches]:
        if not len(self.ids):
            return [NOTHING] * len(queries)
        faiss = _faiss()
        questions = np.ascontiguousarray(queries, np.float32)

        def nearest(stretch: tuple[int, Any]) -> list[Matches]:
            start, view = stretch
            chosen = None
            if allowed is not None:
                part = allowed[start // 8 : -(-(start + view.ntotal) // 8)]
                chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(part))
            scores, places = view.search(questions, min(k, view.ntotal), params=chosen)
            found = places >= 0  # FAISS pads short answers with -1
            return [
                Matches(self.ids[start + row[good]], values[good])
                for row, values, good in zip(places, scores, found, strict=True)
            ]

        if len(self._views) < 2:  # a pool of threads takes longer than a small search
            faiss.omp_set_num_threads(1)  # and so do threads of FAISS's
            answers = [nearest(view) for view in self._views]
        else:
            with threads(len(self._views)) as pool:
                answers = list(pool.map(nearest, self._views))
        return [best(k, *parts) for parts in zip(*answers, strict=True)]

    @cached_property
    def _maps(self) -> Maps:
        with self.rows_path.open("rb") as file:
            return self._mapped(file)

    def _mapped(self, file: BinaryIO) -> Maps:
        """Map the file, and once more in one part a thread: FAISS gives one query one thread."""
        parts = min(os.cpu_count() or 1, 1 + len(self.ids) // ROWS_A_THREAD)
        step = STRETCH_UNIT * -(-len(self.ids) // (parts * STRETCH_UNIT))
        # Copy-on-write: `_views` writes a header over our copy of the page before a stretch.
        return Maps(
            np.memmap(file, np.uint8, "c"),
            _scattered(file),
            [
                (span, np.memmap(file, np.uint8, "c", self._row_offset(span[0]) - ROWS_START,
                                 self._row_offset(span[1] - span[0])))
                for span in _spans(len(self.ids), step)
            ] if step else [],
        )  # fmt: skip

    @cached_property
    def _views(self) -> list[tuple[int, Any]]:
        """The first row of each stretch, and a FAISS index over its rows, none of them copied."""
        faiss = _faiss()
        index = faiss.IndexScalarQuantizer(
            self.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.is_trained = True
        header = faiss.serialize_index(index)
        views = []
        for (start, stop), mapped in self._maps.stretches:
            # An empty index's header differs from a full one's in two numbers: the count of
            # vectors, and at the end the count of bytes that follow.
            count = stop - start
            header[8:16] = np.frombuffer(np.int64(count).tobytes(), np.uint8)
            header[-8:] = np.frombuffer(np.int64(count * self.dim * 2).tobytes(), np.uint8)
            mapped[ROWS_START - len(header) : ROWS_START] = header
            content = mapped[ROWS_START - len(header) :]
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content))
            views.append((start, faiss.read_index(reader, 0)))
        return views

    @property
    def _paths(self) -> tuple[Path, Path]:
        return self.rows_path, self.ids_path

    def _row_offset(self, row: int) -> int:
        return ROWS_START + row * self.dim * 2

    def _take_in(self, ids: Ids) -> None:
        """Put ids behind those that are known, in room that is made for many batches at once."""
        known, total = len(self.ids), len(self.ids) + len(ids)
        if self.ids.base is not self._room or total > len(self._room):
            room = np.empty(total + total // 8, np.int64)
            room[:known] = self.ids
            self._room = room
        self._room[known:total] = ids
        self.ids = self._room[:total]

    def _forget_view(self) -> None:
        for name in ("rows", "scattered", "_views", "_maps"):
            self.__dict__.pop(name, None)

    def _start(self) -> None:
        self.rows_path.parent.mkdir(parents=True, exist_ok=True)
        pair = secrets.token_bytes(8)
        with self.rows_path.open("wb") as file:
            file.write((MAGIC + pair + np.int64(self.dim).tobytes()).ljust(ROWS_START, b"\0"))
            _sync(file)
        with self.ids_path.open("wb") as file:
            file.write(pair + np.int64(self.dim).tobytes())
            _sync(file)
        self.ids = np.empty(0, np.int64)

    def _open(self) -> None:
        """Map the rows and read their ids; none where the files are damaged or not a pair."""
        for _ in range(3):  # a writer may be putting a new pair in place, one file at a time
            try:
                with self.rows_path.open("rb") as file:
                    content = self.ids_path.read_bytes()
                    header = file.read(IDS_START + len(MAGIC))
                    if header[len(MAGIC) :] == content[:IDS_START]:
                        size = os.fstat(file.fileno()).st_size
                        self.ids = self._believed(content, header, size)
                        # Of the file that is open, also when another takes its name now.
                        self._maps = self._mapped(file)
                        return
            except (OSError, ValueError):  # missing, or of no bytes
                return

    def _believed(self, content: bytes, header: bytes, size: int) -> np.ndarray:
        count = (len(content) - IDS_START) // 8
        whole_rows = (size - ROWS_START) // (self.dim * 2)
        if not header.startswith(MAGIC) or not 0 <= count <= whole_rows:
            return np.empty(0, np.int64)
        ids = np.frombuffer(content, np.int64, count, IDS_START)
        ascending = bool(np.all(ids[1:] > ids[:-1])) and not (count and ids[0] < 1)
        sound = ascending and content[8:IDS_START] == np.int64(self.dim).tobytes()
        return ids if sound else np.empty(0, np.int64)


def threads(count: int) -> ThreadPoolExecutor:
    """Threads in which FAISS starts no threads of its own, since they would wait for each other."""
    return ThreadPoolExecutor(count, initializer=_faiss().omp_set_num_threads, initargs=(1,))


def _positions(ids: np.ndarray, within: np.ndarray | None) -> np.ndarray:
    """Where the ids of `within` stand in `ids`, both ascending; everywhere for None."""
    if within is None:
        return np.arange(len(ids))
    if len(within) > FEW * len(ids):
        return np.flatnonzero(np.isin(ids, within))
    places: np.ndarray = np.searchsorted(ids, within)
    places = places[: np.searchsorted(places, len(ids))]  # without those that are above all
    found: np.ndarray = places[ids[places] == within[: len(places)]]
    return found


def scored(query: np.ndarray, ids: np.ndarray, rows: np.ndarray, places: np.ndarray) -> Matches:
    """The rows at `places`, (n,) int64, with their exact inner products with `query`."""
    return Matches(ids[places], rows[places].astype(np.float32) @ query.astype(np.float32))


def best(k: int, *parts: Matches) -> Matches:
    """The k best of several answers."""
    ids = np.concatenate([part.ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")[:k]
    return Matches(ids[order], scores[order])


def _faiss() -> Any:
    # Imported late, since it takes a quarter of a second; its type stubs lack what is used here.
    import faiss

    return faiss


def _scattered(file: BinaryIO) -> np.ndarray:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, np.uint8)


def _spans(count: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _open_at(path: Path, offset: int) -> BinaryIO:
    file = path.open("r+b")
    file.truncate(offset)
    file.seek(offset)
    return file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

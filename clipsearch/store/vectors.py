"""A model's vectors, kept for FAISS in two append-only files.

`<model>.f16` is a 4096-byte header and then float16 rows; `<model>.ids` is a 16-byte header and
then their int64 ids, ascending. Both are derived from the catalog and can be rebuilt from it.

The header says how many rows are meant, and which catalog they are of, at which of its states
(`Seal`); it is written last. Others have the files mapped: they only ever grow, and what has to
become another file becomes a new one that takes the name.

FAISS searches the rows where they lie, by memory map, so that opening reads only the ids, and
adding a batch costs its own bytes and not a new copy of the index. FAISS reads its own format, so
an index header is put, in memory only, right before the rows (see `_views`).
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from clipsearch.replacing import put_in_place
from clipsearch.store.stretch import Stretch, stretch_of

MAGIC = b"clipsearch f16 2"  # 16 bytes: what the file is, and the format's version
BEFORE_SEALS = b"clipsearch f16 1"  # it has as many rows as ids
ROWS_START = 4096  # rows begin on a page, so that float16 loads are aligned
IDS_START = 16
# What the file is, 8 random bytes, dim, library, count, last id, stamp, passed over; its checksum.
HEADER = struct.Struct("<16s8sq16sqq8sq")
HEADER_SIZE = HEADER.size + 8

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


NO_MAPS = Maps(np.empty(0, np.uint8), np.empty(0, np.uint8), [])


class Seal(NamedTuple):
    """What a file was written from, by which it is told whether it is a catalog's."""

    library: str = ""  # the catalog's identity; "" where nobody said
    last_id: int = 0  # all vectors up to this id were taken from it
    stamp: bytes = bytes(8)  # random bytes that only this catalog has for that id
    passed: int = 0  # how many of them are damaged there, and so are not in the file


class VectorFile:
    """The vectors of one model, as they are on disk at the moment of opening."""

    def __init__(self, stem: Path, dim: int) -> None:
        self.rows_path = stem.with_name(stem.name + ".f16")
        self.ids_path = stem.with_name(stem.name + ".ids")
        self.ann_path = stem.with_name(stem.name + ".ann")  # see approximate.py
        self.dim = dim
        self.ids = self._room = np.empty(0, np.int64)
        self._forget()
        self.open()

    def open(self) -> None:
        """Take in what is on the disk now; nothing where the files are damaged or not a pair."""
        self._forget()
        for _ in range(3):  # a writer may be putting a new pair in place, one file at a time
            try:
                with self.rows_path.open("rb") as file:
                    content, header = self.ids_path.read_bytes(), file.read(HEADER_SIZE)
                    # Of the file that is open, also when another takes its name now.
                    if self._believe(content, header, os.fstat(file.fileno()).st_size):
                        self._maps = self._mapped(file)
                        return
            except (OSError, ValueError):  # missing, or of no bytes
                return

    def fingerprint(self) -> tuple[int, int]:
        """How many vectors there are, and the highest id (0 for none)."""
        return len(self.ids), int(self.ids[-1]) if len(self.ids) else 0

    def is_on_disk(self) -> bool:
        """Whether the files are those that were opened, and nobody has written to them since."""
        try:
            with self.rows_path.open("rb") as rows, self.ids_path.open("rb") as ids:
                return (rows.read(HEADER_SIZE), ids.read(8)) == (self._header, self.pair)
        except OSError:
            return False

    def add(self, ids: Ids, rows: np.ndarray, seal: Seal | None = None) -> None:
        """Append (n, dim) float16 rows; ids must ascend, and be above those already there.

        `seal` says what the file is up to by them; None leaves that as it was.
        """
        if len(ids):
            self.extend([(ids, rows)], lambda: seal or self.seal)

    def extend(self, batches: Iterable[tuple[Ids, np.ndarray]], seal: Callable[[], Seal]) -> None:
        """Append (ids, rows) batches as by `add`; all of them are kept, or none.

        Who also writes is kept away by the caller since before the file was opened. `seal` is
        asked when the last batch was taken.
        """
        batches = iter(batches)
        if not (first := next(batches, None)):
            return
        batches = chain([first], batches)
        if not len(self.ids):  # also over files that are damaged, which others may have mapped
            self.replace(batches, seal)
            return
        with self.rows_path.open("r+b") as rows_file, self.ids_path.open("r+b") as ids_file:
            self._append(batches, seal, rows_file, ids_file)

    def reseal(self, seal: Seal) -> None:
        """Say what the file is up to, whose rows stay as they are."""
        if seal != self.seal and self._header:
            with self.rows_path.open("r+b") as file:
                self._write_header(file, len(self.ids), seal)

    def hold(self, ids: Ids, rows: np.ndarray) -> None:
        """Take (n, dim) float16 rows into the search but not into the file."""
        self._unsaved = Unsaved(np.asarray(ids, np.int64), rows.reshape(-1, self.dim))

    def disregard(self) -> None:
        """Search as if the file were empty, and leave it as it is."""
        self._forget()

    def replace(
        self,
        batches: Iterable[tuple[Ids, np.ndarray]],
        seal: Callable[[], Seal] | None = None,
    ) -> None:
        """Write new files from (ids, rows) batches, and put them in place when complete."""
        kept = self.seal
        fresh = VectorFile(self.rows_path.with_suffix(".new"), self.dim)
        fresh.delete()  # what a kill left
        try:
            fresh._begin(batches, seal or (lambda: kept))
            # The two carry one random number: a pair that a crash leaves mixed is not believed.
            put_in_place(fresh.rows_path, self.rows_path)
            put_in_place(fresh.ids_path, self.ids_path)
        finally:
            fresh.delete()
        self._take_over(fresh)

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
        for path in (self.rows_path, self.ids_path, self.ann_path):
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
        questions = np.ascontiguousarray(queries, np.float32)

        def nearest(placed: tuple[int, Stretch]) -> list[Matches]:
            start, stretch = placed
            part = None
            if allowed is not None:
                part = allowed[start // 8 : -(-(start + stretch.count) // 8)]
            scores, places = stretch.search(questions, k, part)
            found = places >= 0  # FAISS pads short answers with -1
            return [
                Matches(self.ids[start + row[good]], values[good])
                for row, values, good in zip(places, scores, found, strict=True)
            ]

        if len(self._stretches) < 2:  # a pool of threads takes longer than a small search
            _faiss().omp_set_num_threads(1)  # and so do threads of FAISS's
            answers = [nearest(stretch) for stretch in self._stretches]
        else:
            with threads(len(self._stretches)) as pool:
                answers = list(pool.map(nearest, self._stretches))
        return [best(k, *parts) for parts in zip(*answers, strict=True)]

    def _mapped(self, file: BinaryIO) -> Maps:
        """Map the file, and once more in one part a thread: FAISS gives one query one thread."""
        parts = min(os.cpu_count() or 1, 1 + len(self.ids) // ROWS_A_THREAD)
        step = STRETCH_UNIT * -(-len(self.ids) // (parts * STRETCH_UNIT))
        # Copy-on-write: FAISS gets a header on our copy of the page before a stretch.
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
    def _stretches(self) -> list[tuple[int, Stretch]]:
        """Each part of the rows that is searched by a thread, and its first row."""
        return [
            (start, stretch_of(mapped, ROWS_START, self.dim))
            for (start, _), mapped in self._maps.stretches
        ]

    def _row_offset(self, row: int) -> int:
        return ROWS_START + row * self.dim * 2

    def _append(
        self,
        batches: Iterable[tuple[Ids, np.ndarray]],
        seal: Callable[[], Seal],
        rows_file: BinaryIO,
        ids_file: BinaryIO,
    ) -> None:
        count, taken = len(self.ids), []
        rows_file.seek(self._row_offset(count))
        ids_file.seek(IDS_START + 8 * count)
        for ids, rows in batches:
            rows_file.write(np.ascontiguousarray(rows, np.float16).tobytes())
            ids_file.write(np.asarray(ids, np.int64).tobytes())
            taken.append(ids)
        _sync(rows_file)
        _sync(ids_file)
        # Last: what a crash leaves behind the rows that are counted is written over.
        self._write_header(rows_file, count + sum(map(len, taken)), seal())
        for ids in taken:
            self._take_in(ids)
        self._forget_view()
        # At once, from the file that was written: by its name it may be another soon.
        self._maps = self._mapped(rows_file)

    def _begin(self, batches: Iterable[tuple[Ids, np.ndarray]], seal: Callable[[], Seal]) -> None:
        """Write new files where there are none."""
        self.rows_path.parent.mkdir(parents=True, exist_ok=True)
        self._forget()
        self.pair = secrets.token_bytes(8)
        with self.rows_path.open("x+b") as rows_file, self.ids_path.open("x+b") as ids_file:
            rows_file.write(bytes(ROWS_START))
            ids_file.write(self.pair + np.int64(self.dim).tobytes())
            self._append(batches, seal, rows_file, ids_file)

    def _write_header(self, file: BinaryIO, count: int, seal: Seal) -> None:
        header = HEADER.pack(
            MAGIC, self.pair, self.dim, seal.library.encode(), count, seal.last_id, seal.stamp,
            seal.passed,
        )  # fmt: skip
        header += _checksum(header)
        file.seek(0)
        file.write(header)
        _sync(file)
        self._header, self.seal = header, seal

    def _take_in(self, ids: Ids) -> None:
        """Put ids behind those that are known, in room that is made for many batches at once."""
        known, total = len(self.ids), len(self.ids) + len(ids)
        if self.ids.base is not self._room or total > len(self._room):
            room = np.empty(total + total // 8, np.int64)
            room[:known] = self.ids
            self._room = room
        self._room[known:total] = ids
        self.ids = self._room[:total]

    def _take_over(self, other: VectorFile) -> None:
        """Be what another has written, under this one's names."""
        self._forget_view()
        self.ids, self.pair, self.seal, self.is_whole = other.ids, other.pair, other.seal, True
        self._room, self._header, self._maps = other._room, other._header, other._maps

    def _forget(self) -> None:
        self.ids = np.empty(0, np.int64)
        self.is_whole = True  # False where some of the ids that the header counts are lost
        self.seal = Seal()
        self.pair = b""  # 8 random bytes that the two files share; rewritten files have others
        self._header = b""
        self._maps = NO_MAPS
        self._unsaved = Unsaved(self.ids, np.empty((0, self.dim), np.float16))
        self._forget_view()

    def _forget_view(self) -> None:
        for name in ("rows", "scattered", "_stretches"):
            self.__dict__.pop(name, None)

    def _believe(self, content: bytes, header: bytes, size: int) -> bool:
        """Take in the ids that a header counts; gives False where the files are not sound."""
        known = _read_header(header, len(content))
        if known is None or header[len(MAGIC) : len(MAGIC) + IDS_START] != content[:IDS_START]:
            return False
        dim, count, seal = known
        there = min(count, (len(content) - IDS_START) // 8)
        if dim != self.dim or there < 0 or self._row_offset(count) > size:
            return False
        ids = np.frombuffer(content, np.int64, there, IDS_START)
        if not np.all(ids[1:] > ids[:-1]) or (there and ids[0] < 1):
            return False
        self.ids, self.seal, self.is_whole = ids, seal, there == count
        self.pair, self._header = content[:8], header
        return True


def _read_header(header: bytes, ids_size: int) -> tuple[int, int, Seal] | None:
    """The dim, the count of rows and the seal; None where it is none, or damaged."""
    if len(header) < HEADER_SIZE:
        return None
    magic, _, dim, library, count, *seal = HEADER.unpack_from(header)
    if magic == BEFORE_SEALS:
        return dim, (ids_size - IDS_START) // 8, Seal()
    if magic != MAGIC or header[HEADER.size :] != _checksum(header):
        return None
    return dim, count, Seal(library.rstrip(b"\0").decode("ascii", "replace"), *seal)


def _checksum(header: bytes) -> bytes:
    return np.int64(zlib.crc32(header[: HEADER.size])).tobytes()


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


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

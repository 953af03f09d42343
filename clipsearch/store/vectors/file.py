"""A model's vectors, kept for FAISS in two append-only files (format.py).

Both are derived from the catalog and can be rebuilt from it.

The header says how many rows are meant, and which catalog they are of, at which of its states
(`Seal`); it is written last. Others have the files mapped: they only ever grow, and what has to
become another file becomes a new one that takes the name.

FAISS searches the rows where they lie, by memory map, so that opening reads only the ids, and
adding a batch costs its own bytes and not a new copy of the index. FAISS reads its own format, so
an index header is put, in memory only, right before the rows (stretch.py).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from clipsearch.replacing import put_in_place
from clipsearch.store.vectors.format import (
    HEADER_SIZE,
    IDS_START,
    ROWS_START,
    Header,
    Seal,
    ids_header,
    read_header,
    row_offset,
)
from clipsearch.store.vectors.mapped import NO_MAPS, mapped, spans
from clipsearch.store.vectors.matches import Matches, best, scored
from clipsearch.store.vectors.searching import (
    Stretches,
    is_strewn,
    positions_of,
    search_stretches,
)
from clipsearch.store.vectors.stretch import stretch_of

# A filter that leaves less than this share of the rows is searched by gathering them: FAISS looks
# at a bit for each of all rows, but takes a tenth of the time for each that is left.
SMALL_SHARE = 0.002
# Passing over rows here and there takes FAISS longer than ranking them. Of so many times as many
# as are wanted, ranked among all, nearly always enough are what a filter leaves that leaves many.
RANKED_FIRST = 32
MOST_RANKED_FIRST = 4096

Ids = Sequence[int] | np.ndarray  # int64
Batches = Iterable[tuple[Ids, np.ndarray]]  # ids, and their (n, dim) float16 rows


class Unsaved(NamedTuple):
    """Vectors that could not be written to disk, searched beside those that are."""

    ids: np.ndarray  # (n,) int64, ascending, above all ids in the file
    rows: np.ndarray  # (n, dim) float16


class VectorFile:
    """The vectors of one model, as they are on disk at the moment of opening."""

    def __init__(self, stem: Path, dim: int) -> None:
        self.rows_path = stem.with_name(stem.name + ".f16")
        self.ids_path = stem.with_name(stem.name + ".ids")
        self.ann_path = stem.with_name(stem.name + ".ann")  # see approximate/
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
                        self._maps = mapped(file, len(self.ids), self.dim)
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

    def looks(self) -> tuple[object, ...]:
        """What the files are like on the disk now; another value once somebody changed them."""
        return tuple(map(_look, (self.rows_path, self.ids_path, self.ann_path)))

    def add(self, ids: Ids, rows: np.ndarray, seal: Seal | None = None) -> None:
        """Append (n, dim) float16 rows; ids must ascend, and be above those already there.

        `seal` says what the file is up to by them; None leaves that as it was.
        """
        if len(ids):
            self.extend([(ids, rows)], lambda: seal or self.seal)

    def extend(self, batches: Batches, seal: Callable[[], Seal]) -> None:
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
        batches: Batches,
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
            for start, stop in spans(len(ids), 65_536)
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
        content = self._maps.whole[ROWS_START : row_offset(count, self.dim)]
        return content.view(np.float16).reshape(-1, self.dim)

    @cached_property
    def scattered(self) -> np.ndarray:
        """As `rows`, to take a few from here and there: what is around them is not read ahead.

        Where a system reads megabytes ahead, a thousand rows would be gigabytes.
        """
        if not len(self.ids):
            return self.rows
        content = self._maps.scattered[ROWS_START : row_offset(len(self.ids), self.dim)]
        return content.view(np.float16).reshape(-1, self.dim)

    def blocks(self, within: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of the ids `within`, (n,) int64, `size` at a time and ascending.

        A block is (n,) int64 ids and (n, dim) float16 unit rows.
        """
        for ids, rows in ((self.ids, self.rows), self._unsaved):
            positions = positions_of(within, ids)
            for start, stop in spans(len(positions), size):
                block = positions[start:stop]
                yield ids[block], rows[block]

    def rows_of(self, ids: Ids) -> np.ndarray:
        """The vectors of ids that are there, in their order: (n, dim) float16 unit rows."""
        positions = np.searchsorted(self.ids, ids)
        saved = positions < len(self.ids)
        rows = np.empty((len(positions), self.dim), np.float16)
        together = len(positions) and np.ptp(positions) < 16 * len(positions)
        rows[saved] = (self.rows if together else self.scattered)[positions[saved]]
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
        positions = positions_of(within, self._unsaved.ids)
        return best(k, saved, scored(query, *self._unsaved, positions))

    def search_many(self, queries: np.ndarray, k: int) -> list[Matches]:
        """As `search` for each of `queries`, (n, dim) float32, at less cost than one by one."""
        saved = search_stretches(self._stretches, self.ids, queries, k, None)
        if not len(self._unsaved.ids):
            return saved
        everywhere = positions_of(None, self._unsaved.ids)
        return [
            best(k, matches, scored(query, *self._unsaved, everywhere))
            for query, matches in zip(queries, saved, strict=True)
        ]

    def _search_saved(
        self, query: np.ndarray, k: int, within: np.ndarray | None, start: int
    ) -> Matches:
        if not start and (within is None or np.array_equal(within, self.ids)):
            return search_stretches(self._stretches, self.ids, query[None], k, None)[0]
        positions = start + positions_of(within, self.ids[start:])
        if len(positions) < SMALL_SHARE * len(self.ids):
            return best(k, scored(query, self.ids, self.scattered, positions))
        allowed = np.zeros(len(self.ids), bool)
        allowed[positions] = True
        reach = RANKED_FIRST * k
        if reach <= MOST_RANKED_FIRST and not start and is_strewn(allowed):
            first = search_stretches(self._stretches, self.ids, query[None], reach, None)[0]
            found = allowed[np.searchsorted(self.ids, first.ids)]
            if found.sum() >= k:
                return Matches(first.ids[found][:k], first.scores[found][:k])
        bitmap = np.packbits(allowed, bitorder="little")
        return search_stretches(self._stretches, self.ids, query[None], k, bitmap)[0]

    @cached_property
    def _stretches(self) -> Stretches:
        """Each part of the rows that is searched by a thread, and its first row."""
        return [
            (start, stretch_of(part, ROWS_START, self.dim))
            for (start, _), part in self._maps.stretches
        ]

    def _append(
        self,
        batches: Batches,
        seal: Callable[[], Seal],
        rows_file: BinaryIO,
        ids_file: BinaryIO,
    ) -> None:
        count, taken = len(self.ids), []
        rows_file.seek(row_offset(count, self.dim))
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
        self._maps = mapped(rows_file, len(self.ids), self.dim)

    def _begin(self, batches: Batches, seal: Callable[[], Seal]) -> None:
        """Write new files where there are none."""
        self.rows_path.parent.mkdir(parents=True, exist_ok=True)
        self._forget()
        self.pair = secrets.token_bytes(8)
        with self.rows_path.open("x+b") as rows_file, self.ids_path.open("x+b") as ids_file:
            rows_file.write(bytes(ROWS_START))
            ids_file.write(ids_header(self.pair, self.dim))
            self._append(batches, seal, rows_file, ids_file)

    def _write_header(self, file: BinaryIO, count: int, seal: Seal) -> None:
        header = Header(self.pair, self.dim, count, seal).packed()
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
        known = read_header(header, len(content))
        if known is None or content[:IDS_START] != ids_header(known.pair, known.dim):
            return False
        there = min(known.count, (len(content) - IDS_START) // 8)
        if known.dim != self.dim or there < 0 or row_offset(known.count, self.dim) > size:
            return False
        ids = np.frombuffer(content, np.int64, there, IDS_START)
        if not np.all(ids[1:] > ids[:-1]) or (there and ids[0] < 1):
            return False
        self.ids, self.seal, self.is_whole = ids, known.seal, there == known.count
        self.pair, self._header = known.pair, header
        return True


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

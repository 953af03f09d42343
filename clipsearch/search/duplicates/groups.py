"""Find duplicates in three kinds that are never mixed: same bytes, same picture, similar shot.

A photo that one kind has paired with others stands for all of them in the next. Which photo of
a group to keep is a suggestion; nothing is ever deleted. Before a file is shown it is looked at:
what is gone, away or another by now is in no group, and one file with two names is one photo.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from clipsearch.errors import InvalidInput, arg, check_number, did_you_mean
from clipsearch.indexing.later.pictures import all_pictures
from clipsearch.notation import counted
from clipsearch.photos.facts.facts import Facts
from clipsearch.photos.files.opening import Place
from clipsearch.photos.files.presence import Looker, Seen
from clipsearch.photos.files.urls import PhotoPath, photo_path
from clipsearch.photos.places.locality import Locality
from clipsearch.progress import Progress
from clipsearch.search.duplicates.hamming import Pairs
from clipsearch.search.duplicates.pictures import Pictures, embeddings
from clipsearch.search.duplicates.sets import NO_MARK, Sets
from clipsearch.store.catalog import Catalog, Model, PhotoFile, PhotoRow

log = logging.getLogger("clipsearch")

Kind = Literal["bytes", "pictures", "shots"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SIMILAR_SHOT = 0.9  # least cosine of two shots' embeddings, by measurement: docs/benchmarks.md

_BLOCK = 1024  # shots whose embeddings are compared at once with those that follow


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One photo of a group."""

    path: PhotoPath
    id: int  # of the photo in the catalog
    size: int  # bytes
    facts: Facts
    names: int = 1  # that the file has; with more than one, to delete this one frees nothing
    place: Locality | None = None  # where it was taken, in words

    def as_dict(self, keep: bool) -> dict[str, Any]:
        """The photo as `--json` shows it."""
        own = {"path": str(self.path), "id": self.id, "keep": keep, "bytes": self.size}
        place = {"place": self.place and self.place.as_dict()}
        return own | {"names": self.names} | asdict(self.facts) | place


@dataclass(frozen=True, slots=True)
class Group:
    """Photos that are duplicates of each other, in the sense of one kind.

    The first is the one to keep, as a suggestion: the largest in pixels, then in bytes, then the
    oldest file.
    """

    kind: Kind
    photos: tuple[Duplicate, ...]

    @property
    def freed(self) -> int:
        """Bytes that are free when all photos but the first are deleted."""
        return sum(photo.size for photo in self.photos[1:] if photo.names == 1)

    def as_dict(self) -> dict[str, Any]:
        """The group as `--json` shows it."""
        photos = [photo.as_dict(number == 0) for number, photo in enumerate(self.photos)]
        return {"kind": self.kind, "freed": self.freed, "photos": photos}


def check_kinds(kinds: Sequence[str], within: float) -> None:
    """Raise InvalidInput unless duplicates of these kinds can be asked for."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        hint = did_you_mean(unknown[0], KINDS)
        raise InvalidInput(
            f"{unknown[0]!r} is no kind of duplicates; there are {', '.join(KINDS)}{hint}"
        )
    check_number(arg("within"), within, 0)


def duplicates_in(
    folder: Path,
    catalog: Catalog,
    model: Model | None,
    kinds: Sequence[Kind],
    within: float,
    isolated: bool,
    progress: Progress,
) -> list[Group]:
    """The duplicates in an index, as `Library.duplicates` says; none without a model.

    Raises:
        InvalidInput: a kind that does not exist, or a negative `within`.
    """
    check_kinds(kinds, within)
    if model is None:
        return []
    hashes: Mapping[str, bytes] = {}
    if "pictures" in kinds or "shots" in kinds:
        hashes = all_pictures(folder, catalog, isolated, progress)
    return find_duplicates(catalog, model, hashes, kinds, within)


def find_duplicates(
    catalog: Catalog,
    model: Model,
    hashes: Mapping[str, bytes],
    kinds: Sequence[Kind],
    within: float,
    look: Callable[[Place], Seen | None] | None = None,
) -> list[Group]:
    """The groups of these kinds, in the order of KINDS, those that free most first.

    `hashes` are the contents' perceptual hashes by digest, needed for pictures and shots. Shots
    of a group are taken within so many seconds of another one of it, by the cameras' clocks.
    `look` tells of a file whether it is there.
    """
    copies: dict[str, list[PhotoFile]] = defaultdict(list)
    for file in sorted(catalog.files(), key=_best_first):
        copies[file.digest].append(file)
    disk = _Disk(catalog, copies, look or Looker())
    found: dict[Kind, Iterable[Sequence[_There]]] = {
        "bytes": (disk.files_of(digest) for digest, files in copies.items() if len(files) > 1)
    }
    if "pictures" in kinds or "shots" in kinds:
        contents = [files[0] for files in copies.values()]
        sets = _pictures(catalog, model, contents, hashes, disk)
        found["pictures"] = (disk.best_of(files) for files in sets if len(files) > 1)
        if "shots" in kinds:
            shots = _shots(catalog, model, sets, within, disk)
            found["shots"] = (disk.best_of(files) for files in shots if len(files) > 1)
    groups = [group for kind in KINDS if kind in kinds for group in _groups(kind, found[kind])]
    disk.tell()
    return groups


class _There(NamedTuple):
    """A file that is there."""

    file: PhotoFile
    row: PhotoRow
    seen: Seen


class _Disk:
    """The files of contents as they are at this moment; each is looked at when it first matters."""

    def __init__(
        self,
        catalog: Catalog,
        copies: Mapping[str, Sequence[PhotoFile]],
        look: Callable[[Place], Seen | None],
    ) -> None:
        self._catalog = catalog
        self._copies = copies
        self._look = look
        self._known: dict[str, list[_There]] = {}
        self._absent = 0
        self._names: set[int] = set()  # photos that are other names of a file

    def files_of(self, digest: str) -> list[_There]:
        """The different files of a content that are there, the one to keep first."""
        if digest not in self._known:
            there = [it for file in self._copies[digest] if (it := self._seen(file))]
            there.sort(key=lambda it: it.seen.is_link)  # what a link leads to is better kept
            self._known[digest] = self._different(there)
        return self._known[digest]

    def best_of(self, contents: Iterable[PhotoFile]) -> list[_There]:
        """The file to keep of each content that is there, the best of them first."""
        best = [files[0] for it in contents if (files := self.files_of(it.digest))]
        return self._different(sorted(best, key=lambda it: _best_first(it.file)))

    def are_there(self, files: Sequence[PhotoFile], numbers: np.ndarray) -> np.ndarray:
        """Whether the content of each of some of `files`, by their numbers, is there."""
        different, places = np.unique(numbers, return_inverse=True)
        there = [bool(self.files_of(files[at].digest)) for at in different.tolist()]
        return np.array(there, bool)[places]

    def tell(self) -> None:
        """Say what was left out, and why."""
        if self._absent:
            log.warning(
                "no copies: %s not there now, or not as indexed; to bring the index up to date:"
                " clipsearch index", counted(self._absent, "photo"),
            )  # fmt: skip
        if self._names:
            log.warning(
                "left out: %s, each another name of a file that counts once (a hard link, or a"
                " folder seen at two places), and no copy", counted(len(self._names), "path"),
            )  # fmt: skip

    def _seen(self, file: PhotoFile) -> _There | None:
        stored = self._catalog.stored(file.id)
        if stored is None:  # another process has just taken it out
            return None
        # As it was when the index was asked for all files, from which the rest follows.
        seen = self._look(stored.place._replace(size=file.size, mtime_ns=file.mtime_ns))
        self._absent += seen is None
        return _There(file, stored.row, seen) if seen else None

    def _different(self, there: Iterable[_There]) -> list[_There]:
        """The files without further names of one."""
        different, marks = list[_There](), set[object]()
        for it in there:
            if marks.isdisjoint(it.seen.marks):
                different.append(it)
            else:
                self._names.add(it.file.id)
            marks |= it.seen.marks
        return different


def _best_first(file: PhotoFile) -> tuple[int, int, int, int]:
    return -(file.width or 0) * (file.height or 0), -file.size, file.mtime_ns, file.id


def _groups(kind: Kind, sets: Iterable[Sequence[_There]]) -> list[Group]:
    groups = [
        Group(kind, tuple(_duplicate(it) for it in files)) for files in sets if len(files) > 1
    ]
    return sorted(groups, key=lambda group: (-group.freed, str(group.photos[0].path)))


def _duplicate(it: _There) -> Duplicate:
    path = photo_path(it.row.path)
    row = it.row
    return Duplicate(path, row.id, it.file.size, row.facts, it.seen.names, row.locality)


def _pictures(
    catalog: Catalog,
    model: Model,
    files: Sequence[PhotoFile],
    hashes: Mapping[str, bytes],
    disk: _Disk,
) -> list[list[PhotoFile]]:
    """The contents in sets that show the same picture, their order kept; one that is gone alone."""
    # A plain picture has no hash, and a file that is not there now may have none yet.
    hashed = [file for file in files if hashes.get(file.digest)]
    if not hashed:
        return [[file] for file in files]
    same = Pictures(
        hashed, hashes, partial(embeddings, catalog, model, hashed), partial(disk.are_there, hashed)
    )
    plain = [[file] for file in files if not hashes.get(file.digest)]
    return _grouped(hashed, same.leaders()) + plain


def _shots(
    catalog: Catalog,
    model: Model,
    pictures: Iterable[Sequence[PhotoFile]],
    within: float,
    disk: _Disk,
) -> list[list[PhotoFile]]:
    """Sets of similar shots, each picture standing in them for its copies."""
    dated = [
        (taken[0], files[0] if len(files) == 1 else disk.best_of(files)[0].file)
        for files in pictures
        if (taken := [file.taken for file in files if file.taken])
    ]
    dated.sort()  # this form of times sorts as the times do
    files = [file for _, file in dated]
    times = np.array([taken for taken, _ in dated], "datetime64[s]").astype(np.int64)
    sets = Sets(np.full(len(files), NO_MARK))
    for one, other in _similar(catalog, model, files, times, within, sets):
        there = disk.are_there(files, one) & disk.are_there(files, other)
        sets.join(one[there], other[there])
    return _grouped(files, sets.leaders(np.arange(len(files))))


def _similar(
    catalog: Catalog,
    model: Model,
    files: Sequence[PhotoFile],
    times: np.ndarray,
    within: float,
    sets: Sets,
) -> Iterator[Pairs]:
    """The pairs of similar shots that are in two `sets`, by their numbers.

    `times` are (n,) int64 seconds, ascending.
    """
    for start in range(0, len(files), _BLOCK):
        stop = min(start + _BLOCK, len(files))
        end = int(np.searchsorted(times, times[stop - 1] + within, "right"))
        rows = embeddings(catalog, model, files, np.arange(start, end))
        for step in range(1, end - start):
            later, earlier = times[start + step : stop + step], times[start:stop]
            close = np.flatnonzero(later - earlier[: len(later)] <= within)
            if not len(close):  # nor is any further on
                break
            close = close[sets.can_join(close + start, close + start + step)]
            cosines = np.einsum("nd,nd->n", rows[close], rows[close + step])
            similar = close[cosines >= SIMILAR_SHOT] + start
            yield similar, similar + step


def _grouped(files: Sequence[PhotoFile], leaders: np.ndarray) -> list[list[PhotoFile]]:
    """The files in sets, each by its leader, (n,) int64; their order kept."""
    sets: dict[int, list[PhotoFile]] = defaultdict(list)
    for leader, file in zip(leaders.tolist(), files, strict=True):
        sets[leader].append(file)
    return list(sets.values())

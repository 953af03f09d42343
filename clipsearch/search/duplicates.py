"""Find duplicates in three kinds that are never mixed: same bytes, same picture, similar shot.

A photo that one kind has paired with others stands for all of them in the next. Which photo of
a group to keep is a suggestion; nothing is ever deleted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.photos.facts import Facts
from clipsearch.photos.urls import PhotoPath, photo_path
from clipsearch.search.hamming import Pairs, near_pairs
from clipsearch.store.catalog import Catalog, Model, PhotoFile, Selection

Kind = Literal["bytes", "pictures", "shots"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Each was chosen by measurement: see docs/benchmarks.md.
SAME_SHAPE = 0.03  # of two copies, the width by the height differs by this share at most
SAME_PICTURE = 0.6  # least cosine of two copies' embeddings; their hashes say most
SIMILAR_SHOT = 0.9  # least cosine of two shots' embeddings

_BLOCK = 1024  # shots whose embeddings are compared at once with those that follow
_PAIRS = 4096  # pairs whose embeddings are compared at once


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One photo of a group."""

    path: PhotoPath
    id: int  # of the photo in the catalog
    size: int  # bytes
    facts: Facts

    def as_dict(self, keep: bool) -> dict[str, Any]:
        """The photo as `--json` shows it."""
        own = {"path": str(self.path), "id": self.id, "keep": keep, "bytes": self.size}
        return own | asdict(self.facts)


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
        """Bytes that all files but the first take."""
        return sum(photo.size for photo in self.photos[1:])

    def as_dict(self) -> dict[str, Any]:
        """The group as `--json` shows it."""
        photos = [photo.as_dict(place == 0) for place, photo in enumerate(self.photos)]
        return {"kind": self.kind, "freed": self.freed, "photos": photos}


def check_kinds(kinds: Sequence[str], within: float) -> None:
    """Raise InvalidInput unless duplicates of these kinds can be asked for."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is no kind of duplicates; there are {', '.join(KINDS)}")
    if not within >= 0:
        raise InvalidInput(f"--within must be 0 seconds or more, not {within:g}")


def find_duplicates(
    catalog: Catalog,
    model: Model,
    hashes: Mapping[str, bytes],
    kinds: Sequence[Kind],
    within: float,
) -> list[Group]:
    """The groups of these kinds, in the order of KINDS, those that free most first.

    `hashes` are the contents' perceptual hashes by digest, needed for pictures and shots. Shots
    of a group are taken within so many seconds of another one of it, by the cameras' clocks.
    """
    copies: dict[str, list[PhotoFile]] = defaultdict(list)
    for file in sorted(catalog.files(), key=_best_first):
        copies[file.digest].append(file)
    found: dict[Kind, Iterable[Sequence[PhotoFile]]] = {"bytes": copies.values()}
    if "pictures" in kinds or "shots" in kinds:
        contents = [files[0] for files in copies.values()]
        found["pictures"] = pictures = _pictures(catalog, model, contents, hashes)
        if "shots" in kinds:
            found["shots"] = _shots(catalog, model, pictures, within)
    wanted = [kind for kind in KINDS if kind in kinds]
    return [group for kind in wanted for group in _groups(catalog, kind, found[kind])]


def _best_first(file: PhotoFile) -> tuple[int, int, int, int]:
    return -(file.width or 0) * (file.height or 0), -file.size, file.mtime_ns, file.id


def _groups(catalog: Catalog, kind: Kind, sets: Iterable[Sequence[PhotoFile]]) -> list[Group]:
    sets = [files for files in sets if len(files) > 1]
    ids = json.dumps([file.id for files in sets for file in files])
    chosen = Selection("photos.id IN (SELECT value FROM json_each(?))", (ids,))
    rows = {row.id: row for row in catalog.photos(chosen)}
    groups = []
    for files in sets:
        photos = tuple(
            Duplicate(photo_path(rows[file.id].path), file.id, file.size, rows[file.id].facts)
            for file in files
            if file.id in rows  # another process may have just taken it out
        )
        if len(photos) > 1:
            groups.append(Group(kind, photos))
    return sorted(groups, key=lambda group: (-group.freed, str(group.photos[0].path)))


def _pictures(
    catalog: Catalog, model: Model, files: Sequence[PhotoFile], hashes: Mapping[str, bytes]
) -> list[list[PhotoFile]]:
    """The files in sets that show the same picture, their order kept."""
    # A plain picture has no hash, and a file that is not there now may have none yet.
    hashed = [file for file in files if hashes.get(file.digest)]
    if not hashed:
        return [[file] for file in files]
    words = np.frombuffer(b"".join(hashes[file.digest] for file in hashed), np.uint64)
    found = list(_copies(catalog, model, hashed, words))
    one, other, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    nearest = np.argsort(-cosines, kind="stable")
    sets = _joined(hashed, [(one[nearest], other[nearest])], [file.taken for file in hashed])
    return sets + [[file] for file in files if not hashes.get(file.digest)]


def _copies(
    catalog: Catalog, model: Model, files: Sequence[PhotoFile], hashes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The pairs of places of files that may show the same picture, and their cosines."""
    shapes = np.log([(file.width or 1) / (file.height or 1) for file in files])
    taken = np.array([file.taken or "NaT" for file in files], "datetime64[s]")
    for one, other in near_pairs(hashes):
        alike = np.abs(shapes[one] - shapes[other]) <= SAME_SHAPE
        # Two exposures are two pictures, however alike. No time differs from none.
        apart = np.abs(taken[one] - taken[other]) > np.timedelta64(0)
        one, other = one[alike & ~apart], other[alike & ~apart]
        cosines = _cosines(catalog, model, files, one, other)
        sure = cosines >= SAME_PICTURE
        yield one[sure], other[sure], cosines[sure]


def _cosines(
    catalog: Catalog,
    model: Model,
    files: Sequence[PhotoFile],
    one: np.ndarray,
    other: np.ndarray,
) -> np.ndarray:
    """The cosines, (n,) float32, of the embeddings of pairs of places of files."""
    cosines = np.empty(len(one), np.float32)
    for start in range(0, len(one), _PAIRS):
        some = slice(start, start + _PAIRS)
        left = _vectors(catalog, model, [files[place] for place in one[some]])
        right = _vectors(catalog, model, [files[place] for place in other[some]])
        cosines[some] = np.einsum("nd,nd->n", left, right)
    return cosines


def _shots(
    catalog: Catalog, model: Model, pictures: Iterable[Sequence[PhotoFile]], within: float
) -> Iterator[list[PhotoFile]]:
    """Sets of similar shots, each picture standing in them for its copies."""
    dated = [
        (taken[0], files[0])
        for files in pictures
        if (taken := [file.taken for file in files if file.taken])
    ]
    dated.sort()  # this form of times sorts as the times do
    files = [file for _, file in dated]
    times = np.array([taken for taken, _ in dated], "datetime64[s]").astype(np.int64)
    pairs = _similar(catalog, model, files, times, within)
    sets = _joined(files, pairs, [None] * len(files))
    return (sorted(shots, key=_best_first) for shots in sets)


def _similar(
    catalog: Catalog, model: Model, files: Sequence[PhotoFile], times: np.ndarray, within: float
) -> Iterator[Pairs]:
    """The pairs of places of similar shots; `times` are (n,) int64 seconds, ascending."""
    for start in range(0, len(files), _BLOCK):
        stop = min(start + _BLOCK, len(files))
        end = int(np.searchsorted(times, times[stop - 1] + within, "right"))
        rows = _vectors(catalog, model, files[start:end])
        for step in range(1, end - start):
            later, earlier = times[start + step : stop + step], times[start:stop]
            close = np.flatnonzero(later - earlier[: len(later)] <= within)
            if not len(close):  # nor is any further on
                break
            cosines = np.einsum("nd,nd->n", rows[close], rows[close + step])
            similar = close[cosines >= SIMILAR_SHOT] + start
            yield similar, similar + step


def _vectors(catalog: Catalog, model: Model, files: Sequence[PhotoFile]) -> np.ndarray:
    """The files' embeddings, (n, dim) float32, unit rows; zeros for what has none."""
    digests = [file.digest for file in files]
    rows = catalog.vectors_of(model.id, digests)
    none = bytes(2 * model.dim)
    content = b"".join(rows.get(digest, none) for digest in digests)
    return np.frombuffer(content, "<f2").reshape(-1, model.dim).astype(np.float32)


def _joined(
    files: Sequence[PhotoFile], pairs: Iterable[Pairs], taken: Sequence[str | None]
) -> list[list[PhotoFile]]:
    """The files in sets that pairs of places hold together, their order kept.

    The pairs are taken as they come; one that would bring two times `taken` together is not.
    """
    leaders, times = list(range(len(files))), list(taken)

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = place = leaders[leaders[place]]
        return place

    for some, others in pairs:
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            first, last = sorted((leader(one), leader(other)))
            if first != last and len({times[first], times[last]} - {None}) < 2:
                leaders[last] = first
                times[first] = times[first] or times[last]
    sets: dict[int, list[PhotoFile]] = defaultdict(list)
    for place, file in enumerate(files):
        sets[leader(place)].append(file)
    return list(sets.values())

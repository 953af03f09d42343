"""The photos of a catalog in columns: chosen, counted and ordered."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from clipsearch.store.catalog.columns import blocks, masks
from clipsearch.store.catalog.columns.blocks import DEGREES, missing, recoded, vectors_of
from clipsearch.store.catalog.selection import FAR, LOCATED, SHOWING, counted_people
from clipsearch.store.conditions import All, Condition, Has
from clipsearch.store.database.fulltext import photos_saying
from clipsearch.store.engine_facts import UNKNOWN

# Blocks that are made for one question where they cannot be kept; for more SQL takes less.
MOST_IN_PASSING = 16
_MOST_MASKS = 16  # that are remembered


class Texts(NamedTuple):
    """A column of few different values."""

    codes: np.ndarray  # (photos,) int32: which of the values each photo has
    values: list[Any]

    def where(self, holds: Callable[[Any], bool]) -> np.ndarray:
        """Whether something holds for each photo's value, (photos,) bool."""
        holding = np.array([holds(value) for value in self.values], bool)
        return np.asarray(holding[self.codes])

    def counted(self, chosen: np.ndarray) -> list[tuple[Any, int]]:
        """The values that some of the `chosen` photos, (photos,) bool, have; and how many do."""
        counts = np.bincount(self.codes[chosen], minlength=len(self.values)).tolist()
        return [it for it in zip(self.values, counts, strict=True) if it[1]]


class Columns:
    """The photos of a catalog in the order of their ids; it is made and asked at one version."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._made = {block: blocks.facts(db, block) for block in missing(db, "id")}
        self._numbers: dict[str, np.ndarray] = {}
        self._texts: dict[str, Texts] = {}
        self._masks: dict[Condition, np.ndarray] = {}
        self.ids = self.numbers("id")

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers, (photos,) int64 or float64; UNKNOWN or NaN for what is not known."""
        if name not in self._numbers:
            kind = np.float64 if name in DEGREES else np.int64
            self._numbers[name] = np.frombuffer(b"".join(self._kept(name)), kind)
        return self._numbers[name]

    def texts(self, name: str) -> Texts:
        """A column of values of which there are few."""
        if name not in self._texts:
            values: dict[Any, int] = {}
            parts = [recoded(data, values) for data in self._kept(name)]
            self._texts[name] = Texts(np.concatenate(parts), list(values))
        return self._texts[name]

    def vectors(self, model_id: int) -> np.ndarray:
        """The id of the vector that a model gave each photo, (photos,) int64; 0 for none."""
        name = vectors_of(model_id)
        if name not in self._numbers:
            for block in missing(self._db, name):
                self._made.setdefault(block, {})[name] = blocks.vectors(self._db, block, model_id)
        return self.numbers(name)

    def chosen(self, selection: Condition) -> np.ndarray:
        """Whether a condition holds for each photo, (photos,) bool."""
        if selection not in self._masks:
            if len(self._masks) == _MOST_MASKS:
                self._masks.clear()
            self._masks[selection] = masks.mask(self, selection)
        return self._masks[selection]

    def are_chosen(self, ids: Sequence[int], selection: Condition) -> list[bool]:
        """Whether a condition holds for photos by their ids, all of which there are."""
        chosen: list[bool] = self.chosen(selection)[np.searchsorted(self.ids, ids)].tolist()
        return chosen

    def vectors_chosen(self, model_id: int, selection: Condition) -> np.ndarray:
        """The ids of a model's vectors of photos for which a condition holds, ascending."""
        vectors = self.vectors(model_id)
        there = np.zeros(vectors.max(initial=0) + 1, bool)
        there[vectors[self.chosen(selection)]] = True
        there[0] = False
        return np.flatnonzero(there)

    def latest(self, selection: Condition, limit: int, offset: int) -> tuple[list[int], int]:
        """The ids of photos among which are the chosen ones from `offset` on, the latest first.

        And how many of these are before them. There are more where several are of one moment.
        """
        chosen = self.chosen(selection)
        ids, age = self.ids[chosen], -self.numbers("taken")[chosen]  # the greatest of no date
        last = min(offset + limit, len(ids)) - 1
        if last < offset:
            return [], 0
        parted = np.partition(age, (offset, last))
        within = (age >= parted[offset]) & (age <= parted[last])
        some: list[int] = ids[within].tolist()
        return some, offset - int((age < parted[offset]).sum())

    def in_turn(self, selection: Condition, count: int) -> list[list[int]]:
        """The ids of the chosen photos, the latest first, in parts of about `count`.

        Photos of one moment are in one part, in no order among themselves.
        """
        chosen = self.chosen(selection)
        age = -self.numbers("taken")[chosen]  # the greatest of no date
        order = np.argsort(age, kind="stable")
        ids, age = self.ids[chosen][order], age[order]
        cuts = np.unique(np.searchsorted(age, age[count::count]))
        return [part.tolist() for part in np.split(ids, cuts) if len(part)]

    def counted(self, fact: str, selection: Condition) -> list[tuple[Any, int]]:
        """How many of the chosen photos have each value of a fact, as `Photos.tally` names them.

        The folders are (root's id, folder below it).
        """
        chosen = self.chosen(selection)
        if fact in ("camera", "type", "folder"):
            return self.texts(fact).counted(chosen)
        if fact == "locality":
            ids, counts = np.unique(self.numbers("locality")[chosen], return_counts=True)
            return list(zip(ids.tolist(), counts.tolist(), strict=True))
        if fact == "placed":
            placed = int((chosen & self.chosen(Has("coordinates"))).sum())
            return [(1, placed), (0, int(chosen.sum()) - placed)]
        months = np.bincount(self.numbers("taken")[chosen] // 10**8 - UNKNOWN)
        return [
            (f"{month // 100:04}-{month % 100:02}" if (month := at + UNKNOWN) >= 0 else None, count)
            for at, count in zip(
                np.flatnonzero(months).tolist(), months[months > 0].tolist(), strict=True
            )
        ]

    def dots(self, grid: float, selection: Condition) -> list[tuple[float, float, int]]:
        """Where the chosen photos were taken, as `Photos.dots` gives it."""
        chosen = self.chosen(selection) & self.chosen(Has("coordinates"))
        if not chosen.any():
            return []
        latitude, longitude = (self.numbers(name)[chosen] for name in DEGREES)
        rows, columns = ((it / grid + FAR).astype(np.int64) for it in (latitude, longitude))
        _, cells = np.unique(rows << 32 | columns, return_inverse=True)
        photos = np.bincount(cells)
        middles = (np.bincount(cells, it) / photos for it in (latitude, longitude))
        return list(zip(*(it.tolist() for it in middles), photos.tolist(), strict=True))

    def saying(self, words: str) -> list[int]:
        """The ids of photos about which these words are written, one right after the other."""
        return photos_saying(self._db, words)

    def showing(self, person: str) -> list[int]:
        """The ids of photos in which somebody of that name is named, ascending."""
        return [id for (id,) in self._db.execute(f"{SHOWING} ORDER BY id", (person,))]

    def located(self, words: str) -> list[int]:
        """The ids of photos of which their owner wrote that they were taken there, ascending."""
        return [id for (id,) in self._db.execute(f"{LOCATED} ORDER BY id", (words,))]

    def named(self, selection: Condition) -> list[tuple[str, int]]:
        """The people who are named in chosen photos, and in how many."""
        chosen = set(self.ids[self.chosen(All((selection, Has("people"))))].tolist())
        rows = self._db.execute("SELECT id, people FROM photos WHERE people IS NOT NULL")
        return counted_people(people for id, people in rows if id in chosen)

    def _kept(self, name: str) -> list[bytes]:
        """A column's blocks, in their order, with those that are not kept but were made."""
        kept = self._db.execute("SELECT block, data FROM columns WHERE name = ?", (name,))
        made = {block: data[name] for block, data in self._made.items() if name in data}
        return [data for _, data in sorted((dict(kept.fetchall()) | made).items())]

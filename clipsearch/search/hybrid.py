"""Words looked for twice: in what a picture shows, and in what is written about it.

A cosine and a word that is there or is not have no common measure. So the best picture gives one,
its height above the mean of the library's cosines: a photo that words are written about is lifted
by so many heights. A word for what pictures show, such as "dog", lifts by less than one: where it
is written on a few photos only, they come beside the best pictures and not before all of them. Any
other, such as a name, is nothing that a picture tells, and lifts photos above the best one. Of
several words each lifts by its share, and rare ones have a larger one; words for what pictures
show lift the less, the less of the question is written: a photo of a man is not meant by all that
is asked of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import punctuation
from typing import NamedTuple

import numpy as np

from clipsearch.encoders.reading.line import Line
from clipsearch.errors import InvalidInput, arg
from clipsearch.search.nearest import Space
from clipsearch.search.question import Term
from clipsearch.search.results import Hit
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import EVERYTHING, All, Condition, Either, Is, Not, Says
from clipsearch.store.database.fulltext import has_words
from clipsearch.store.database.nearly import which_have

# Measured with made-up keywords, titles and names on photos with captions: docs/search.md.
SEEN_LIFT, OTHER_LIFT = 0.8, 2.5  # heights
LEAST_HEIGHT = 3.0  # deviations of the library's cosines: a small one has no picture far above
SEEN_WEIGHT, UNWRITTEN_WEIGHT = 1.0, 6.0  # of other words it is log(1 + photos / photos with it)

NEARLY = 0.5  # of its weight a word has where it was read but for a letter

_MOST = 100_000  # photos that have a word; one that more have is not looked for but in quotes
_LEVELS = 8  # of what is written about photos that are told apart, each of which costs a search

VISIBLE = Path(__file__).with_name("visible.txt")

# They stand in nearly every caption, or in questions that mean no such word.
_ENGLISH = (
    "a about after all an and any are as at be been before but by can could did do does each for"
    " from had has have having he her hers him his how i if in into is it its me my near next no"
    " not of off on one or our out over she should so some than that the their them then there"
    " they this to two under up us very was we were what where which while who whose will with"
    " would you your"
    " image images photo photos picture pictures"
)
COMMON = frozenset(_ENGLISH.split())

# So many of the best are looked through for such as something is written about, before those
# alone are searched: mostly that is enough.
DEPTH = 500

# The k nearest of some photos, best first.
Nearest = Callable[[Condition, int], list[Hit]]


@dataclass(frozen=True, slots=True)
class Written:
    """What a question looks for in the words of photos."""

    any: tuple[str, ...]  # the more of these the better
    all: tuple[str, ...] = ()  # these must occur
    none: tuple[str, ...] = ()  # and these must not

    @property
    def quotes(self) -> bool:
        """Whether anything must occur, or must not."""
        return bool(self.all or self.none)

    def narrowed(self, selection: Condition | None, catalog: Catalog) -> Condition | None:
        """The selected photos that have what must occur, and nothing that must not."""
        parts = [] if selection is None else [selection]
        parts += [_said(it, catalog) for it in self.all]
        parts += [Not(Says(it)) for it in self.none]
        return All(tuple(parts)) if parts else None

    def where_written(self, catalog: Catalog) -> Written:
        """The same without what must not occur and does nowhere."""
        return replace(self, none=tuple(filter(catalog.is_written, self.none)))

    def nowhere(self, catalog: Catalog) -> tuple[str, ...]:
        """What must occur and is written about no photo at all."""
        return tuple(
            it for it in self.all
            if not (catalog.is_written(it) or catalog.photos_nearly_saying(it))
        )  # fmt: skip

    def lifts(self, space: Space) -> Lifts | None:
        """What lifts photos that some of it is written about; None where nothing is."""
        lifts = lifts_of(space, self.any)
        near = {id for it in self.all for id in space.catalog.photos_nearly_saying(it)}
        return lifts.at_most(NEARLY, near) if lifts and near else lifts


def _said(text: str, catalog: Catalog) -> Condition:
    """A text is written about a photo; where it was read in a picture, a letter may be wrong."""
    near = catalog.photos_nearly_saying(text)
    return Either((Says(text), Is("id", "in", tuple(near)))) if near else Says(text)


def read_written(terms: Sequence[Term]) -> Written:
    """What is looked for in words: those of the terms, where what stands in quotes must occur.

    Of a term that counts against, what stands in quotes must not occur.

    Raises:
        InvalidInput: no words, or quotes with none in them.
    """
    wanted = [term for term in terms if not term.is_picture and term.weight > 0]
    if not wanted:
        raise InvalidInput(
            f"{arg('hybrid')} looks for words; ask with some, as in: a birthday cake"
        )
    for it in (quoted for term in terms for quoted in term.quoted):
        if not has_words(it):
            raise InvalidInput(f'there is no word to look for in the quotes: "{it}"')
    return words_of(terms)


def words_of(terms: Sequence[Term]) -> Written:
    """As `read_written`; there may be no words, and quotes without any mean nothing."""
    words = [
        word
        for term in terms if not term.is_picture and term.weight > 0
        for word in str(term.content).replace('"', " ").split() if has_words(word)
    ]  # fmt: skip
    once = {word.lower(): word for word in words}
    telling = [word for plain, word in once.items() if plain not in COMMON] or once.values()
    quoted = [(term.weight > 0, it) for term in terms for it in term.quoted if has_words(it)]
    return Written(
        tuple(telling),
        tuple(it for is_wanted, it in quoted if is_wanted),
        tuple(it for is_wanted, it in quoted if not is_wanted),
    )


class Lifts(NamedTuple):
    """What is written about photos of what is asked for."""

    ids: np.ndarray  # (n,) int64, ascending: of the photos that some of it is written about
    shares: np.ndarray  # (n,) float64, of the words, by their weights: 0 to 1
    heights: np.ndarray  # (n,) float64, that it lifts each photo by

    def of(self, hits: Sequence[Hit]) -> tuple[np.ndarray, np.ndarray]:
        """The shares and the heights of photos, (n,) float64 each; 0 where nothing is written."""
        wanted = np.array([hit.id for hit in hits], np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        known = self.ids[at] == wanted
        return np.where(known, self.shares[at], 0.0), np.where(known, self.heights[at], 0.0)

    def at_most(self, share: float, ids: Collection[int]) -> Lifts:
        """The same, where these photos are lifted no more than by such a share."""
        lower = np.minimum(1.0, share / np.maximum(self.shares, share))
        lower = np.where(np.isin(self.ids, list(ids)), lower, 1.0)
        return Lifts(self.ids, self.shares * lower, self.heights * lower)

    def levels(self) -> list[float]:
        """The heights that photos are lifted by, the greatest first."""
        return list(map(float, np.unique(self.heights)[::-1][:_LEVELS]))


def with_written(
    space: Space,
    query: np.ndarray,
    k: int | None,
    selection: Condition | None,
    lifts: Lifts,
    seen: list[Hit],
    nearest: Nearest,
) -> list[Hit]:
    """The k photos that fit `query`, (dim,) float32 unit, and what is written, best first.

    `seen` are those that fit the query best, in its order: `reach(k)`, or all where k is None.
    `nearest` gives the best of others.
    """
    if not seen:
        return seen
    height = _height(space, query, seen[0].score)
    hits = seen if k is None else _candidates(k, selection, lifts, height, seen, nearest)
    shares, heights = lifts.of(hits)
    worth = _scores(hits) + height * heights
    order = np.argsort(-worth, kind="stable")[:k].tolist()
    return [replace(hits[at], written=float(shares[at])) for at in order]


def reach(k: int) -> int:
    """How many of the best photos are looked through for k of what is written."""
    return max(k, DEPTH)


def _candidates(
    k: int, selection: Condition | None, lifts: Lifts, height: float, seen: list[Hit],
    nearest: Nearest,
) -> list[Hit]:  # fmt: skip
    """Photos that the k best are among: the k best unlifted, and the k best of each level."""
    _, heights = lifts.of(seen)
    levels = lifts.levels()
    hits = {hit.id: hit for hit in seen[:k]}
    counts = []
    for level in levels:
        some = [seen[at] for at in np.flatnonzero(heights == level)[:k].tolist()]
        hits |= {hit.id: hit for hit in some if hit.id not in hits}
        counts.append(len(some))
    if len(seen) < reach(k):  # these are all that there are
        return list(hits.values())
    for level, count in zip(levels, counts, strict=True):
        # What was not seen of a level is less near than all that was.
        best = seen[-1].score + height * level
        if count < k and _worth_of(k, list(hits.values()), lifts, height) < best:
            among = Is("id", "in", tuple(lifts.ids[lifts.heights == level].tolist()))
            others = nearest(among if selection is None else All((selection, among)), k)
            hits |= {hit.id: hit for hit in others if hit.id not in hits}
    return list(hits.values())


def _worth_of(k: int, hits: Sequence[Hit], lifts: Lifts, height: float) -> float:
    """What the last of the k best is worth."""
    _, heights = lifts.of(hits)
    return float(np.partition(_scores(hits) + height * heights, len(hits) - k)[len(hits) - k])


def _scores(hits: Sequence[Hit]) -> np.ndarray:
    return np.array([hit.score for hit in hits], np.float64)


def lifts_of(space: Space, words: Iterable[str]) -> Lifts | None:
    """What lifts the photos that some of the words are written about; None where none is."""
    having = [_having(space.catalog, word) for word in words]
    if not any(it.exactly or it.nearly for it in having):
        return None
    total = space.count(EVERYTHING)
    counts = [len(it.exactly) + len(it.nearly) for it in having]
    weights = [_weight(it.word, count, total) for it, count in zip(having, counts, strict=True)]
    parts = [[1.0] * len(it.exactly) + [NEARLY] * len(it.nearly) for it in having]
    each = np.repeat(weights, counts) * np.concatenate(parts)
    told = np.repeat([is_visible(it.word) for it in having], counts)
    every = np.concatenate([np.array(it.exactly + it.nearly, np.int64) for it in having])
    ids, at = np.unique(every, return_inverse=True)
    most = sum(weights)
    shares = np.bincount(at, each) / most
    seen = np.bincount(at, each * told) / most  # of that, by words for what pictures show
    return Lifts(ids, shares, SEEN_LIFT * seen * shares + OTHER_LIFT * (shares - seen))


class _Having(NamedTuple):
    """The photos that a word is written about."""

    word: str
    exactly: list[int]
    nearly: list[int]  # in whose picture it was read but for a letter, and which have it nowhere


def _having(catalog: Catalog, word: str) -> _Having:
    exactly = catalog.photos_with_word(word, _MOST)
    if len(exactly) == _MOST:
        return _Having(word, [], [])
    near = set() if is_visible(word) else set(catalog.photos_nearly_saying(word))
    return _Having(word, exactly, sorted(near.difference(exactly)))


def with_lines(catalog: Catalog, hits: Sequence[Hit], written: Written) -> list[Hit]:
    """The hits, each with those lines of text in its picture that have words of what is asked."""
    read = catalog.lines_of_photos([hit.id for hit in hits if hit.written > 0])
    if not read:
        return list(hits)
    every = [(id, line) for id, lines in read.items() for line in lines]
    found: dict[int, list[Line]] = {}
    for number in sorted(which_have([line.text for _, line in every], written.any)):
        id, line = every[number]
        found.setdefault(id, []).append(line)
    return [replace(hit, lines=tuple(found.get(hit.id, ()))) for hit in hits]


def is_visible(word: str) -> bool:
    """Whether a word, or what it is the plural of, is one for what pictures show."""
    plain = word.strip(punctuation).lower()
    return plain in _visible() or plain.removesuffix("s") in _visible()


@cache
def _visible() -> frozenset[str]:
    text = VISIBLE.read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())


def _weight(word: str, count: int, total: int) -> float:
    weight = math.log1p(total / count) if count else UNWRITTEN_WEIGHT
    return min(weight, SEEN_WEIGHT) if is_visible(word) else weight


def _height(space: Space, query: np.ndarray, best: float) -> float:
    """How far the best cosine is above the mean of the library's."""
    scores = space.sample @ query
    return max(best - float(scores.mean()), LEAST_HEIGHT * float(scores.std()))

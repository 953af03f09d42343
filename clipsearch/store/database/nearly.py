"""What was read in pictures with one letter wrong, as those who read do and those who ask.

A letter too much, too little or another one spoils at most one half of a word: photos that have
either half are found by the full-text tables, and then looked at word by word.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from clipsearch.store.database.fulltext import photos_saying, photos_with, spaced
from clipsearch.store.database.parts import grams, grams_in, plain, runs

FEWEST = 7  # letters: shorter words have too many neighbours, as houses and horses are

_MOST = 10_000  # photos that are looked at word by word


def photos_nearly_saying(connection: sqlite3.Connection, text: str) -> list[int]:
    """The ids of photos in which the words of a text were read in a row, but for letters.

    Where they are written exactly, they are not meant; nor are words that are too short to be
    forgiven a letter, or numbers.
    """
    wanted = runs(plain(spaced(text)))
    halves = [_halves(run) for run in wanted if _is_long(run)]
    if not halves or not _has_any(connection):
        return []
    rows = connection.execute(
        "SELECT rowid, read FROM words WHERE rowid IN"
        " (SELECT rowid FROM inside WHERE inside MATCH ? LIMIT ?)",
        (" AND ".join(halves), _MOST),
    )
    near = [id for id, read in rows if read and _says(runs(plain(read)), wanted)]
    exact = set(photos_saying(connection, text)) if near else ()
    return [id for id in near if id not in exact]


def which_have(texts: Sequence[str], words: Sequence[str]) -> set[int]:
    """The numbers of those texts that have one of some words, as photos are found by them."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(
            """
            CREATE VIRTUAL TABLE words USING fts5 (
                read, tokenize = 'porter unicode61 remove_diacritics 2'
            );
            CREATE VIRTUAL TABLE inside USING fts5 (
                read, tokenize = 'unicode61 remove_diacritics 0'
            );
            CREATE TABLE readings (digest TEXT);
            INSERT INTO readings VALUES ('');
            """
        )
        parted = [spaced(text) for text in texts]
        db.executemany("INSERT INTO words (rowid, read) VALUES (?, ?)", enumerate(parted))
        inside = [(number, grams(text)) for number, text in enumerate(parted)]
        db.executemany("INSERT INTO inside (rowid, read) VALUES (?, ?)", inside)
        return {
            number
            for word in words
            for number in photos_with(db, word, len(texts)) + photos_nearly_saying(db, word)
        }


def is_near(one: str, other: str) -> bool:
    """Whether two words are the same but for one letter at most."""
    if abs(len(one) - len(other)) > 1:
        return False
    pairs = zip(one, other, strict=False)
    at = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    rest, others = one[at:], other[at:]
    return rest[1:] == others[1:] or rest[1:] == others or rest == others[1:]


def _has_any(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM readings LIMIT 1").fetchone() is not None


def _is_long(run: str) -> bool:
    return len(run) >= FEWEST and not run.isdecimal()  # a number is another one


def _halves(run: str) -> str:
    middle = len(run) // 2
    return f'read : ("{grams_in(run[:middle])}" OR "{grams_in(run[middle:])}")'


def _says(read: Sequence[str], wanted: Sequence[str]) -> bool:
    starts = range(len(read) - len(wanted) + 1)
    return any(all(map(_fits, read[start : start + len(wanted)], wanted)) for start in starts)


def _fits(read: str, wanted: str) -> bool:
    return read == wanted or (_is_long(wanted) and is_near(read, wanted))

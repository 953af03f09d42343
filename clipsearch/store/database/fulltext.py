"""The full-text tables: what is written about each photo: path, file, captions, and in the picture.

`words` has whole words and the parts that names are made of, `inside` what stands within longer
ones. Derived from `photos`, `captions` and `readings`, and written in the transactions that write
those.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any
from unicodedata import normalize

from clipsearch.photos.scanning.names import EXTENSIONS
from clipsearch.store.database.parts import apart, grams, grams_of

# Scripts that put no spaces between words, or endings onto them: Thai, Lao, Burmese, Khmer, kana,
# Han and Hangul. Each character counts as a word, and a word as a phrase of them.
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
    r"\uf900-\ufaff\U00020000-\U0003ffff])"
)

_SELECT = (
    "SELECT id, path, title, caption, keywords, people, location,"
    " (SELECT coalesce(suburb, '') || ' ' || coalesce(town, '') || ' ' || coalesce(region, '')"
    " || ' ' || coalesce(country, '') FROM localities WHERE localities.id = photos.locality),"
    " (SELECT group_concat(text, ' ') FROM captions WHERE captions.digest = photos.digest),"
    " (SELECT group_concat(json_extract(value, '$[0]'), char(10)) FROM readings, json_each(lines)"
    " WHERE readings.digest = photos.digest)"
    " FROM photos"
)
_SELECT_HELD = (
    "SELECT words.rowid, path, title, caption, keywords, generated, parts, words.read, name,"
    " inside.read"
    " FROM words LEFT JOIN inside ON inside.rowid = words.rowid"
    " WHERE words.rowid IN (SELECT value FROM json_each(?))"
)
_INSERT = (
    "INSERT OR REPLACE INTO words (rowid, path, title, caption, keywords, generated, parts,"
    " read) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_AT_A_TIME = 10_000  # photos whose words are in memory
_INSERT_INSIDE = "INSERT OR REPLACE INTO inside (rowid, name, read) VALUES (?, ?, ?)"

# The possessive of English, with either apostrophe.
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s$", re.IGNORECASE)


def mend(connection: sqlite3.Connection) -> None:
    """Write what in the tables is not as it is to be."""
    for table in ("words", "inside"):
        if not _is_sound(connection, table):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")
        connection.execute(f"DELETE FROM {table} WHERE rowid NOT IN (SELECT id FROM photos)")
    _write(connection, connection.execute(_SELECT))


def _is_sound(connection: sqlite3.Connection, table: str) -> bool:
    """Whether what a table is searched by fits what it holds."""
    try:
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        if (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_CORRUPT:
            raise
        return False
    return True


def renew(
    connection: sqlite3.Connection, condition: str, values: Iterable[tuple[Any, ...]]
) -> None:
    """Write the words of those photos that a condition in SQL holds for, with any of the values."""
    select = f"{_SELECT} WHERE {condition}"
    _write(connection, chain.from_iterable(connection.execute(select, some) for some in values))


def remove(connection: sqlite3.Connection, ids: str, values: Sequence[tuple[Any, ...]]) -> None:
    """Take the words of photos out; `ids` is what gives theirs in SQL, with any of the values."""
    for table in ("words", "inside"):
        connection.executemany(f"DELETE FROM {table} WHERE rowid IN ({ids})", values)


def photos_with(connection: sqlite3.Connection, word: str, most: int) -> list[int]:
    """The ids of photos that a word is written about, of `most` at most, in no order.

    As it is, in another form of English, or as a part of a name.
    """
    wanted = _any_of(_spellings(word))
    if wanted is None:
        return []
    ids = _matching(connection, "words", wanted, most)
    within = grams_of(word)
    if within and _has_inside(connection):
        ids += _matching(connection, "inside", f'"{within}"', most)
    return list(dict.fromkeys(ids))[:most]


def photos_saying(connection: sqlite3.Connection, text: str) -> list[int]:
    """The ids of photos about which these words are written, one right after the other."""
    found = connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (saying(text),))
    return [id for (id,) in found]


def phrase(text: str) -> str | None:
    """What the full-text search takes for these words, one right after the other; None for none."""
    plain = spaced(text.encode("utf-8", "replace").decode())
    plain = plain.replace('"', " ").replace("\0", " ")
    return f'"{plain}"' if any(map(str.isalnum, plain)) else None


def has_words(text: str) -> bool:
    """Whether there is something in a text that can be looked for."""
    return phrase(text) is not None


def saying(text: str) -> str | None:
    """What the full-text search takes for what stands in quotes; None for no words.

    A file's name is also looked for without its extension, which the table has none of.
    """
    return _any_of((text, _stem(text)))


def _any_of(texts: Iterable[str]) -> str | None:
    return " OR ".join(dict.fromkeys(filter(None, map(phrase, texts)))) or None


def _spellings(word: str) -> list[str]:
    """What may be written for a word of a question."""
    stem = _POSSESSIVE.sub("", _stem(word))
    return [word, stem, apart(stem) or stem]


def _stem(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in EXTENSIONS else name


def _matching(connection: sqlite3.Connection, table: str, wanted: str, most: int) -> list[int]:
    found = connection.execute(
        f"SELECT rowid FROM {table} WHERE {table} MATCH ? LIMIT ?", (wanted, most)
    )
    return [id for (id,) in found]


def _has_inside(connection: sqlite3.Connection) -> bool:
    """Whether there is such a table: not in an older catalog that may only be read."""
    named = "SELECT 1 FROM sqlite_schema WHERE name = 'inside'"
    return connection.execute(named).fetchone() is not None


def _write(connection: sqlite3.Connection, photos: Iterator[tuple[Any, ...]]) -> None:
    """Have the words of photos as they are to be; what is so already is not written."""
    while some := list(islice(photos, _AT_A_TIME)):
        ids = json.dumps([id for id, *_ in some])
        held = {row[0]: row for row in connection.execute(_SELECT_HELD, (ids,))}
        rows = [row for row in _as_rows(some) if held.get(row[0]) != row]
        connection.executemany(_INSERT, [row[:-2] for row in rows])
        connection.executemany(_INSERT_INSIDE, [(row[0], *row[-2:]) for row in rows])


def _as_rows(photos: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What both tables are to hold of photos: id, the columns of `words`, and those of `inside`."""
    return [(*words, grams(words[1]), grams(words[-1] or "")) for words in _as_words(photos)]


def _as_words(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for id, path, title, caption, keywords, people, location, locality, *written in rows:
        name = os.path.splitext(
            path.decode("utf-8", "replace") if isinstance(path, bytes) else path
        )
        names = [name for name, _ in json.loads(people)] if people else []
        words = [*(json.loads(keywords) if keywords else ()), *names, location, locality]
        together = " ".join(filter(None, words)) or None
        texts = [name[0], title, caption, together, *written]
        *texts, read = [text and spaced(text) for text in texts]
        parts = " ".join(filter(None, (apart(text) for text in texts[:4] if text)))
        yield id, *texts, parts or None, read


def spaced(text: str) -> str:
    """The text in one form, each character a word in scripts without spaces."""
    # One form for what can be written in several: a name of a Mac has accents and Hangul in parts.
    return _UNSPACED.sub(r" \1 ", normalize("NFKC", text))

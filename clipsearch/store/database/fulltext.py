"""The full-text table: what is written about each photo, in its path, its file and its captions.

Derived from `photos` and `captions`, and written in the transactions that write those.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any
from unicodedata import normalize

# Scripts that put no spaces between words, or endings onto them: Thai, Lao, Burmese, Khmer, kana,
# Han and Hangul. Each character counts as a word, and a word as a phrase of them.
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
    r"\uf900-\ufaff\U00020000-\U0003ffff])"
)

_SELECT = (
    "SELECT id, path, title, caption, keywords,"
    " (SELECT group_concat(text, ' ') FROM captions WHERE captions.digest = photos.digest)"
    " FROM photos"
)
_INSERT = (
    "INSERT OR REPLACE INTO words (rowid, path, title, caption, keywords, generated)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


def rebuild(connection: sqlite3.Connection) -> None:
    """Write the table anew, for all photos."""
    connection.execute("DELETE FROM words")
    _write(connection, connection.execute(_SELECT))


def renew(
    connection: sqlite3.Connection, condition: str, values: Iterable[tuple[Any, ...]]
) -> None:
    """Write the words of those photos that a condition in SQL holds for, with any of the values."""
    select = f"{_SELECT} WHERE {condition}"
    for some in values:
        _write(connection, connection.execute(select, some))


def phrase(text: str) -> str | None:
    """What the full-text search takes for these words, one right after the other; None for none."""
    plain = _spaced(text.encode("utf-8", "replace").decode())
    plain = plain.replace('"', " ").replace("\0", " ")
    return f'"{plain}"' if any(map(str.isalnum, plain)) else None


def has_words(text: str) -> bool:
    """Whether there is something in a text that can be looked for."""
    return phrase(text) is not None


def any_of(words: Iterable[str]) -> str:
    """What the full-text search takes for any of these words; "" where none is one."""
    return " OR ".join(dict.fromkeys(filter(None, map(phrase, words))))


def _write(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    connection.executemany(_INSERT, _as_words(rows))


def _as_words(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for id, path, title, caption, keywords, generated in rows:
        name = os.path.splitext(
            path.decode("utf-8", "replace") if isinstance(path, bytes) else path
        )
        together = " ".join(json.loads(keywords)) if keywords else None
        texts = (name[0], title, caption, together, generated)
        yield id, *(text and _spaced(text) for text in texts)


def _spaced(text: str) -> str:
    # One form for what can be written in several: a name of a Mac has accents and Hangul in parts.
    return _UNSPACED.sub(r" \1 ", normalize("NFKC", text))

"""Whether a database tells of nothing yet, asked while its process may be at work in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

HOLDS_ANYTHING = "SELECT EXISTS (SELECT 1 FROM photos) OR EXISTS (SELECT 1 FROM failures)"


@contextmanager
def held_if_unused(file: Path) -> Iterator[bool]:
    """Whether a database tells of no photo, which nobody can change inside; false if unknown."""
    address = f"{file.as_uri()}?mode=rw"
    try:
        held = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)
    except sqlite3.Error:
        yield False
        return
    with closing(held):
        try:
            held.execute("BEGIN EXCLUSIVE")
            is_unused = not held.execute(HOLDS_ANYTHING).fetchone()[0]
        except sqlite3.Error:  # somebody writes
            is_unused = False
        yield is_unused

"""An index that tells of nothing yet, and its end."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from clipsearch.store.database.file import FILE_NAME

HOLDS_ANYTHING = "SELECT EXISTS (SELECT 1 FROM photos) OR EXISTS (SELECT 1 FROM failures)"


def remove_files(folder: Path) -> None:
    """Remove a database that nobody has open, and all that belongs to it."""
    for file in folder.glob(f"{FILE_NAME}*"):
        file.unlink()
    for derived in ("vectors", "models"):
        shutil.rmtree(folder / derived, ignore_errors=True)


def discard_at_end(folder: Path) -> None:
    """Remove an index that tells of no photo, as the process ends that may be at work in it."""
    with suppress(OSError), _held_if_unused(folder / FILE_NAME) as is_unused:
        if is_unused:
            remove_files(folder)
            for file in folder.glob("index.*"):  # which tell who writes
                file.unlink()


@contextmanager
def _held_if_unused(file: Path) -> Iterator[bool]:
    """Whether a database tells of no photo, which nobody can change inside; false if unknown."""
    address = f"{file.as_uri()}?mode=rw"
    try:
        held = sqlite3.connect(address, uri=True, timeout=0.5, isolation_level=None)
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

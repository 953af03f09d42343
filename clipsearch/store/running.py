"""How far an index run is, told to other processes through a file of the index."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.replacing import replacing
from clipsearch.store.lock import is_held

if TYPE_CHECKING:
    from clipsearch.progress import Progress

_INTERVAL = 1.0  # seconds between two writes
_STALE = 120.0  # seconds after which a run is over for who may not ask the index's lock


@dataclass(frozen=True, slots=True)
class Run:
    """An index run that is under way."""

    done: int  # files
    total: int
    rate: float  # files a second
    seconds_left: float | None  # None before the first file


@contextmanager
def telling(folder: Path, progress: Progress | None) -> Iterator[Progress]:
    """What takes the files done and their total, tells `progress` and writes it down.

    The caller holds the index's lock.
    """
    file = _file(folder)
    begun, written = time.time(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal written, begun
        if not done:
            begun = time.time()
        if time.monotonic() - written >= _INTERVAL:
            written = time.monotonic()
            # The run itself says if the disk is full.
            with suppress(OSError), replacing(file, lasting=False) as fresh:
                fresh.write_text(json.dumps({"done": done, "total": total, "begun": begun}))
        if progress is not None:
            progress(done, total)

    try:
        yield show
    finally:
        with suppress(OSError):
            file.unlink()


def running(folder: Path) -> Run | None:
    """The run that is writing to an index folder now; None if there is none, or none is known."""
    file = _file(folder)
    try:
        age = time.time() - file.stat().st_mtime
        told = json.loads(file.read_text())
        done, total, begun = int(told["done"]), int(told["total"]), float(told["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_held(folder) or (age > _STALE and not os.access(folder / "index.lock", os.R_OK)):
        return None
    rate = done / max(time.time() - begun, 1e-3)
    return Run(done, total, round(rate, 1), round((total - done) / rate, 1) if done else None)


def _file(folder: Path) -> Path:
    return folder / "index.progress"

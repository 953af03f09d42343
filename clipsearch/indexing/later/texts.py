"""The text in photos that no model read yet, kept in the catalog a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsearch.encoders.reading import load_reader, reader_name
from clipsearch.encoders.reading.line import Line
from clipsearch.indexing.later.contents import make_of_each
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import Condition

if TYPE_CHECKING:
    import numpy as np

BATCH = 4  # photos between two commits: some seconds of reading, and 50 MB of pixels at most


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What a run that reads text did, in contents: copies of a photo share theirs."""

    model: str
    read: int
    with_text: int  # of these
    lines: int  # that were read in them
    failed: int  # files that are not there, cannot be read, or changed since they were indexed
    left: int  # not looked at, since the run was stopped
    seconds: float


def read_texts(
    catalog: Catalog,
    model: str,
    selection: Condition,
    isolated: bool,
    progress: Progress,
    stopping: Callable[[], bool],
) -> ReadReport:
    """Read the selected photos that `model` did not read; each batch is kept as it is done.

    The model is loaded when there is work for it. `stopping` is asked after each file; once true,
    the batch at hand is still read.
    """
    started = time.monotonic()
    name = reader_name(model)
    paths = catalog.paths_without_reading(name, selection)
    if not paths:
        return ReadReport(name, 0, 0, 0, 0, 0, 0.0)
    reader = load_reader(model)
    counts: list[int] = []  # of lines

    def read(batch: dict[str, np.ndarray]) -> None:
        found: dict[str, list[Line]] = {
            digest: reader.read(pixels) for digest, pixels in batch.items()
        }
        catalog.add_readings(name, found)
        counts.extend(map(len, found.values()))

    done = make_of_each(
        paths, reader.prepare, read, BATCH, isolated, progress, stopping, "text not read"
    )
    seconds = round(time.monotonic() - started, 3)
    with_text = sum(map(bool, counts))
    return ReadReport(name, done.made, with_text, sum(counts), done.failed, done.left, seconds)

"""Captions for photos that have none by a model, written into the catalog a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clipsearch.encoders.captions import load_captioner
from clipsearch.indexing.later.contents import make_of_each
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import Condition


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """What a run that writes captions did, in contents: copies of a photo share theirs."""

    model: str
    written: int
    failed: int  # files that are not there, cannot be read, or changed since they were indexed
    left: int  # not looked at, since the run was stopped
    seconds: float


def write_captions(
    catalog: Catalog,
    model: str,
    device: str,
    selection: Condition,
    batch_size: int | None,
    isolated: bool,
    progress: Progress,
    stopping: Callable[[], bool],
) -> CaptionReport:
    """Caption the selected photos that have none by `model`; each batch is kept as it is done.

    The model is loaded when there is work for it. `stopping` is asked after each file; once true,
    the batch at hand is still captioned.
    """
    started = time.monotonic()
    paths = catalog.paths_without_caption(model, selection)
    if not paths:
        return CaptionReport(model, 0, 0, 0, 0.0)
    writer = load_captioner(model, device)

    def write(batch: dict[str, np.ndarray]) -> None:
        captions = writer.write(np.stack(list(batch.values())))
        catalog.add_captions(model, dict(zip(batch, captions, strict=True)))

    done = make_of_each(
        paths, writer.prepare, write, batch_size or writer.batch_size, isolated, progress, stopping,
        "not captioned",
    )  # fmt: skip
    seconds = round(time.monotonic() - started, 3)
    return CaptionReport(model, done.made, done.failed, done.left, seconds)

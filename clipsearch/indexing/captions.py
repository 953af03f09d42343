"""Captions for photos that have none by a model, written into the catalog a batch at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clipsearch.encoders.captions import Captioner, load_captioner
from clipsearch.indexing.loading import STOPPED, Loaded, Loaders, load_ahead
from clipsearch.notation import counted
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import Condition

log = logging.getLogger("clipsearch")


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
    size = batch_size or writer.batch_size
    written, done, unread = 0, 0, ""
    progress(0, len(paths))
    batch: dict[str, np.ndarray] = {}
    with Loaders(isolated=isolated, stopping=stopping) as pool:
        for done, (digest, result) in enumerate(
            load_ahead(paths, writer.prepare, pool, 2 * size), 1
        ):
            if result is STOPPED:
                done -= 1
            elif (
                isinstance(result, Loaded) and result.digest == digest and result.views is not None
            ):
                batch[digest] = result.views[0]
            else:
                changed = "it changed since it was indexed"
                reason = changed if isinstance(result, Loaded) else result.reason
                unread = unread or f"{paths[digest]}: {reason}"
            stopped = stopping()
            if len(batch) >= size or stopped or done == len(paths):
                written += _write(catalog, model, writer, batch)
                batch = {}
                progress(done, len(paths))
            if stopped:
                break
    failed = done - written
    if failed:
        log.warning("not captioned: %s; the first is %s", counted(failed, "photo"), unread)
    seconds = round(time.monotonic() - started, 3)
    return CaptionReport(model, written, failed, len(paths) - done, seconds)


def _write(catalog: Catalog, model: str, captioner: Captioner, batch: dict[str, np.ndarray]) -> int:
    if batch:
        captions = captioner.write(np.stack(list(batch.values())))
        catalog.add_captions(model, dict(zip(batch, captions, strict=True)))
    return len(batch)

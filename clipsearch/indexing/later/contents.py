"""What is made of photos later, content by content: decoded ahead, and kept a batch at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from clipsearch.indexing.loading import STOPPED, Loaded, Loaders, Unread, load_ahead
from clipsearch.notation import counted
from clipsearch.photos.decoding.view import View
from clipsearch.progress import Progress

log = logging.getLogger("clipsearch")


@dataclass(frozen=True, slots=True)
class Done:
    """How far a run came, in contents."""

    made: int
    failed: int  # files that are not there, cannot be read, or changed since they were indexed
    left: int  # not looked at, since the run was stopped


def make_of_each(
    paths: Mapping[str, str],
    view: View,
    make: Callable[[dict[str, np.ndarray]], None],
    size: int,
    isolated: bool,
    progress: Progress,
    stopping: Callable[[], bool],
    what: str,
) -> Done:
    """Decode the files of contents, by digest, and `make` something of `size` of them at a time.

    `make` gets what `view` gives of each picture. `stopping` is asked after each file; once true,
    the batch at hand is still made. `what` says in a warning what those lack that failed.
    """
    made, done, unread = 0, 0, ""
    progress(0, len(paths))
    batch: dict[str, np.ndarray] = {}
    with Loaders(isolated=isolated, stopping=stopping) as pool:
        for done, (digest, result) in enumerate(load_ahead(paths, view, pool, 2 * size), 1):
            seen = _view(result, digest)
            if result is STOPPED:
                done -= 1
            elif isinstance(seen, str):
                unread = unread or f"{paths[digest]}: {seen}"
            else:
                batch[digest] = seen
            stopped = stopping()
            if len(batch) >= size or stopped or done == len(paths):
                if batch:
                    make(batch)
                made, batch = made + len(batch), {}
                progress(done, len(paths))
            if stopped:
                break
    failed = done - made
    if failed:
        log.warning("%s: %s; the first is %s", what, counted(failed, "photo"), unread)
    return Done(made, failed, len(paths) - done)


def _view(result: Loaded | Unread, digest: str) -> np.ndarray | str:
    """What is seen of a content, or why it is not."""
    if isinstance(result, Unread):
        return result.reason
    if result.digest != digest or result.views is None:
        return "it changed since it was indexed"
    view: np.ndarray = result.views[0]
    return view

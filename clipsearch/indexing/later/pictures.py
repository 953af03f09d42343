"""Perceptual hashes of photos that were indexed before there were any."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from clipsearch.errors import LibraryError
from clipsearch.indexing.loading import Loaded, Loaders, load_ahead
from clipsearch.notation import counted
from clipsearch.photos.decoding.view import View
from clipsearch.progress import Progress
from clipsearch.store.catalog import Catalog
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock

log = logging.getLogger("clipsearch")

_VIEW = View(224, "squash")  # decoded at the size that it is for a model
_AHEAD = 64  # files in flight
_A_COMMIT = 500  # what a stop costs at most


def all_pictures(
    folder: Path,
    catalog: Catalog,
    isolated: bool,
    progress: Progress,
) -> dict[str, bytes]:
    """The photos' perceptual hashes by digest; those that lack one are read for it first.

    That is remembered in the catalog of `folder`, unless it cannot be written now. A file that is
    not there, cannot be read or has changed since it was indexed has none.
    """
    known, paths = catalog.pictures(), catalog.paths_without_picture()
    if not paths:
        return known
    with Loaders(isolated=isolated) as loaders:
        found = _missing_pictures(folder, catalog, paths, loaders, progress)
    if len(found) < len(paths):
        log.warning(
            "left out: %s not there, or not as indexed; to bring the index up to date:"
            " clipsearch index", counted(len(paths) - len(found), "photo"),
        )  # fmt: skip
    return known | found


def _missing_pictures(
    folder: Path,
    catalog: Catalog,
    paths: Mapping[str, str],
    loaders: Loaders,
    progress: Progress,
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    fresh: dict[str, bytes] = {}
    progress(0, len(paths))
    for done, (digest, result) in enumerate(load_ahead(paths, _VIEW, loaders, _AHEAD), 1):
        if isinstance(result, Loaded) and result.digest == digest and result.phash is not None:
            found[digest] = fresh[digest] = result.phash
        if len(fresh) >= _A_COMMIT or done == len(paths):
            _remember(folder, catalog, fresh)
            fresh = {}
        progress(done, len(paths))
    return found


def _remember(folder: Path, catalog: Catalog, pictures: dict[str, bytes]) -> None:
    if catalog.is_read_only:
        return
    # Another process writes, or the disk is read-only or full: an answer is due in any case.
    with suppress(LibraryError), explained(folder), write_lock(folder):
        catalog.add_pictures(pictures.items())

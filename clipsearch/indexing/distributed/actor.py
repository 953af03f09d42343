"""What runs on the machines of the cluster: actors that embed, and one that shares out contents."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from clipsearch.encoders import Encoder
from clipsearch.errors import ClipsearchError
from clipsearch.indexing.loading import Limits, Loaded, Loaders, Unread, hash_file, load_ahead
from clipsearch.indexing.pipeline import Result, embed
from clipsearch.photos.files.urls import is_url

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Job:
    """What an actor has to know."""

    encoder: Callable[[], Encoder]
    limits: Limits
    batch_size: int | None  # None is what suits the encoder


@dataclass(slots=True)
class Report:
    """What became of a block."""

    machine: str
    results: dict[int, Result] = field(default_factory=dict)  # by the file's number in the plan
    # Those of whose folder nothing can be had, and why.
    unseen: dict[int, str] = field(default_factory=dict)
    fault: str | None = None  # why this machine can do none


class Claims:
    """Which file each content is embedded from: the first that asks. One for all actors."""

    def __init__(self, embedded: set[str]) -> None:
        self._embedded = embedded
        self._owners: dict[str, int] = {}

    def claim(self, contents: dict[int, str]) -> set[int]:
        """The files, by key, that are to be embedded; a block that runs again gets the same."""
        return {
            key
            for key, digest in contents.items()
            if digest not in self._embedded and self._owners.setdefault(digest, key) == key
        }


class Embedder:
    """An actor: one model and its decoders, for one block after the other."""

    def __init__(self, job: Job, decoders: int, claims: Any) -> None:
        self._claims = claims
        self._machine = _name_of_this_machine()
        self._fault: str | None = None
        self._loaders = Loaders(decoders, True, job.limits)
        self._hashers = ThreadPoolExecutor(decoders, "clipsearch-hash")
        try:
            self._encoder = job.encoder()
            self._batch_size = job.batch_size or self._encoder.batch_size
        except ClipsearchError as error:  # told as a result, since Ray would only try again
            self._fault = str(error)

    def __call__(self, block: pa.Table) -> dict[str, list[bytes]]:
        """The block's `Report`, pickled, as a batch of one."""
        report = Report(self._machine, fault=self._fault)
        if not self._fault:
            keys, paths = block["key"].to_pylist(), map(os.fsdecode, block["path"].to_pylist())
            files = dict(zip(keys, paths, strict=True))
            shared = [
                key for key, has in zip(keys, block["is_shared"].to_pylist(), strict=True) if has
            ]
            report.results = self._copies(files, shared)
            report.results |= self._embedded(
                {key: path for key, path in files.items() if key not in report.results}
            )
            report.unseen = _unseen(report.results, files)
        return {"report": [pickle.dumps(report)]}

    def _copies(self, files: dict[int, str], shared: list[int]) -> dict[int, Result]:
        """What came of those files that are not to be embedded, for they hold what others do."""
        import ray

        if not shared:
            return {}
        results = self._hashers.map(hash_file, [files[key] for key in shared])
        hashed = dict(zip(shared, results, strict=True))
        contents = {key: it.digest for key, it in hashed.items() if isinstance(it, Loaded)}
        claimed = ray.get(self._claims.claim.remote(contents))
        return {key: it for key, it in hashed.items() if key not in claimed}

    def _embedded(self, files: dict[int, str]) -> dict[int, Result]:
        results: dict[int, Result] = {}
        batch: dict[int, Loaded] = {}
        size = self._batch_size
        for key, loaded in load_ahead(files, self._encoder.prepare, self._loaders, 2 * size):
            if isinstance(loaded, Unread):
                results[key] = loaded
            else:
                batch[key] = loaded
            if len(batch) == size:
                results |= self._embed(batch)
                batch = {}
        return results | self._embed(batch)

    def _embed(self, batch: dict[int, Loaded]) -> dict[int, Result]:
        if not batch:
            return {}
        views = [loaded.views for loaded in batch.values() if loaded.views is not None]
        rows = embed(self._encoder, views)
        return {
            key: replace(loaded, views=None, embedding=row)
            for (key, loaded), row in zip(batch.items(), rows, strict=True)
        }


def _unseen(results: dict[int, Result], files: dict[int, str]) -> dict[int, str]:
    """Those files that cannot be had and nothing else of their folder either."""
    unread = [key for key, it in results.items() if isinstance(it, Unread) and not it.lasting]
    why = cache(fault_of)  # of many files of a folder, which takes requests at a URL
    faults = {key: why(os.path.dirname(files[key])) for key in unread}
    return {key: fault for key, fault in faults.items() if fault is not None}


def fault_of(folder: str) -> str | None:
    """Why nothing of a folder can be had here, None if something can."""
    if is_url(folder):
        from clipsearch.photos.files import remote

        return remote.fault_of(folder)
    try:
        with os.scandir(folder) as inside:
            return None if next(inside, None) else "it is empty"
    except OSError as error:
        return error.strerror or str(error)


def _name_of_this_machine() -> str:
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"

"""One index folder opened as one object: the public Python API.

What only some calls need is imported by them: a run with nothing to do needs no NumPy.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar

from clipsearch import encoders
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import (
    LARGEST,
    ClipsearchError,
    InvalidInput,
    LibraryBusy,
    LibraryError,
    check_number,
)
from clipsearch.models import Models
from clipsearch.photos.scan import ScanRules
from clipsearch.photos.urls import Url, is_url, joined, normal, photo_path
from clipsearch.search.results import Hit, Photo
from clipsearch.store.catalog import (
    EVERYTHING,
    Catalog,
    Model,
    Root,
    Selection,
    StoredPhoto,
)
from clipsearch.store.database import FILE_NAME, Origin, is_below, place_of
from clipsearch.store.departed import MOST_DAYS, Kept
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock
from clipsearch.store.ownership import others_in
from clipsearch.store.running import Run, running, telling

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from clipsearch.indexing.captions import CaptionReport
    from clipsearch.indexing.distributed import Cluster
    from clipsearch.indexing.plan import Counts, Doubts, Plan, Ready, Target
    from clipsearch.indexing.targets import Held
    from clipsearch.photos.isolated import Processes
    from clipsearch.photos.urls import PhotoPath
    from clipsearch.search.duplicates import Group, Kind
    from clipsearch.search.facets import Facets
    from clipsearch.search.filters import Filters
    from clipsearch.search.hybrid import Written
    from clipsearch.search.labels import Label, LabelCount, LabelledPhoto, Labels, LabelSet
    from clipsearch.search.many import Answer, Question
    from clipsearch.search.pictures import Picture
    from clipsearch.search.query import Spaces
    from clipsearch.search.scoring import Scores
    from clipsearch.store.approximate import Optimized
    from clipsearch.store.copying import Copied
    from clipsearch.store.moving import Moved

log = logging.getLogger("clipsearch")

P = ParamSpec("P")
T = TypeVar("T")

StrPath = str | os.PathLike[str]
Progress = Callable[[int, int], None]

# A watcher writes for a moment, and then others may.
_PATIENCE = 3.0  # seconds
_LONGEST_POLL = 366 * 86_400  # seconds, and less than any system counts in its waits


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, in photos."""

    added: int
    updated: int
    moved: int
    removed: int
    unchanged: int
    failed: int
    embedded: int  # contents that a model saw for the first time
    seconds: float
    images_per_second: float  # files read, over the whole run
    complete: bool  # False if it was stopped before the end
    problems: tuple[str, ...]  # folders that could not be looked at, a line each
    note: str | None  # why this model, where nobody chose it
    # How many pictures of kinds that are not read were passed over, by extension, most first.
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def has_changes(self) -> bool:
        """Whether anything is other than before."""
        return any((self.added, self.updated, self.moved, self.removed, self.failed, self.embedded))


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder."""

    path: str
    photos: int
    # Whether the folder is there now, and not empty where it held photos; a URL is not asked.
    present: bool
    rules: ScanRules  # which of its photos are looked at
    # What holds besides in folders that were indexed by themselves before, by their paths in it.
    folders: dict[str, ScanRules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model whose embeddings the index holds."""

    spec: str
    vectors: int
    dim: int
    note: str | None
    runtime: str  # what embeds pictures with it, "torch" or "onnx"


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds."""

    photos: int
    roots: tuple[RootStatus, ...]
    models: tuple[ModelStatus, ...]
    failures: tuple[tuple[str, str], ...]  # path, reason
    bytes: dict[str, int]  # "catalog", "vectors" and "total"
    indexing: Run | None  # the index run that is under way
    captions: dict[str, int]  # contents that a model wrote about, by the model's name
    store: str  # "faiss", or the address of the engine that the vectors are in
    copy_of: Origin | None  # the index that this is a copy of
    kept: Kept  # what left the index and is kept for when it comes back


def default_folder() -> Path:
    """The index folder where none is named: CLIPSEARCH_INDEX, or the platform's data folder."""
    chosen = os.environ.get("CLIPSEARCH_INDEX")
    if chosen:
        return _expanded(chosen)
    from platformdirs import user_data_path

    return user_data_path("clipsearch", appauthor=False) / "index"


class _How(NamedTuple):
    """How an index run does its work."""

    batch_size: int | None
    workers: int | None
    isolated: bool
    max_megapixels: int | None
    frames: int
    progress: Progress | None
    stopping: Callable[[], bool] | None
    ready: Ready | None = None
    cluster: Cluster | None = None  # the machines that read and embed, if not this one


def _asked(
    method: Callable[Concatenate[Library, P], T],
) -> Callable[Concatenate[Library, P], T]:
    """A method that is answered from one state of the index, the latest."""

    @wraps(method)
    def asked(self: Library, /, *args: P.args, **named: P.kwargs) -> T:
        with explained(self.folder):
            return self._catalog.ask(lambda: method(self, *args, **named))

    return asked


class Library:
    """An index of photos: bring it up to date, and ask it.

    Open one with `Library.open`; it is a context manager. Use an instance from one thread at a
    time; `twin` gives others theirs.
    """

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        models: Models,
        mounted: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._catalog = catalog
        self._models = models
        self._mounted = mounted
        if mounted:
            catalog.mount(mounted)
        self._identity = _identity_of(folder)

    @classmethod
    def open(
        cls,
        folder: StrPath | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        create: bool = True,
        encoder: encoders.Encoder | None = None,
        mounted: Mapping[str, StrPath] | None = None,
    ) -> Library:
        """Open an index folder, made first if there is none and `create` is true.

        `model` is a spec (see docs/models.md); None takes the index's main one, which is its
        first, or for a new index the default. `device` is "auto" or a torch device. The model is
        loaded when it is needed, unless an `encoder` of it is given that is loaded already.

        `mounted` tells where indexed folders, or folders above them, are on this machine, if they
        are elsewhere than where they were indexed; all paths are then those of this machine, and
        nothing can be written.

        Raises:
            InvalidInput: `mounted` names no indexed folder, or a place that is none.
            LibraryError: the folder is no index, or cannot be used.
            ModelError: `model` names no model.
            ModelMismatch: `encoder` is not the one that made the index's vectors.
        """
        path = _expanded(folder) if folder is not None else default_folder()
        spec = parse_spec(model) if model is not None else None
        with explained(path):
            if create:
                _make_folder(path)
                catalog = Catalog.create(path)
            else:
                catalog = Catalog.open(path)
            places = _checked_places(catalog, mounted) if mounted else None
            return cls(path, catalog, Models(catalog, spec, device, encoder), places)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the index's files."""
        self._catalog.close()

    # For a process that stays and answers many

    def twin(self) -> Library:
        """The same index opened once more, for another thread; models are loaded once for both."""
        with explained(self.folder):
            catalog = Catalog.open(self.folder)
            return Library(self.folder, catalog, self._models.on(catalog), self._mounted)

    def is_replaced(self) -> bool:
        """Whether another index, or none, stands by now where this one was opened."""
        return _identity_of(self.folder) != self._identity

    def check_writable(self) -> None:
        """Raise LibraryError if this is a copy of an index, or opened with `mounted` folders."""
        self._catalog.check_writable()

    def stay(self) -> None:
        """Prepare for many questions: models are loaded to answer fast, not to start fast.

        What is asked is remembered in this process and no more in the index.
        """
        self._models.stay()

    @_asked
    def load(self) -> None:
        """Load what embeds words, unless it is loaded.

        Raises:
            ModelError, ModelMismatch: it cannot be loaded.
        """
        with explained(self.folder):
            model = self._models.chosen()
            if model is not None:
                self._models.texts(model)

    @_asked
    def is_loaded(self) -> bool:
        """Whether questions in words are answered without loading anything first."""
        with explained(self.folder):
            model = self._models.chosen()
            return model is None or self._models.is_loaded(model)

    @_asked
    def answer(
        self, questions: Sequence[Question], model: str | None = None
    ) -> list[Answer | InvalidInput]:
        """The answers to several questions, at less cost than one after the other.

        What is wrong with one of them stands in its place. `model` is one of the index's models.

        Raises:
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.many import Answer, answer_many

        with explained(self.folder):
            chosen = self._models.chosen(model)
            if chosen is None:
                return [Answer([], self._catalog.count_photos())] * len(questions)
            return answer_many(self._spaces.of(chosen), self._models, questions)

    @_asked
    def embed(
        self,
        picture: bytes | StoredPhoto,
        *,
        region: str | None = None,
        model: str | None = None,
        processes: Processes | None = None,
    ) -> np.ndarray | None:
        """What a model makes of a picture, or a region of it: (dim,) float32, unit length.

        `picture` is a file's content, or a photo of the index. `processes` decode it, where there
        are any. None is for an index that has no model yet.

        Raises:
            InvalidInput: it is no picture, or a region that is not in it.
            FileUnreadable: the photo's file is not there.
            PhotoError: the photo's file is another by now.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.photos.opening import read_below
        from clipsearch.search.pictures import (
            Picture,
            embed_picture,
            parse_region,
            stored_embedding,
        )

        part = parse_region(region) if region is not None else None
        with explained(self.folder):
            chosen = self._models.chosen(model)
            if chosen is None:
                return None
            if isinstance(picture, bytes):
                content = picture
            else:
                stored = stored_embedding(chosen, self._catalog, picture.row.digest)
                if part is None and stored is not None:
                    return stored
                content = read_below(picture.place)
            named = Picture(content, "the picture")
            return embed_picture(named, self._models, chosen, self._catalog, part, processes)

    # Indexing

    def index(
        self,
        paths: Sequence[StrPath] = (),
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        prune: bool = False,
        verify: bool = False,
        retry: bool = False,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        follow_links: bool | None = None,
        raw_too: bool | None = None,
        max_megapixels: int | None = None,
        frames: int = 1,
        runtime: str | None = None,
        store: str | None = None,
        isolated: bool = False,
        ray: str | None = None,
        ray_gpus: float | None = None,
        keep_for: int | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Bring folders up to date; with no `paths`, all that the index knows.

        New and changed photos are read and embedded, moved ones keep their row, and what is gone
        is removed; a folder that is missing or suddenly empty removes nothing unless `prune`.
        `verify` reads every file again, for contents that changed under the same size and mtime,
        and for what an older version could not read of them;
        `retry` reads again those that failed and have not changed since.

        `include` and `exclude` are gitignore patterns, relative to an indexed folder: only what
        matches the first is looked at, and never what matches the second. `follow_links` also
        looks behind symbolic links, and `raw_too` keeps RAW files whose JPEG lies beside them.
        These four are remembered with the folder; None leaves them as they were.

        A picture that takes more than `max_megapixels` (256) to decode is refused. Of an animation
        the first frame counts, or the mean embedding of `frames` evenly spaced ones.

        `runtime` is what embeds pictures: "torch", or "onnx" for ONNX Runtime, to which the model
        is exported first; it is remembered with the model, and None leaves it as it was.

        `store` says where a new index keeps its vectors for searching: "faiss", which is its own
        folder, or "milvus:http://HOST:19530" (docs/scale.md). It is remembered; `move` changes it.

        The embeddings and captions of what leaves the index are kept for `keep_for` days (30), and
        found again by the content when it comes back. It is remembered, and holds for what is kept
        already too: 0 frees all of it now.

        `progress` gets the number of files done and their total. `stopping` is asked after each
        file; once true, the run ends after committing what it has. With `isolated`, files are
        decoded in processes of their own, so that one that crashes or hangs a decoder costs
        itself alone; as always with `multiprocessing`, a script must then guard its main part.

        With `ray`, the machines of a Ray cluster read and embed, each process with `workers`
        decoders: it is the cluster's HOST:PORT, or "local" for one of this machine alone.
        `ray_gpus` is how much of a GPU one process gets: 1 where there are any. The folders must
        lie at the same place on all machines (see docs/scale.md).

        Raises:
            InvalidInput: a path that is no folder, numbers that make no sense, or a `store` that
                is none or not the one where the vectors are.
            ClusterError: the cluster cannot be used, or does not see the folders.
            LibraryBusy: another process is writing to this index.
            ModelMismatch, WeightsUnavailable, ModelError: the model cannot be used.
            LibraryError: the disk is full or read-only, or the store does not answer.
        """
        from clipsearch.indexing.plan import Doubts
        from clipsearch.indexing.targets import (
            RuleChanges,
            change_rules,
            choose_targets,
            take_back_roots,
        )

        check_number("--batch-size", batch_size, 1)
        check_number("--workers", workers, 1)
        check_number("--max-megapixels", max_megapixels, 1)
        check_number("--frames", frames, 1)
        check_number("--keep-for", keep_for, 0, MOST_DAYS)
        how = _How(batch_size, workers, isolated, max_megapixels, frames, progress, stopping)
        if ray is not None:
            from clipsearch.indexing.distributed import Cluster

            how = how._replace(cluster=Cluster(ray, ray_gpus))
        elif ray_gpus is not None:
            raise InvalidInput("--ray-gpus is for the machines of --ray, which is not given")
        with self._writing(_PATIENCE):
            roots = self._catalog.roots()
            targets = choose_targets(self._catalog, [os.fspath(path) for path in paths])
            try:
                if store is not None:
                    from clipsearch.store.moving import choose

                    choose(self._catalog, store)
                changes = RuleChanges(include, exclude, follow_links, raw_too)
                change_rules(self._catalog, targets, changes)
                if runtime is not None:
                    self._models.run_by(runtime)
                if verify:
                    self._catalog.rebuild_words()
                    self._catalog.remove_damaged_vectors()
                if keep_for is not None:
                    self._catalog.keep_for(keep_for)
                report, _ = self._look(targets, Doubts(prune, verify, retry), how)
            except ClipsearchError:
                take_back_roots(self._catalog, roots)
                raise
        for problem in report.problems:
            log.warning("%s", problem)
        return report

    def watch(
        self,
        paths: Iterable[StrPath] = (),
        *,
        stop: threading.Event,
        poll: float | None = None,
        isolated: bool = False,
        on_run: Callable[[IndexReport], None] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Bring folders up to date, and then follow them until `stop` is set; none means all.

        New, changed, moved and deleted files are seen as the system tells of them, and taken when
        they are complete: within two seconds where the model is loaded, which it is from the
        first new photo on. On network folders, and where the system cannot tell, the folders are
        looked at every 30 seconds instead, or every `poll` seconds if that is given.

        A folder that goes away keeps its photos and is followed again when it is back. While
        another process writes to the index, this one waits. `on_run` gets a report of the first
        look at the folders, and of each later one that changed something. `progress` and
        `isolated` are as in `index`; once `stop` is set, the photos in work are still committed.

        Raises:
            InvalidInput: a path that is no folder, no folders at all, or `poll` not above 0.
            ModelMismatch, WeightsUnavailable, ModelError: the model cannot be used.
            LibraryError: the disk is full or read-only.
        """
        from clipsearch.indexing.plan import USUAL
        from clipsearch.indexing.targets import take_back_roots
        from clipsearch.indexing.watch import Watcher

        if poll is not None and poll <= 0:
            raise InvalidInput(f"--poll must be above 0 seconds, not {poll}")
        check_number("--poll", poll, 0, _LONGEST_POLL)
        how = _How(None, None, isolated, None, 1, progress, stop.is_set)
        is_first = True

        def look(targets: Callable[[], Sequence[Target]], ready: Ready) -> Plan:
            nonlocal is_first
            with write_lock(self.folder):
                self._check_place()
                report, plan = self._look(targets(), USUAL, how._replace(ready=ready))
            if on_run and (is_first or report.has_changes):
                on_run(report)
            is_first = False
            return plan

        with explained(self.folder):
            self._catalog.open_to_write()
            folders, added = self._folders_to_watch(paths, stop)
            try:
                Watcher(self._catalog, folders, look, poll).run(stop)
            except ClipsearchError:
                with suppress(LibraryBusy), write_lock(self.folder, _PATIENCE):
                    others = [root for root in self._catalog.roots() if root not in added]
                    take_back_roots(self._catalog, others)
                raise

    def write_captions(
        self,
        folders: Sequence[StrPath] = (),
        *,
        model: str = "blip",
        batch_size: int | None = None,
        isolated: bool = False,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> CaptionReport:
        """Have a model write captions for photos that have none by it; all, or those of folders.

        They are kept in the index and looked for by `query` with `hybrid`. `model` is "blip",
        "blip-large", "vit-gpt2", "coca", "coca-large", a repository of the hub, a folder that
        transformers wrote, or open_clip's name of a CoCa model. `progress`, `stopping` and
        `isolated` are as in `index`; what is done is kept, and the next run goes on from there.

        Raises:
            InvalidInput: a folder that the index does not know, or `batch_size` below 1.
            ModelError, WeightsUnavailable: the model cannot be used.
            LibraryError: the index cannot be used.
        """
        from clipsearch.encoders.captioning import captioner_name, load_captioner
        from clipsearch.indexing.captions import write_captions
        from clipsearch.indexing.loading import Loaders, usual_workers
        from clipsearch.search.filters import Filters, no_photos_below

        check_number("--batch-size", batch_size, 1)
        name = captioner_name(model)
        stops = stopping or (lambda: False)
        with explained(self.folder):
            self._catalog.open_to_write()
            selection = self._selected(Filters(folder=folders))
            if folders and not self._catalog.count_selected(selection):
                raise no_photos_below(" or ".join(map(str, folders)))
            return write_captions(
                self._catalog, name, partial(load_captioner, name, self._models.device), selection,
                partial(Loaders, usual_workers(), isolated, stopping=stops), batch_size,
                progress or (lambda done, total: None), stops,
            )  # fmt: skip

    @_asked
    def captions(self, image: StrPath) -> dict[str, str]:
        """What models wrote about a photo, by the model's name; none if it is not indexed.

        Raises:
            InvalidInput: the photo cannot be read.
        """
        from hashlib import sha256

        with explained(self.folder):
            content = self._read_picture(image).content
            assert isinstance(content, bytes)
            return self._catalog.captions_of(sha256(content).hexdigest())

    def forget(self, path: StrPath, *, keep_for: int | None = None) -> int:
        """Take a folder or a photo out of the index; gives the number of photos taken out.

        Files are never touched. A part of an indexed folder stays out of later runs until it is
        named to `index` again. Until then, and for `keep_for` days at most, embeddings and captions
        are kept, so that nothing is embedded again; None is what the index keeps all for (30).

        Raises:
            InvalidInput: the index does not know the path, or `keep_for` makes no sense.
        """
        from clipsearch.indexing.targets import forget

        check_number("--keep-for", keep_for, 0, MOST_DAYS)
        with self._writing(_PATIENCE):
            taken = forget(self._catalog, os.fspath(path), keep_for)
            self._bring_up_vectors()
        return taken

    def held_at(self, path: StrPath) -> Held:
        """What `forget` would take out of the index.

        Raises:
            InvalidInput: the index does not know the path.
        """
        from clipsearch.indexing.targets import held_at

        with explained(self.folder):
            return held_at(self._catalog, os.fspath(path))

    def optimize(
        self, *, force: bool = False, progress: Progress | None = None
    ) -> tuple[Optimized, ...]:
        """Build an approximate index for each model whose exact search takes over 100 ms.

        From then on `query` and `similar` use it, and an index run builds it again when much has
        changed. `force` builds it in any case. `progress` gets the work done and its total. What
        was there stays until the new one is complete.

        Raises:
            InvalidInput: `force` with too few photos.
            LibraryBusy: another process is writing to this index.
            LibraryError: the disk is full or read-only, or the vectors do not allow it.
        """
        from clipsearch.store.approximate import optimize
        from clipsearch.store.sync import bring_up, vector_file

        done = []
        with self._writing():
            if engine := self._catalog.engine():
                raise InvalidInput(
                    f"the vectors of this index are in {engine.address}, which keeps an"
                    " approximate index by itself"
                )
            for model in self._catalog.models():
                vectors = vector_file(self.folder, model)
                bring_up(self._catalog, model, vectors)
                done.append(optimize(model.spec, vectors, force, progress))
        return tuple(done)

    def move(self, store: str, *, progress: Progress | None = None) -> Moved:
        """Bring the vectors to another store and search there from then on.

        `store` is "faiss", the files of the index folder, or "milvus:http://HOST:19530". What is
        there is read back and compared before the old place is cleared. A move that was stopped
        goes on where it was, and one to where the vectors are already looks whether they are
        right. `progress` gets the photos done and their total.

        Raises:
            InvalidInput: it is no store.
            LibraryBusy: another process is writing to this index.
            LibraryError: no engine answers there, or it does not hold what it was given.
        """
        from clipsearch.store.moving import move

        with self._writing(_PATIENCE):
            return move(self.folder, self._catalog, store, progress)

    @_asked
    def copy(
        self, folder: StrPath, *, own: bool = False, progress: Progress | None = None
    ) -> Copied:
        """Copy the index to another folder, as it is at one moment, also while it is written.

        A copy that is there already is replaced when the new one is complete. It can only be
        read, there by any number of machines; with `own` the folder gets an index of its own, as
        where a copy was a back-up. Photos are not copied, nor what was asked. `progress` gets
        bytes.

        Raises:
            InvalidInput: something else is there.
            LibraryBusy: another process is writing there.
            LibraryError: the disk is full or read-only.
        """
        from clipsearch.search.neutral import NEUTRAL
        from clipsearch.store.copying import copy

        show = progress or (lambda done, total: None)
        with explained(self.folder):
            return copy(self.folder, self._catalog, _expanded(folder), own, NEUTRAL, show)

    def export_texts(self) -> None:
        """Export the text towers of the index's models, unless that was done before.

        Later queries then need no torch. It takes some seconds, once for each model and user.
        """
        from clipsearch.search.neutral import NEUTRAL

        self._models.export_texts(NEUTRAL)

    def remove_model(self, spec: str) -> int:
        """Take a model with its embeddings out of the index; gives how many there were.

        The first of those left becomes the main one. Photos are kept.

        Raises:
            InvalidInput: the index has no such model, or no other.
        """
        with self._writing(_PATIENCE):
            return self._models.remove(parse_spec(spec), self.folder)

    # Asking

    @_asked
    def query(
        self,
        text: str = "",
        k: int | None = 10,
        *,
        images: Sequence[StrPath | Image.Image] = (),
        minus: Sequence[str] = (),
        image_weight: float = 1.0,
        filters: Filters | None = None,
        allow_url: bool = False,
        exact: bool = False,
        relevant: bool = False,
        hybrid: bool = False,
        rerank: str | None = None,
        isolated: bool = False,
    ) -> list[Hit]:
        """The k photos that fit words, pictures, or both together best, best first; None is all.

        `text` is words, or several parts with signs and weights, as "horse + 2*stripes - fence +
        ./pool.jpg"; `images` are pictures (files, "-" for stdin, or PIL images) that count
        `image_weight` each, and `minus` are parts that count against. Only photos that satisfy
        the `filters` are looked at. Pictures behind a URL are fetched only with `allow_url`. Where
        the index was optimized, `exact` compares with every photo all the same. `relevant` leaves
        out what does not stand out (see `Hit.relevance`), which may be all.

        `hybrid` looks for the words also in file names, captions, titles and keywords, and fuses
        both rankings; what stands in double quotes must occur there. `rerank` is a model that
        orders the first 32 answers by how well picture and words fit together: "blip",
        "blip-large", a repository of the hub or a folder of BLIP for image-text retrieval; their
        files are read for it, `isolated` as in `index`.

        Raises:
            InvalidInput: nothing is asked for, a part, a weight or a filter that makes no sense,
                a picture that cannot be read, k below 1, or `hybrid` or `rerank`
                without words.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.neutral import NEUTRAL
        from clipsearch.search.query import check_k
        from clipsearch.search.question import (
            Term,
            check_weight,
            combine,
            parse_question,
            parse_term,
        )

        check_k(k)
        terms = parse_question(text) if text.strip() or not (images or minus) else []
        terms += [Term(image, check_weight(image_weight), True) for image in images]
        terms += [parse_term(part, -1.0) for part in minus]
        written = None
        if hybrid:
            from clipsearch.search.hybrid import read_written

            written = read_written(terms)
            terms = [term.without_quotes() for term in terms]
        sentence = ""
        if rerank is not None:
            from clipsearch.search.rerank import FIRST, sentence_of

            sentence = sentence_of(terms)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                return []

            def embed(term: Term) -> np.ndarray:
                if not term.is_picture:
                    row: np.ndarray = self._models.embed_texts(model, [str(term.content)])[0]
                    return row
                from clipsearch.search.pictures import embed_picture

                picture = self._read_picture(term.content, allow_url)
                return embed_picture(picture, self._models, model, self._catalog)

            words = not any(term.is_picture for term in terms)
            neutral = partial(self._models.embed_neutral, model, NEUTRAL) if words else None
            vector = combine(terms, embed)
            reach = max(k, FIRST) if k is not None and rerank is not None else k
            hits = self._nearest(
                model, vector, reach, filters, exact, relevant, neutral=neutral, written=written
            )
            if rerank is not None and hits:
                hits = self._reranked(hits, sentence, rerank, isolated)
            return hits[:k]

    @_asked
    def similar(
        self,
        image: StrPath | Image.Image,
        k: int | None = 10,
        *,
        region: str | None = None,
        mask: StrPath | Image.Image | None = None,
        filters: Filters | None = None,
        allow_url: bool = False,
        exact: bool = False,
        relevant: bool = False,
    ) -> list[Hit]:
        """The k photos that look most like a picture, or a part of it, best first; None is all.

        `image` is any image file, indexed or not, "-" for stdin, a URL with `allow_url`, or a PIL
        image. The very file asked with is left out; copies of it are not. `region` is
        "x,y,width,height" in pixels or percent of the upright picture, `mask` a picture that is
        white where the part is, for an index made with Alpha-CLIP. `exact` and `relevant` are as
        in `query`.

        Raises:
            InvalidInput: the image or the mask cannot be read, a region or filter that makes no
                sense, a region and a mask, a mask that the model cannot see, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.pictures import embed_picture, parse_part
        from clipsearch.search.query import check_k

        check_k(k)
        part = parse_part(region, mask)
        with explained(self.folder):
            model = self._models.chosen()
            picture = self._read_picture(image, allow_url)
            if model is None:
                return []
            vector = embed_picture(picture, self._models, model, self._catalog, part)
            file = _place_of(image) if isinstance(image, (str, os.PathLike)) else None
            return self._nearest(model, vector, k, filters, exact, relevant, file)

    @_asked
    def photos(
        self, filters: Filters | None = None, k: int | None = None, offset: int = 0
    ) -> list[Photo]:
        """The photos that satisfy the filters, the latest taken first; all, or at most k.

        The first `offset` of them are passed over.

        Raises:
            InvalidInput: a filter that makes no sense, or k below 1.
        """
        from clipsearch.search.presence import Presence
        from clipsearch.search.query import check_k

        check_k(k)
        check_number("an offset", offset, 0, LARGEST)
        with explained(self.folder):
            rows = self._catalog.photos(self._selected(filters), -1 if k is None else k, offset)
            there = Presence(self._catalog).of
            return [Photo(photo_path(it.path), it.id, it.facts, there(it.path)) for it in rows]

    @_asked
    def count(self, filters: Filters | None = None) -> int:
        """How many photos satisfy the filters.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        with explained(self.folder):
            return self._catalog.count_selected(self._selected(filters))

    @_asked
    def facets(self, filters: Filters | None = None) -> Facets:
        """The photos that satisfy the filters, counted by folder, camera, month and kind.

        Raises:
            InvalidInput: a filter that makes no sense.
        """
        from clipsearch.search.facets import count_facets

        with explained(self.folder):
            return count_facets(self._catalog, self._selected(filters))

    @_asked
    def stored(self, id: int) -> StoredPhoto | None:
        """A photo with its content's digest and its file's place, by its id; None if it is gone."""
        with explained(self.folder):
            # Beyond 64 bits there is no id, and SQLite takes no such number.
            return self._catalog.stored(id) if 0 < id < 1 << 63 else None

    def photo(self, id: int) -> Photo:
        """The photo that has an id, as hits name it.

        Raises:
            InvalidInput: there is none.
        """
        stored = self.stored(id)
        if stored is None:
            raise InvalidInput(f"the index holds no photo with the id {id}")
        return Photo(photo_path(stored.row.path), id, stored.row.facts, self.is_present(stored))

    def is_present(self, photo: StoredPhoto) -> bool:
        """Whether a photo is there, and not on a drive that is away; one at a URL counts as that.

        Its file may be gone all the same, which the next index run sees.
        """
        from clipsearch.search.presence import Presence

        with explained(self.folder):
            return Presence(self._catalog).of(photo.row.path)

    @_asked
    def label(
        self,
        image: StrPath | Image.Image,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[Label]:
        """The k labels that fit a picture best, best first.

        `image` is any image file, indexed or not, or a PIL image. `labels` are a list of texts, a
        file with one a line, "imagenet", or by default a list of what people take photos of. Those
        that the model has not embedded yet take a moment each, once; `progress` gets the number
        done and their total.

        Raises:
            InvalidInput: no labels, the image cannot be read, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.labels import best_labels, read_labels
        from clipsearch.search.pictures import embed_picture
        from clipsearch.search.query import check_k

        check_k(k)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                return []
            names = read_labels(labels)
            vector = embed_picture(self._read_picture(image), self._models, model, self._catalog)
            return best_labels(vector, self._embed_labels(model, progress)(names), k)

    @_asked
    def count_labels(
        self,
        folder: StrPath | None = None,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[LabelCount]:
        """The k labels that are the best ones of most photos, in a folder or in all, most first.

        `labels` and `progress` are as for `label`.

        Raises:
            InvalidInput: no labels, a folder that the index does not know, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.labels import count_labels, read_labels
        from clipsearch.search.query import check_k
        from clipsearch.store.moving import opened

        check_k(k)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                return []
            embed = self._embed_labels(model, progress)
            vectors = opened(self.folder, self._catalog, model)
            return count_labels(
                self._catalog, model, vectors, read_labels(labels), embed, folder, k
            )

    @_asked
    def counted_labels(self, k: int = 100) -> list[LabelCount]:
        """As `count_labels` for all photos and the usual labels; none if that takes a model."""
        from clipsearch.search.labels import are_embedded, read_labels
        from clipsearch.search.query import check_k

        check_k(k)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None or not are_embedded(read_labels(None), self._label_file(model), model):
                return []
        return self.count_labels(k=k)

    @_asked
    def photos_labelled(
        self,
        label: str,
        folder: StrPath | None = None,
        labels: Labels = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[LabelledPhoto]:
        """The k photos, in a folder or in all, that a label is the best one of, surest first.

        `labels` and `progress` are as for `label`.

        Raises:
            InvalidInput: no such label, a folder that the index does not know, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.labels import photos_labelled, read_labels
        from clipsearch.search.query import check_k
        from clipsearch.store.moving import opened

        check_k(k)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                return []
            embed = self._embed_labels(model, progress)
            vectors = opened(self.folder, self._catalog, model)
            names = read_labels(labels)
            return photos_labelled(self._catalog, model, vectors, names, embed, label, folder, k)

    @_asked
    def score(self, images: Sequence[StrPath | Image.Image], texts: Sequence[str]) -> Scores:
        """How well each text fits each picture, indexed or not.

        Raises:
            InvalidInput: no images, no texts, an empty text, or an image that cannot be read.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.pictures import embed_picture
        from clipsearch.search.scoring import score_pictures

        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                raise InvalidInput(
                    "the index has no model yet; add photos, or name a model with --model and no"
                    " --index"
                )

            def embed(image: StrPath | Image.Image) -> np.ndarray:
                picture = self._read_picture(image)
                return embed_picture(picture, self._models, model, self._catalog)

            return score_pictures(images, texts, embed, partial(self._models.texts, model))

    @_asked
    def duplicates(
        self,
        kinds: Sequence[Kind] = ("bytes", "pictures", "shots"),
        *,
        within: float = 60.0,
        isolated: bool = False,
        progress: Progress | None = None,
    ) -> list[Group]:
        """Groups of photos that are duplicates, of three kinds that are never mixed.

        "bytes" are files with the same content; "pictures" are re-encoded, resized or mildly
        recoloured copies of a picture; "shots" look alike and were taken within so many seconds
        of each other, as EXIF tells. Nothing is deleted, and which photo to keep is a suggestion.
        Each file is looked at first: what is gone, away, not to be read or not as it was indexed is
        in no group, and one file with several names counts once.

        Photos indexed before there were perceptual hashes are read for theirs first; `progress`
        and `isolated` are as in `index`.

        Raises:
            InvalidInput: a kind that does not exist, or a negative `within`.
            LibraryError: the index cannot be used.
        """
        from clipsearch.indexing.loading import usual_workers
        from clipsearch.indexing.pictures import all_pictures
        from clipsearch.search.duplicates import check_kinds, find_duplicates

        check_kinds(kinds, within)
        with explained(self.folder):
            model = self._models.chosen()
            if model is None:
                return []
            hashes: Mapping[str, bytes] = {}
            if "pictures" in kinds or "shots" in kinds:
                hashes = all_pictures(
                    self.folder, self._catalog, usual_workers(), isolated,
                    progress or (lambda done, total: None),
                )  # fmt: skip
            return find_duplicates(self._catalog, model, hashes, kinds, within)

    @_asked
    def status(self) -> Status:
        """What the index holds and how large it is."""
        with explained(self.folder):
            models = self._catalog.models()
            catalog, vectors = map(self._bytes, (FILE_NAME + "*", "vectors/*"))
            return Status(
                self._catalog.count_photos(),
                tuple(self._root_status(root) for root in self._catalog.roots()),
                tuple(self._model_status(model) for model in models),
                tuple(self._catalog.failures()),
                {"catalog": catalog, "vectors": vectors, "total": catalog + vectors},
                running(self.folder),
                self._catalog.count_captions(),
                engine.address if (engine := self._catalog.engine()) else "faiss",
                self._catalog.origin,
                self._catalog.kept(),
            )

    # The parts of an index run

    def _look(
        self, targets: Sequence[Target], doubts: Doubts, how: _How
    ) -> tuple[IndexReport, Plan]:
        """Bring the targets up to date for all models; the caller holds the index's lock.

        Gives what was done, and the plan of it.
        """
        from clipsearch.indexing.plan import USUAL

        started = time.monotonic()
        models = self._models.to_index()
        counts, plan = self._bring_up(models[0], targets, doubts, how)
        read, embedded = counts.read, counts.embedded
        for other in models[1:]:
            # What the first model's run has seen on the disk, another may yet have to embed.
            if counts.complete and other and self._catalog.digests_without_vector(other.id):
                further, _ = self._bring_up(other, targets, USUAL, how)
                read, embedded = read + further.read, embedded + further.embedded
                counts.complete = further.complete
        self._catalog.expire()
        seconds = time.monotonic() - started
        report = IndexReport(
            counts.added, counts.updated, counts.moved, counts.removed, counts.unchanged,
            counts.failed, embedded, round(seconds, 3), round(read / max(seconds, 1e-9), 1),
            counts.complete, plan.said(),
            next((model.note for model in self._catalog.models()), None),
            dict(sorted(plan.passed_over.items(), key=lambda it: (-it[1], it[0]))),
        )  # fmt: skip
        return report, plan

    def _folders_to_watch(
        self, paths: Iterable[StrPath], stop: threading.Event
    ) -> tuple[list[str] | None, set[Root]]:
        """The real paths of the folders, None for all, and the roots that the index lacked."""
        from clipsearch.indexing.targets import choose_targets

        names = [os.fspath(path) for path in paths]
        if not names:
            choose_targets(self._catalog, names)
            return None, set()
        while not stop.is_set():
            with suppress(LibraryBusy), write_lock(self.folder, 1.0):
                known = self._catalog.roots()
                targets = choose_targets(self._catalog, names)
                folders = [joined(it.root.path, it.below) for it in targets]
                return folders, set(self._catalog.roots()).difference(known)
        return [], set()

    def _bring_up(
        self, model: Model | None, targets: Sequence[Target], doubts: Doubts, how: _How
    ) -> tuple[Counts, Plan]:
        """Compare the disk with the catalog and do what that asks for; None is a new model."""
        from clipsearch.indexing.plan import Counts, make_plan
        from clipsearch.indexing.targets import leave_moved_roots, settle

        plan = make_plan(self._catalog, model.id if model else None, targets, doubts, how.ready)
        settle(self._catalog, plan)
        if plan.is_empty:
            return Counts(unchanged=plan.unchanged), plan
        counts = self._carry_out(plan, model, how)
        counts.moved += len(plan.moves)
        leave_moved_roots(self._catalog, plan)
        return counts, plan

    def _carry_out(self, plan: Plan, model: Model | None, how: _How) -> Counts:
        from clipsearch.indexing.pipeline import clean_up
        from clipsearch.indexing.plan import Counts

        if plan.work:
            # Connected first: where that fails, nothing was done yet.
            with how.cluster.connected() if how.cluster else nullcontext():
                counts = self._embed_plan(plan, model or self._models.add(), how)
        else:
            counts = Counts(unchanged=plan.unchanged, removed=clean_up(self._catalog, plan))
        self._bring_up_vectors()
        return counts

    def _embed_plan(self, plan: Plan, model: Model, how: _How) -> Counts:
        from clipsearch.indexing.loading import Limits, Loaders, usual_workers
        from clipsearch.indexing.pipeline import Pipeline
        from clipsearch.photos.decode import MAX_PIXELS
        from clipsearch.store.moving import to_write

        vectors = to_write(self.folder, self._catalog, model)
        pixels = how.max_megapixels * 1_000_000 if how.max_megapixels else MAX_PIXELS
        limits = Limits(pixels, how.frames)
        stopping = how.stopping or (lambda: False)
        with telling(self.folder, how.progress) as progress:
            pipeline = Pipeline(
                self._catalog, model.id, vectors, partial(self._models.for_indexing, model),
                how.batch_size, progress,
            )  # fmt: skip
            counts = pipeline.counts
            if how.cluster:
                elsewhere = how.cluster.elsewhere(
                    self._models.recipe(model), limits, how.workers, how.batch_size, stopping
                )
                counts.complete = pipeline.run_elsewhere(plan, elsewhere, stopping)
            else:
                workers = min(how.workers or usual_workers(), len(plan.work))
                with Loaders(workers, how.isolated, limits, stopping) as loaders:
                    counts.complete = pipeline.run(plan, loaders, stopping)
        return counts

    @contextmanager
    def _writing(self, wait: float = 0) -> Iterator[None]:
        """Hold the right to write to the index."""
        with explained(self.folder):
            self._catalog.open_to_write()
            with write_lock(self.folder, wait):
                self._check_place()
                yield

    def _check_place(self) -> None:
        if self.is_replaced():  # what is written would be lost with the file that is open
            raise LibraryError(
                f"another index, or none, is in {self.folder} by now; run the same command again"
            )

    def _bring_up_vectors(self) -> None:
        from clipsearch.store.approximate import renew
        from clipsearch.store.moving import to_write
        from clipsearch.store.vector_store import FileStore

        for model in self._catalog.models():
            vectors = to_write(self.folder, self._catalog, model)
            if isinstance(vectors, FileStore):
                renew(vectors.file)

    def _nearest(
        self,
        model: Model,
        vector: np.ndarray,
        k: int | None,
        filters: Filters | None,
        exact: bool,
        relevant: bool,
        leave_out: PhotoPath | None = None,
        neutral: Callable[[], np.ndarray] | None = None,
        written: Written | None = None,
    ) -> list[Hit]:
        from clipsearch.search.filters import select
        from clipsearch.search.query import nearest_photos
        from clipsearch.search.results import stands_out

        selection = select(filters, self._catalog) if filters else None
        space = self._spaces.of(model)
        if written is None:
            hits = nearest_photos(space, vector, k, selection, leave_out, exact, neutral)
        else:
            from clipsearch.search.hybrid import fused_photos

            selection = written.narrowed(selection)
            hits = fused_photos(space, vector, k, selection, written, exact, neutral)
        return [hit for hit in hits if stands_out(hit)] if relevant else hits

    def _read_picture(self, image: StrPath | Image.Image, allow_url: bool = False) -> Picture:
        """A picture that is asked with; that of an indexed URL is one of the index's own."""
        from clipsearch.search.pictures import read_picture

        if isinstance(image, (str, os.PathLike)) and is_url(image):
            url = normal(os.fspath(image))
            if ".." not in url.split("/"):  # which some stores take for the folder above
                allow_url |= any(is_below(url, root.path) for root in self._catalog.roots())
        return read_picture(image, allow_url)

    def _reranked(self, hits: list[Hit], sentence: str, model: str, isolated: bool) -> list[Hit]:
        from clipsearch.encoders.captioning import load_matcher
        from clipsearch.indexing.loading import Loaders, usual_workers
        from clipsearch.search.rerank import reranked

        matcher = load_matcher(model, self._models.device)
        return reranked(hits, sentence, matcher, Loaders(usual_workers(), isolated))

    def _selected(self, filters: Filters | None) -> Selection:
        from clipsearch.search.filters import select

        return (select(filters, self._catalog) if filters else None) or EVERYTHING

    @cached_property
    def _spaces(self) -> Spaces:
        from clipsearch.search.query import Spaces

        return Spaces(self.folder, self._catalog)

    def _embed_labels(
        self, model: Model, progress: Progress | None
    ) -> Callable[[Sequence[str]], LabelSet]:
        from clipsearch.search.labels import embed_labels

        return partial(
            embed_labels, file=self._label_file(model), model=model,
            encoder=partial(self._models.texts, model),
            progress=progress or (lambda done, total: None), keep=not self._catalog.is_far,
        )  # fmt: skip

    def _label_file(self, model: Model) -> Path:
        from clipsearch.store.sync import vector_file

        return vector_file(self.folder, model).rows_path.with_suffix(".labels")

    def _bytes(self, pattern: str) -> int:
        """What the files take; one that another process replaces or removes meanwhile is none."""
        total = 0
        for file in self.folder.glob(pattern):
            with suppress(FileNotFoundError):
                total += file.stat().st_size
        return total

    def _root_status(self, root: Root) -> RootStatus:
        from clipsearch.search.presence import Presence

        there = is_url(root.path) or os.path.isdir(root.path)
        rules = self._catalog.rules(root.id)
        count, inner = self._catalog.count_photos(root.id), self._catalog.folder_rules(root.id)
        present = there and not (count and Presence(self._catalog).is_away(root))
        return RootStatus(root.path, count, present, rules, inner)

    def _model_status(self, model: Model) -> ModelStatus:
        count = self._catalog.fingerprint(model.id)[0]
        return ModelStatus(model.spec, count, model.dim, model.note, model.runtime)


def score(
    images: Sequence[StrPath | Image.Image],
    texts: Sequence[str],
    *,
    index: StrPath | None = None,
    model: str | None = None,
    device: str = "auto",
) -> Scores:
    """How well each text fits each picture, by the index's model or, without one, any.

    The index is the one named, or the default one where there is one and no `model` is named;
    without an index `model` is the one that a new index would get.

    Raises:
        InvalidInput: no images, no texts, an empty text, or an image that cannot be read.
        LibraryError, ModelError: the index or the model cannot be used.
    """
    from clipsearch.search.pictures import encode_picture, read_picture
    from clipsearch.search.scoring import score_pictures

    if index is not None or (model is None and (default_folder() / FILE_NAME).is_file()):
        with Library.open(index, model=model, device=device, create=False) as library:
            return library.score(images, texts)
    wanted = parse_spec(model) if model is not None else None
    encoder = cache(lambda: encoders.load_first(wanted, device)[1])
    return score_pictures(
        images, texts, lambda image: encode_picture(read_picture(image), encoder()), encoder
    )


def _identity_of(folder: Path) -> tuple[int, int] | None:
    """Tells the catalog's file from another that takes its place; None if there is none."""
    try:
        found = os.stat(folder / FILE_NAME)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise LibraryError(f"{folder} is or lies in a file; name a folder with --index") from error
    if _is_begun(folder):
        return  # opening it tells whether it is a catalog
    others = others_in(folder)
    if others and not _is_begun(folder):  # still not: another process may be making it just now
        raise LibraryError(
            f"{folder} is no index and holds other files ({others[0]}...); name an empty or a"
            " new folder with --index"
        )


def _is_begun(folder: Path) -> bool:
    """Whether a file that is not empty lies where a catalog would."""
    with suppress(FileNotFoundError):
        return (folder / FILE_NAME).stat().st_size > 0
    return False


def _place_of(image: StrPath) -> PhotoPath:
    """The one path, or URL, of a picture that is asked with."""
    if is_url(image):
        return Url(normal(os.fspath(image)))
    return _expanded(image).resolve()


def _checked_places(catalog: Catalog, mounted: Mapping[str, StrPath]) -> dict[str, str]:
    """Where folders of the index are on this machine, both with absolute paths."""
    roots = [root.path for root in catalog.roots()]
    places = {}
    for name, place in mounted.items():
        folder, real = os.path.normpath(name), os.path.realpath(_expanded(place))
        if not any(is_below(root, folder) for root in roots):
            known = ", ".join(roots) or "none"
            raise InvalidInput(f"{folder} is no folder of this index; its folders are: {known}")
        if not os.path.isdir(real):
            raise InvalidInput(f"there is no folder {real} for {folder}; is it mounted?")
        places[folder] = real
    there = Counter(place_of(root, places) for root in roots)
    if twice := [place for place, count in there.items() if count > 1]:
        raise InvalidInput(f"two folders of the index cannot both be at {twice[0]}")
    return places


def _expanded(path: StrPath) -> Path:
    return Path(os.path.expanduser(path))

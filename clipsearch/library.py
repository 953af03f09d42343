"""One index folder opened as one object: the public Python API.

What only some calls need is imported by them: a run with nothing to do needs no NumPy.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from clipsearch import encoders
from clipsearch.encoders.spec import Spec, parse_spec, sha256_of
from clipsearch.errors import (
    ClipsearchError,
    InvalidInput,
    LibraryBusy,
    LibraryError,
    ModelMismatch,
    PhotoError,
    WeightsUnavailable,
)
from clipsearch.search.results import Hit
from clipsearch.store.catalog import FILE_NAME, Catalog, Model, Root
from clipsearch.store.faults import explained
from clipsearch.store.lock import write_lock

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from clipsearch.indexing.plan import Counts, Plan
    from clipsearch.store.approximate import ApproximateIndex, Optimized
    from clipsearch.store.vectors import VectorFile

log = logging.getLogger("clipsearch")

StrPath = str | os.PathLike[str]
Progress = Callable[[int, int], None]

# What may lie in a folder that becomes an index; anything else there is somebody's own.
_HARMLESS = re.compile(r"README\.md|index\.(lock|pid)|catalog\.db.*|vectors|\..*")


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, in photos."""

    added: int
    updated: int
    moved: int
    removed: int
    unchanged: int
    failed: int
    seconds: float
    images_per_second: float  # files read, over the whole run
    complete: bool  # False if it was stopped before the end
    problems: tuple[str, ...]  # folders that could not be looked at, a line each
    note: str | None  # why this model, where nobody chose it


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder."""

    path: str
    photos: int
    present: bool  # whether the folder is there now


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model whose embeddings the index holds."""

    spec: str
    vectors: int
    dim: int
    note: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds."""

    photos: int
    roots: tuple[RootStatus, ...]
    models: tuple[ModelStatus, ...]
    failures: tuple[tuple[str, str], ...]  # path, reason
    bytes: dict[str, int]  # "catalog", "vectors" and "total"


def default_folder() -> Path:
    """The index folder where none is named: CLIPSEARCH_INDEX, or the platform's data folder."""
    chosen = os.environ.get("CLIPSEARCH_INDEX")
    if chosen:
        return _expanded(chosen)
    from platformdirs import user_data_path

    return user_data_path("clipsearch", appauthor=False) / "index"


class Library:
    """An index of photos: bring it up to date, and ask it.

    Open one with `Library.open`; it is a context manager. Use an instance from one thread.
    """

    def __init__(self, folder: Path, catalog: Catalog, model: Spec | None, device: str) -> None:
        self.folder = folder
        self._catalog = catalog
        self._wanted = model
        self._device = device
        self._spec = model
        self._note: str | None = None  # why this model, where nobody chose it
        self._loaded: encoders.Encoder | None = None
        self._loading = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: StrPath | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        create: bool = True,
        encoder: encoders.Encoder | None = None,
    ) -> Library:
        """Open an index folder, made first if there is none and `create` is true.

        `model` is a spec (see docs/models.md); None takes the index's own, or for a new index
        the default. `device` is "auto" or a torch device. The model is loaded when it is needed,
        unless an `encoder` of it is given that is loaded already.

        Raises:
            LibraryError: the folder is no index, or cannot be used.
            ModelError: `model` names no model.
        """
        path = _expanded(folder) if folder is not None else default_folder()
        spec = parse_spec(model) if model is not None else None
        with explained(path):
            if create:
                _make_folder(path)
                catalog = Catalog.create(path)
            else:
                catalog = Catalog.open(path)
        library = cls(path, catalog, spec, device)
        if encoder is not None:
            library._loaded = library._checked(encoder)
        return library

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
        isolated: bool = False,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Bring folders up to date; with no `paths`, all that the index knows.

        New and changed photos are read and embedded, moved ones keep their row, and what is gone
        is removed; a folder that is missing or suddenly empty removes nothing unless `prune`.
        `verify` reads every file again, for contents that changed under the same size and mtime;
        `retry` reads again those that failed and have not changed since.

        `include` and `exclude` are gitignore patterns, relative to an indexed folder: only what
        matches the first is looked at, and never what matches the second. `follow_links` also
        looks behind symbolic links, and `raw_too` keeps RAW files whose JPEG lies beside them.
        These four are remembered with the folder; None leaves them as they were.

        A picture that takes more than `max_megapixels` (256) to decode is refused. Of an animation
        the first frame counts, or the mean embedding of `frames` evenly spaced ones.

        `progress` gets the number of files done and their total. `stopping` is asked after each
        file; once true, the run ends after committing what it has. With `isolated`, files are
        decoded in processes of their own, so that one that crashes or hangs a decoder costs
        itself alone; as always with `multiprocessing`, a script must then guard its main part.

        Raises:
            InvalidInput: a path that is no folder, or numbers that make no sense.
            LibraryBusy: another process is writing to this index.
            ModelMismatch, WeightsUnavailable, ModelError: the model cannot be used.
            LibraryError: the disk is full or read-only.
        """
        from clipsearch.indexing.plan import Counts, Doubts, make_plan
        from clipsearch.indexing.targets import (
            RuleChanges,
            change_rules,
            choose_targets,
            take_back_roots,
        )

        _check_positive("--batch-size", batch_size)
        _check_positive("--workers", workers)
        _check_positive("--max-megapixels", max_megapixels)
        _check_positive("--frames", frames)
        started = time.monotonic()
        with explained(self.folder), write_lock(self.folder):
            model = self._checked_model()
            roots = self._catalog.roots()
            targets = choose_targets(self._catalog, [os.fspath(path) for path in paths])
            try:
                changes = RuleChanges(include, exclude, follow_links, raw_too)
                change_rules(self._catalog, targets, changes)
                doubts = Doubts(prune, verify, retry)
                plan = make_plan(self._catalog, model.id if model else None, targets, doubts)
                counts, complete = Counts(unchanged=plan.unchanged), True
                if not plan.is_empty:
                    counts, complete = self._carry_out(
                        plan, batch_size, workers, isolated, max_megapixels, frames, progress,
                        stopping,
                    )  # fmt: skip
            except ClipsearchError:
                take_back_roots(self._catalog, roots)
                raise
        for problem in plan.problems:
            log.warning("%s", problem)
        seconds = time.monotonic() - started
        read = counts.added + counts.updated + counts.moved + counts.failed
        return IndexReport(
            counts.added, counts.updated, counts.moved, counts.removed, counts.unchanged,
            counts.failed, round(seconds, 3), round(read / max(seconds, 1e-9), 1), complete,
            tuple(plan.problems), next((model.note for model in self._catalog.models()), None),
        )  # fmt: skip

    def forget(self, path: StrPath) -> int:
        """Take a folder or a photo out of the index; gives the number of photos taken out.

        Files are never touched. A part of an indexed folder stays out of later runs until it is
        named to `index` again.

        Raises:
            InvalidInput: the index does not know the path.
        """
        from clipsearch.indexing.targets import forget
        from clipsearch.store.sync import bring_up

        with explained(self.folder), write_lock(self.folder):
            taken = forget(self._catalog, os.fspath(path))
            for model in self._catalog.models():
                bring_up(self._catalog, model, self._vectors(model))
        return taken

    def optimize(
        self, *, force: bool = False, progress: Progress | None = None
    ) -> tuple[Optimized, ...]:
        """Build an approximate index for each model whose exact search takes over 100 ms.

        From then on `query` and `similar` use it. `force` builds it in any case. `progress` gets
        the work done and its total. What was there stays until the new one is complete.

        Raises:
            InvalidInput: `force` with too few photos.
            LibraryBusy: another process is writing to this index.
            LibraryError: the disk is full or read-only, or the vectors do not allow it.
        """
        from clipsearch.store.approximate import optimize
        from clipsearch.store.sync import bring_up

        with explained(self.folder), write_lock(self.folder):
            done = []
            for model in self._catalog.models():
                vectors = self._vectors(model)
                bring_up(self._catalog, model, vectors)
                done.append(optimize(model.spec, vectors, force, progress))
            return tuple(done)

    # Asking

    def query(self, text: str, k: int = 10, *, exact: bool = False) -> list[Hit]:
        """The k photos that fit the words best, best first.

        In a library that was optimized, `exact` compares with every photo all the same.

        Raises:
            InvalidInput: no words, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.search.query import check_k, nearest_photos

        if not text.strip():
            raise InvalidInput('the query is empty; describe a picture: clipsearch query "a dog"')
        check_k(k)
        with explained(self.folder):
            model = self._checked_model()
            if model is None:
                return []
            encoder = self._encoder()
            if encoder.count_tokens(text) > encoder.context:
                log.warning(
                    "the query is longer than the %d tokens that the model reads; its end is"
                    " ignored", encoder.context,
                )  # fmt: skip
            vector = encoder.encode_texts([text])[0]
            return nearest_photos(self._catalog, self._searched(model, exact), vector, k)

    def similar(
        self, image: StrPath | Image.Image, k: int = 10, *, exact: bool = False
    ) -> list[Hit]:
        """The k photos that look most like a picture, best first.

        `image` is any image file, indexed or not, or a PIL image. The very file asked with is
        left out; copies of it are not. In a library that was optimized, `exact` compares with
        every photo all the same.

        Raises:
            InvalidInput: the image cannot be read, or k below 1.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        from clipsearch.photos.decode import to_rgb
        from clipsearch.search.query import check_k, nearest_photos

        check_k(k)
        with explained(self.folder):
            model = self._checked_model()
            if isinstance(image, (str, os.PathLike)):
                file, vector = _expanded(image), self._vector_of_file(image, model)
            else:
                file, vector = None, None if model is None else self._embed(to_rgb(image))
            if model is None or vector is None:
                return []
            leave_out = file.resolve() if file else None
            return nearest_photos(self._catalog, self._searched(model, exact), vector, k, leave_out)

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
            )

    # The parts of an index run

    def _carry_out(
        self,
        plan: Plan,
        batch_size: int | None,
        workers: int | None,
        isolated: bool,
        max_megapixels: int | None,
        frames: int,
        progress: Progress | None,
        stopping: Callable[[], bool] | None,
    ) -> tuple[Counts, bool]:
        """Do what the plan says; gives what was done, and whether it came to its end."""
        from clipsearch.indexing.loading import Limits, Loaders
        from clipsearch.indexing.pipeline import Pipeline, clean_up
        from clipsearch.indexing.plan import Counts
        from clipsearch.photos.decode import MAX_PIXELS
        from clipsearch.store.approximate import is_outgrown
        from clipsearch.store.sync import bring_up

        complete = True
        if plan.work:
            model = self._checked_model() or self._new_model()
            vectors = self._vectors(model)
            bring_up(self._catalog, model, vectors)
            pipeline = Pipeline(
                self._catalog, model.id, vectors, self._encoder, batch_size,
                progress or (lambda done, total: None),
            )  # fmt: skip
            counts = pipeline.counts
            limits = Limits(max_megapixels * 1_000_000 if max_megapixels else MAX_PIXELS, frames)
            with Loaders(workers or _usual_workers(), isolated, limits) as loaders:
                complete = pipeline.run(plan, loaders, stopping or (lambda: False))
        else:
            counts = Counts(unchanged=plan.unchanged, removed=clean_up(self._catalog, plan))
        for model in self._catalog.models():
            vectors = self._vectors(model)
            bring_up(self._catalog, model, vectors)
            if is_outgrown(vectors):
                log.warning(
                    "the library has outgrown its approximate index; run clipsearch optimize again"
                )
        return counts, complete

    # The model

    def _checked_model(self) -> Model | None:
        """The index's model, None if it has none yet; another one asked for is an error."""
        models = self._catalog.models()
        if not models:
            return None
        model = models[0]
        if self._wanted is not None and not _names(self._wanted, model):
            raise ModelMismatch(
                f"this index was made with {model.spec}, not with {self._wanted}.\n"
                "Leave out --model to use it as it is, or make a second index:\n"
                f"  clipsearch index FOLDER --index OTHER_FOLDER --model {self._wanted}"
            )
        return model

    def _new_model(self) -> Model:
        encoder = self._encoder()
        return (
            self._catalog.models()[0]
            if self._catalog.models()
            else self._catalog.add_model(
                str(self._spec), encoder.weights, encoder.preprocess, encoder.dim, self._note
            )
        )

    def _encoder(self) -> encoders.Encoder:
        """The encoder, loaded once; any thread may be the first to need it."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> encoders.Encoder:
        models = self._catalog.models()
        if not models:
            return self._load_first()
        spec = self._wanted or parse_spec(models[0].spec)
        return self._checked(encoders.load(spec, self._device))

    def _checked(self, encoder: encoders.Encoder) -> encoders.Encoder:
        """The encoder, if it is the one that made the index's vectors."""
        models = self._catalog.models()
        if models and (encoder.weights, encoder.preprocess) != (
            models[0].weights,
            models[0].preprocess,
        ):
            raise ModelMismatch(
                f"the weights are not those of {models[0].spec} that this index was made with,"
                " so their scores would mean nothing.\nBring the old file back, or make a new"
                " index: clipsearch index FOLDER --index OTHER_FOLDER --model SPEC"
            )
        return encoder

    def _load_first(self) -> encoders.Encoder:
        """Load the model of a new index: the one asked for, the default, or else pocket."""
        self._spec = self._wanted or parse_spec("default")
        try:
            return encoders.load(self._spec, self._device)
        except WeightsUnavailable:
            if self._wanted is not None or encoders.pocket_files() is None:
                raise
        default, self._spec = self._spec, parse_spec("pocket")
        self._note = (
            f"pocket was taken because the weights of {default} could not be downloaded; it finds"
            " less. When there is a network: clipsearch models download default, then index into"
            " a new folder with --model default"
        )
        log.warning("%s", self._note)
        return encoders.load(self._spec, self._device)

    def _embed(self, image: Image.Image) -> np.ndarray:
        encoder = self._encoder()
        row: np.ndarray = encoder.encode_images(encoder.prepare(image)[None])[0]
        return row

    def _vector_of_file(self, image: StrPath, model: Model | None) -> np.ndarray | None:
        """A file's embedding, (dim,) float32 unit; the stored one if its content is indexed."""
        import numpy as np

        from clipsearch.photos.decode import decode, read_file

        try:
            content = read_file(_expanded(image))
            if model is None:
                return None
            stored = self._catalog.vector_of(model.id, hashlib.sha256(content).hexdigest())
            if stored is not None:
                row = np.frombuffer(stored, np.float16).astype(np.float32)
                return np.asarray(row / np.linalg.norm(row))
            return self._embed(decode(content, min_side=self._encoder().resolution).image)
        except PhotoError as error:
            raise InvalidInput(f"{image} cannot be used as a picture: {error}") from error

    # Vectors

    def _vectors(self, model: Model) -> VectorFile:
        from clipsearch.store.vectors import VectorFile

        return VectorFile(self.folder / "vectors" / _file_stem(model), model.dim)

    def _opened(self, model: Model) -> VectorFile:
        """The vector file, brought up to the catalog on disk if possible, else in memory."""
        from clipsearch.store.sync import bring_up, hold_missing, is_behind

        vectors = self._vectors(model)
        if is_behind(self._catalog, model, vectors):
            try:
                with write_lock(self.folder):
                    bring_up(self._catalog, model, vectors)
            except (LibraryBusy, OSError):
                hold_missing(self._catalog, model, vectors)
        return vectors

    def _searched(self, model: Model, exact: bool) -> VectorFile | ApproximateIndex:
        from clipsearch.store.approximate import faster

        vectors = self._opened(model)
        return vectors if exact else faster(vectors)

    def _bytes(self, pattern: str) -> int:
        return sum(file.stat().st_size for file in self.folder.glob(pattern))

    def _root_status(self, root: Root) -> RootStatus:
        return RootStatus(root.path, self._catalog.count_photos(root.id), os.path.isdir(root.path))

    def _model_status(self, model: Model) -> ModelStatus:
        count = self._catalog.fingerprint(model.id)[0]
        return ModelStatus(model.spec, count, model.dim, model.note)


def _names(spec: Spec, model: Model) -> bool:
    """Whether `spec` names the model, also when the same weights file has another path."""
    if str(spec) == model.spec:
        return True
    return (
        bool(spec.file)
        and Path(spec.file).is_file()
        and sha256_of(Path(spec.file)) == model.weights
    )


def _file_stem(model: Model) -> str:
    """A file name that tells a person which model it is, and is unique in the index."""
    name = model.spec.partition(":")[0] if not model.spec.startswith("hf-hub:") else model.spec
    return f"{model.id}-" + re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise LibraryError(f"{folder} is or lies in a file; name a folder with --index") from error
    if (folder / FILE_NAME).exists():
        return
    others = [name for name in os.listdir(folder) if not _HARMLESS.fullmatch(name)]
    if others:
        raise LibraryError(
            f"{folder} is no index and holds other files ({others[0]}...); name an empty or a"
            " new folder with --index"
        )


def _expanded(path: StrPath) -> Path:
    return Path(os.path.expanduser(path))


def _check_positive(option: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InvalidInput(f"{option} must be at least 1, not {value}")


def _usual_workers() -> int:
    return min(os.cpu_count() or 1, 16)

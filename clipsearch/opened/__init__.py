"""An index folder that is open, as a whole: opened and closed, copied, moved and kept fast.

`Library` is the same with all that is done with the photos in it. What only some calls need is
imported by them: a run with nothing to do needs no NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from clipsearch import encoders
from clipsearch.encoders.onnx.providers import check_device
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import LARGEST, InvalidInput
from clipsearch.models import Models
from clipsearch.store.catalog import Catalog, StoredPhoto
from clipsearch.store.conditions import EVERYTHING, Condition
from clipsearch.store.faults import explained
from clipsearch.store.folder import (
    PATIENCE,
    IndexFolder,
    StrPath,
    default_folder,
    expanded,
    make_folder,
)

if TYPE_CHECKING:
    import numpy as np

    from clipsearch.encoders.reading.line import Line
    from clipsearch.indexing.runs import Runs
    from clipsearch.photos.decoding.isolated import Processes
    from clipsearch.progress import Progress
    from clipsearch.search.answers import Answer, Answers, Question
    from clipsearch.search.filtering.filters import FilterNames, Filters
    from clipsearch.search.labels.fitting import Label, LabelCount
    from clipsearch.search.labels.labelling import Counts, Labelling
    from clipsearch.search.results import Nothing
    from clipsearch.store.copying import Copied
    from clipsearch.store.moving import Moved
    from clipsearch.store.status import Status
    from clipsearch.store.vectors.approximate.building import Optimized

P = ParamSpec("P")
T = TypeVar("T")
Index = TypeVar("Index", bound="OpenIndex")


def asked(
    method: Callable[Concatenate[Index, P], T],
) -> Callable[Concatenate[Index, P], T]:
    """A method that is answered from one state of the index, the latest."""

    @wraps(method)
    def ask(self: Index, /, *args: P.args, **named: P.kwargs) -> T:
        with explained(self.folder):
            return self._catalog.ask(lambda: method(self, *args, **named))

    return ask


class OpenIndex:
    """An index folder that is open. Use an instance from one thread at a time."""

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
        self._own = IndexFolder(folder, catalog)
        self._label_counts: Counts = {}

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
    ) -> Self:
        """Open an index folder, made first if there is none and `create` is true.

        `model` is a spec (see docs/models.md); None takes the index's main one, which is its
        first, or for a new index the default. `device` is "auto" or a torch device. The model is
        loaded when it is needed, unless an `encoder` of it is given that is loaded already.

        `mounted` tells where indexed folders, or folders above them, are on this machine, if they
        are elsewhere than where they were indexed; all paths are then those of this machine, and
        nothing can be written.

        Raises:
            InvalidInput: `mounted` names no indexed folder, or a folder here that is none; or
                this machine has no such device.
            LibraryError: the folder is no index, or cannot be used.
            ModelError: `model` names no model.
            ModelMismatch: `encoder` is not the one that made the index's vectors.
        """
        path = expanded(folder) if folder is not None else default_folder()
        spec = parse_spec(model) if model is not None else None
        check_device(device)
        with explained(path):
            if create:
                make_folder(path)
                catalog = Catalog.create(path)
            else:
                catalog = Catalog.open(path)
            here = None
            if mounted:
                from clipsearch.store.mounted import mounted_folders

                here = mounted_folders(catalog, mounted)
            return cls(path, catalog, Models(catalog, spec, device, encoder), here)

    def __enter__(self) -> Self:
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

    def ask_with_care(self, processes: Processes, only_indexed: bool = False) -> None:
        """Decode the pictures that are asked with in processes of their own, from here on.

        One that crashes or hangs a decoder, or takes too much memory, costs its question alone.
        With `only_indexed` none is read by its path or URL but those in indexed folders.
        """
        self._answers.pictures.ask_with_care(processes, only_indexed)

    def discard(self) -> bool:
        """Close the index and remove it, if nothing was indexed yet; gives whether it is gone.

        Its folder is left, empty unless something else came to be in it.

        Raises:
            LibraryBusy: another process writes to it.
        """
        from clipsearch.store.upkeep import discard

        with self._own.writing(PATIENCE):
            if self._catalog.holds_anything():
                return False
            discard(self.folder, self._catalog)
        self._own.remove_lock()
        return True

    @asked
    def status(self) -> Status:
        """What the index holds and how large it is."""
        from clipsearch.store.status import status_of

        return status_of(self._own, self._catalog)

    @asked
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
        """
        from clipsearch.progress import untold
        from clipsearch.search.neutral import NEUTRAL
        from clipsearch.store.copying import copy

        show = progress or untold
        return copy(self.folder, self._catalog, expanded(folder), own, NEUTRAL, show)

    def move(self, store: str, *, progress: Progress | None = None) -> Moved:
        """Bring the vectors to another store and search there from then on.

        `store` is "faiss", the files of the index folder, or "milvus:http://HOST:19530". What is
        there is read back and compared before the old place is cleared. A move that was stopped
        goes on where it was, and one to where the vectors are already looks whether they are
        right. `progress` gets the photos done and their total.

        Raises:
            InvalidInput: it is no store.
            LibraryError: no engine answers there, or it does not hold what it was given.
        """
        from clipsearch.store.moving import move

        with self._own.writing(PATIENCE):
            return move(self.folder, self._catalog, store, progress)

    def optimize(
        self, *, force: bool = False, progress: Progress | None = None
    ) -> tuple[Optimized, ...]:
        """Build an approximate index for each model whose exact search takes over 100 ms.

        From then on `query` and `similar` use it, and an index run builds it again when much has
        changed. `force` builds it in any case. `progress` gets the work done and its total. What
        was there stays until the new one is complete.

        Raises:
            InvalidInput: `force` with too few photos.
            LibraryError: the vectors do not allow it.
        """
        from clipsearch.store.upkeep import optimize_all

        with self._own.writing():
            return optimize_all(self.folder, self._catalog, force, progress)

    def export_texts(self, *, progress: Progress | None = None) -> None:
        """Export the towers of the index's models, unless that was done before.

        Later questions, in words or with a picture, then need no torch. It takes some seconds,
        once for each model and user.
        `progress` gets the steps done and their total, where there is something to do.
        """
        from clipsearch.exporting import export_towers
        from clipsearch.progress import untold
        from clipsearch.search.neutral import NEUTRAL

        export_towers(self._catalog, self._models, NEUTRAL, progress or untold)

    def remove_model(self, spec: str) -> int:
        """Take a model with its embeddings out of the index; gives how many there were.

        The first of those left becomes the main one. Photos are kept.

        Raises:
            InvalidInput: the index has no such model, or no other.
        """
        with self._own.writing(PATIENCE):
            return self._models.remove(parse_spec(spec), self.folder)

    # For a process that stays and answers many

    def twin(self) -> Self:
        """The same index opened once more, for another thread; models are loaded once for both."""
        with explained(self.folder):
            catalog = Catalog.open(self.folder)
            twin = type(self)(self.folder, catalog, self._models.on(catalog), self._mounted)
            twin._label_counts = self._label_counts
            return twin

    def is_replaced(self) -> bool:
        """Whether another index, or none, stands by now where this one was opened."""
        return self._own.is_replaced()

    def check_writable(self) -> None:
        """Raise LibraryError if this is a copy of an index, or opened with `mounted` folders."""
        self._catalog.check_writable()

    def stay(self) -> None:
        """Prepare for many questions: models are loaded to answer fast, not to start fast.

        What is asked is remembered in this process and no more in the index.
        """
        self._models.stay()

    @asked
    def load(self) -> None:
        """Load what embeds words, unless it is loaded.

        Raises:
            ModelError, ModelMismatch: it cannot be loaded.
        """
        model = self._models.chosen()
        if model is not None:
            self._models.texts(model)

    @asked
    def is_loaded(self, *, pictures: bool = False) -> bool:
        """Whether questions in words, or with pictures, are answered without loading anything."""
        model = self._models.chosen()
        return model is None or self._models.is_loaded(model, pictures)

    @asked
    def answer(
        self, questions: Sequence[Question], model: str | None = None
    ) -> list[Answer | InvalidInput]:
        """The answers to several questions, at less cost than one after the other.

        What is wrong with one of them stands in its place. `model` is one of the index's models.

        Raises:
            LibraryError, ModelError: the index or its model cannot be used.
        """
        return self._answers.answer(questions, model)

    @asked
    def why_nothing(self, question: Question, model: str | None = None) -> Nothing:
        """Why a question that was answered found no photo; `model` is as in `answer`."""
        return self._answers.why_nothing(question, model)

    @asked
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
        return self._answers.embed(picture, region, model, processes)

    @asked
    def embed_texts(self, texts: Sequence[str], *, model: str | None = None) -> np.ndarray | None:
        """What a model makes of texts as they are: (n, dim) float32, unit rows.

        None is for an index that has no model yet.

        Raises:
            InvalidInput: a text of which the model makes nothing.
            LibraryError, ModelError: the index or its model cannot be used.
        """
        return self._answers.embed_texts(texts, model)

    @asked
    def version(self) -> Hashable:
        """Another value whenever photos, or what they are found by, were written since."""
        return self._catalog.version()

    @asked
    def captions_of(self, photo: StoredPhoto) -> dict[str, str]:
        """What models wrote about a photo, by the model's name."""
        return self._catalog.captions_of(photo.row.digest)

    @asked
    def lines_of(self, photo: StoredPhoto) -> dict[str, list[Line]]:
        """The text that models read in a photo's picture, by the model's name."""
        return self._catalog.lines_of(photo.row.digest)

    @asked
    def labels_of(
        self, photo: StoredPhoto, k: int = 10, *, processes: Processes | None = None
    ) -> list[Label]:
        """As `label` for a photo of the index and the usual labels; `processes` as for `embed`.

        Raises:
            As `embed`.
        """
        return self._labelling.of_stored(photo, k, processes)

    @asked
    def stored(self, id: int) -> StoredPhoto | None:
        """A photo with its content's digest and its file's place, by its id; None if it is gone."""
        # Beyond 64 bits there is no id, and SQLite takes no such number.
        return self._catalog.stored(id) if 0 < id <= LARGEST else None

    def is_present(self, photo: StoredPhoto) -> bool:
        """Whether a photo is there, and not on a drive that is away; one at a URL counts as that.

        Its file may be gone all the same, which the next index run sees.
        """
        from clipsearch.store.presence import Presence

        with explained(self.folder):
            return Presence(self._catalog).of(photo.row.path)

    @asked
    def counted_labels(self, k: int = 100) -> list[LabelCount]:
        """As `count_labels` for all photos and the usual labels; none if that takes a model."""
        return self._labelling.counted(k)

    # What does the work

    @cached_property
    def _runs(self) -> Runs:
        from clipsearch.indexing.runs import Runs

        return Runs(self._own, self._catalog, self._models)

    @cached_property
    def _answers(self) -> Answers:
        from clipsearch.search.answers import Answers

        return Answers(self.folder, self._catalog, self._models)

    @cached_property
    def _labelling(self) -> Labelling:
        from clipsearch.search.labels.labelling import Labelling

        return Labelling(
            self.folder, self._catalog, self._models, self._answers, self._label_counts
        )

    def _selected(self, filters: Filters | None, named: FilterNames | None = None) -> Condition:
        if not (filters or named):
            return EVERYTHING
        from clipsearch.search.filtering.filters import select, with_named

        among = with_named(filters, named or {})
        return (select(among, self._catalog) if among else None) or EVERYTHING

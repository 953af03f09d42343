"""The labels of an index's photos, as `Library` tells them: what all its answers have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipsearch.progress import Progress, untold
from clipsearch.search.answers import Answers
from clipsearch.search.labels.fitting import (
    Label,
    LabelCount,
    LabelledPhoto,
    best_labels,
    count_labels,
    photos_labelled,
)
from clipsearch.search.labels.lists import (
    Labels,
    LabelSet,
    are_embedded,
    embed_labels,
    read_labels,
)
from clipsearch.search.nearest import check_k
from clipsearch.store.catalog import Catalog, Model, StoredPhoto
from clipsearch.store.folder import StrPath
from clipsearch.store.moving import to_search
from clipsearch.store.vectors.sync import vector_file

if TYPE_CHECKING:
    from PIL import Image

    from clipsearch.models import Models
    from clipsearch.photos.decoding.isolated import Processes


Counts = dict[Hashable, list[LabelCount]]  # by what they are true of


class _Ready(NamedTuple):
    """The labels that are meant, and what embeds them for the model that is meant."""

    model: Model
    labels: list[str]
    embed: Callable[[Sequence[str]], LabelSet]


class Labelling:
    """Says which labels fit the photos of one index."""

    def __init__(
        self, folder: Path, catalog: Catalog, models: Models, answers: Answers, counts: Counts
    ) -> None:
        """`counts` is what was counted last, also by other openings of the index."""
        self._folder = folder
        self._counts = counts
        self._catalog = catalog
        self._models = models
        self._answers = answers

    def of(
        self, image: StrPath | Image.Image, labels: Labels, k: int, progress: Progress | None
    ) -> list[Label]:
        """The k labels that fit a picture best, best first."""
        if (ready := self._ready(labels, k, progress)) is None:
            return []
        vector = self._answers.pictures.embed(ready.model, image)
        return best_labels(vector, ready.embed(ready.labels), k)

    def of_stored(
        self, photo: StoredPhoto, k: int, processes: Processes | None = None
    ) -> list[Label]:
        """The k of the usual labels that fit a photo of the index best, best first."""
        if (ready := self._ready(None, k, None)) is None:
            return []
        vector = self._answers.pictures.embed_known(ready.model, photo, None, processes)
        return best_labels(vector, ready.embed(ready.labels), k)

    def count(
        self, folder: StrPath | None, labels: Labels, k: int, progress: Progress | None
    ) -> list[LabelCount]:
        """The k labels that are the best ones of most photos, in a folder or in all."""
        ready = self._ready(labels, k, progress)
        return [] if ready is None else self._count(ready, folder, k)

    def photos(
        self,
        label: str,
        folder: StrPath | None,
        labels: Labels,
        k: int,
        progress: Progress | None,
    ) -> list[LabelledPhoto]:
        """The k photos that a label is the best one of, surest first."""
        if (ready := self._ready(labels, k, progress)) is None:
            return []
        vectors = to_search(self._folder, self._catalog, ready.model)
        return photos_labelled(self._catalog, ready.model, vectors, *ready[1:], label, folder, k)

    def counted(self, k: int) -> list[LabelCount]:
        """As `count` for all photos and the usual labels; none if that takes a model.

        They are counted again only when photos have changed; an example may be away by then.
        """
        ready = self._ready(None, k, None)
        if not ready or not are_embedded(ready.labels, self._file(ready.model), ready.model):
            return []
        key = self._catalog.version(), ready.model.id, k
        if (counts := self._counts.get(key)) is None:
            counts = self._count(ready, None, k)
            self._counts.clear()
            self._counts[key] = counts
        return list(counts)

    def _count(self, ready: _Ready, folder: StrPath | None, k: int) -> list[LabelCount]:
        vectors = to_search(self._folder, self._catalog, ready.model)
        return count_labels(self._catalog, ready.model, vectors, *ready[1:], folder, k)

    def _ready(self, labels: Labels, k: int, progress: Progress | None) -> _Ready | None:
        check_k(k)
        model = self._models.chosen()
        if model is None:
            return None
        embed = partial(
            embed_labels, file=self._file(model), model=model,
            encoder=partial(self._models.texts, model),
            progress=progress or untold, keep=not self._catalog.is_far,
        )  # fmt: skip
        return _Ready(model, read_labels(labels), embed)

    def _file(self, model: Model) -> Path:
        """Where the labels' embeddings are kept."""
        return vector_file(self._folder, model).rows_path.with_suffix(".labels")

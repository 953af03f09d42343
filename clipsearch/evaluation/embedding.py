"""Pictures and texts to vectors for an evaluation, by the code that an index run uses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from clipsearch import encoders
from clipsearch.encoders import Encoder
from clipsearch.encoders.rows import UNUSABLE, are_units, embedded_texts
from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import InvalidInput, arg, did_you_mean
from clipsearch.indexing.loading import Loaders, Unread, load_ahead
from clipsearch.progress import Progress
from clipsearch.search.labels.lists import ensembles

log = logging.getLogger("clipsearch")

# The models to be measured, by the names that the results show: each loaded when it is its turn.
Candidates = Mapping[str, Callable[[], Encoder]]

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_TEXTS_AT_A_TIME = 64
_CLASSES_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that could not be read."""

    path: Path
    reason: str

    def as_dict(self) -> dict[str, str]:
        """The image as `--json` shows it."""
        return {"path": str(self.path), "reason": self.reason}


def candidates(specs: Sequence[str], device: str = "auto", precision: str = "fp32") -> Candidates:
    """What loads the models of some specs; for none, the model that a new index would get.

    `precision` is one of PRECISIONS: fp32 gives the same figures on every machine, auto those of
    an index made on this one.

    Raises:
        ModelError: a spec that names no model.
        InvalidInput: no such precision.
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise InvalidInput(
            f"{arg('precision')} {precision} is none of: {', '.join(PRECISIONS)}{hint}"
        )
    if not specs:
        spec, encoder, _ = encoders.load_first(None, device, precision)
        return {str(spec): lambda: encoder}
    parsed = {name: parse_spec(name) for name in specs}
    return {name: partial(encoders.load, spec, device, precision) for name, spec in parsed.items()}


class Embedder:
    """Embeds the same images with one model after the other.

    `total` is how many images and texts there will be, for `progress`.
    """

    def __init__(self, loaders: Loaders, total: int, progress: Progress | None) -> None:
        self.left_out: list[LeftOut] = []  # images that the first model could not be shown
        self._loaders = loaders
        self._total, self._done = total, 0
        self._progress = progress
        self._first: str | None = None

    def images(
        self, paths: Sequence[Path], name: str, encoder: Encoder
    ) -> tuple[np.ndarray, list[int]]:
        """Embeddings, (n, dim) float32 unit rows, and the numbers in `paths` of the n images.

        The first model leaves out what cannot be read; later ones are given the rest.

        Raises:
            InvalidInput: no image can be read, or one that the first model was shown.
        """
        rows: list[np.ndarray] = []
        kept: list[int] = []
        unread: list[LeftOut] = []
        files = {number: str(path) for number, path in enumerate(paths)}
        loaded = load_ahead(files, encoder.prepare, self._loaders, 2 * encoder.batch_size)
        while batch := list(islice(loaded, encoder.batch_size)):
            views: list[np.ndarray] = []
            shown: list[int] = []
            for number, result in batch:
                if isinstance(result, Unread):
                    unread.append(LeftOut(paths[number], result.reason))
                elif result.views is not None:
                    shown.append(number)
                    views.append(result.views)
            if views:
                made = encoder.encode_images(np.concatenate(views))
                usable = are_units(made)
                rows.append(made[usable])
                for number, is_usable in zip(shown, usable.tolist(), strict=True):
                    if is_usable:
                        kept.append(number)
                    else:
                        unread.append(LeftOut(paths[number], UNUSABLE))
            self._count(len(batch))
        self._judge(unread, name, len(paths))
        return np.concatenate(rows), kept

    def texts(self, texts: Sequence[str], encoder: Encoder) -> np.ndarray:
        """Embeddings, (n, dim) float32 unit rows."""
        cut = sum(encoder.count_tokens(text) > encoder.context for text in texts)
        if cut:
            log.warning("%d texts are longer than the model's %d tokens; cut", cut, encoder.context)
        rows = np.empty((len(texts), encoder.dim), np.float32)
        # Of like length, so that little is padding.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), _TEXTS_AT_A_TIME):
            numbers = order[start : start + _TEXTS_AT_A_TIME]
            rows[numbers] = embedded_texts(encoder, [texts[number] for number in numbers])
            self._count(len(numbers))
        return rows

    def classes(
        self, names: Sequence[str], templates: Sequence[str], encoder: Encoder
    ) -> np.ndarray:
        """Embeddings of classes by their names in templates, (n, dim) float32 unit rows."""
        rows = []
        for start in range(0, len(names), _CLASSES_AT_A_TIME):
            some = names[start : start + _CLASSES_AT_A_TIME]
            rows.append(ensembles(some, templates, encoder))
            self._count(len(some) * len(templates))
        return np.concatenate(rows)

    def _judge(self, unread: list[LeftOut], name: str, total: int) -> None:
        if not unread:
            self._first = self._first or name
            return
        path, reason = unread[0].path, unread[0].reason
        if self._first is not None:
            raise InvalidInput(
                f"{path} was read for {self._first} and could not be for {name} ({reason}); they"
                " can be compared on the same images alone"
            )
        if len(unread) == total:
            raise InvalidInput(
                f"none of the {total} images can be read; the first is {path}: {reason}"
            )
        log.warning(
            "left out %d of %d images that cannot be read; the first is %s: %s",
            len(unread), total, path, reason,
        )  # fmt: skip
        self._first, self.left_out = name, unread

    def _count(self, done: int) -> None:
        self._done += done
        if self._progress is not None:
            self._progress(self._done, self._total)

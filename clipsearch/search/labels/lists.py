"""Lists of labels, and what a model makes of them.

As in the CLIP paper (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 3.1.4): a
label's embedding is the mean of those of several sentences made with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsearch.encoders.imagenet import class_names
from clipsearch.encoders.rows import embedded_texts, no_embedding
from clipsearch.errors import InvalidInput, did_you_mean
from clipsearch.models.loading import TextEncoder
from clipsearch.progress import Progress
from clipsearch.store.catalog import Model
from clipsearch.store.vectors.label_rows import LabelRows, read_label_rows, write_label_rows
from clipsearch.textfile import text_of

log = logging.getLogger("clipsearch")

# A list of labels, or where one is: a file's name, "imagenet", or None for our own.
Labels = Sequence[str] | str | os.PathLike[str] | None

OURS = Path(__file__).with_name("labels.txt")

# The seven that OpenAI's notebook on prompts for ImageNet chose among its 80, one after another
# by how much each adds (https://github.com/openai/CLIP, Prompt_Engineering_for_ImageNet.ipynb).
TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

_SHORTEST = 1e-4  # of a mean of unit rows; those of a shorter one cancel out

_LABELS_AT_A_TIME = 16  # 112 sentences fit any memory

_MANY_LABELS = 100  # more than these take long enough to say so


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels made ready to be compared with photos."""

    labels: list[str]
    vectors: np.ndarray  # (labels, dim) float32, unit rows
    logit_scale: float  # the model's
    logit_bias: float | None  # the same


def read_labels(labels: Labels) -> list[str]:
    """The labels that are meant, each once, white space made even.

    In a file they stand one a line; empty lines and those that begin with # do not count.

    Raises:
        InvalidInput: the file cannot be read, or there is not one label.
    """
    if labels is None:
        lines: Iterable[str] = _lines(OURS)
    elif labels == "imagenet":
        lines = class_names()
    elif isinstance(labels, (str, os.PathLike)):
        lines = _lines(Path(os.path.expanduser(labels)))
    else:
        lines = labels
    found = [label for label in dict.fromkeys(" ".join(line.split()) for line in lines) if label]
    if not found:
        raise InvalidInput(f"{_named(labels)} holds no labels; write one a line")
    return found


def embed_labels(
    labels: Sequence[str],
    file: Path,
    model: Model,
    encoder: Callable[[], TextEncoder],
    progress: Progress,
    keep: bool = True,
) -> LabelSet:
    """The labels' embeddings; those that `file` does not remember are made, and kept there.

    Where they are not to be kept they are made each time. The encoder is asked for only if one is
    missing.
    """
    made_with = _made_with(model)
    known = read_label_rows(file, made_with)
    if known is None:
        known = LabelRows(encoder().logit_scale, encoder().logit_bias)
    missing = [label for label in labels if label not in known.rows]
    if missing:
        try:
            _embed_missing(missing, known, encoder(), progress)
        finally:  # what was made before Ctrl-C need not be made again
            if keep:
                _remember(file, made_with, known)
    rows = np.stack([known.rows[label] for label in labels])
    return LabelSet(list(labels), rows, known.logit_scale, known.logit_bias)


def are_embedded(labels: Sequence[str], file: Path, model: Model) -> bool:
    """Whether `file` remembers what a model makes of all of the labels."""
    known = read_label_rows(file, _made_with(model))
    return known is not None and set(labels) <= known.rows.keys()


def ensembles(labels: Sequence[str], templates: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Each label put into all templates, in the place of {}: the means, (n, dim) float32 unit."""
    texts = [template.replace("{}", label) for label in labels for template in templates]
    rows = embedded_texts(encoder, texts).reshape(len(labels), len(templates), -1).mean(1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if lengths.min() < _SHORTEST:
        raise no_embedding(labels[int(lengths.argmin())])
    return np.asarray(rows / lengths)


def _embed_missing(
    missing: Sequence[str], known: LabelRows, encoder: TextEncoder, progress: Progress
) -> None:
    if len(missing) > _MANY_LABELS:
        log.warning(
            "embedding %d labels, once for this model; on a CPU that can take minutes",
            len(missing),
        )
    for start in range(0, len(missing), _LABELS_AT_A_TIME):
        some = missing[start : start + _LABELS_AT_A_TIME]
        known.rows.update(zip(some, ensembles(some, TEMPLATES, encoder), strict=True))
        progress(start + len(some), len(missing))


def _remember(file: Path, made_with: str, known: LabelRows) -> None:
    if not known.rows:
        return
    try:
        write_label_rows(file, made_with, known)
    except OSError as error:
        log.warning("the labels' embeddings could not be kept: %s", error.strerror or error)


def _made_with(model: Model) -> str:
    """What the embeddings depend on, besides the labels."""
    parts = [model.weights, model.preprocess, *TEMPLATES]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _lines(file: Path) -> list[str]:
    if not file.exists() and (hint := did_you_mean(str(file), ("imagenet",))):
        raise InvalidInput(f"there is no list of labels {file}{hint}")
    lines = text_of(file, "list of labels").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _named(labels: Labels) -> str:
    return os.fspath(labels) if isinstance(labels, (str, os.PathLike)) else "the list"

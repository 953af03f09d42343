"""Image and text retrieval, as the benchmarks of captioned photos count it.

Every caption is looked for among all images, and every image's captions among all captions. As
with Karpathy and Fei-Fei's splits (https://arxiv.org/abs/1412.2306), a caption is a hit at k if its
own image is among the first k, and an image if any of its captions is. Where a text has several
images (`cnclip`), it is a hit if any of them is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.evaluation.bootstrap import Estimate, RankEstimates, estimate_ranks
from clipsearch.evaluation.cnclip import Judged, write_answers
from clipsearch.evaluation.embedding import Candidates, Embedder, LeftOut
from clipsearch.evaluation.pairs import Pairs
from clipsearch.evaluation.ranks import best_ranks_of, ranks_of
from clipsearch.indexing.loading import Loaders
from clipsearch.progress import Progress
from clipsearch.replacing import check_writable
from clipsearch.store.folder import StrPath

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """What one model finds."""

    model: str
    text_to_image: RankEstimates  # recalls as shares, from 0 to 1
    image_to_text: RankEstimates

    def as_dict(self) -> dict[str, Any]:
        """The figures as `--json` shows them."""
        return {
            "model": self.model,
            "text_to_image": _as_dict(self.text_to_image),
            "image_to_text": _as_dict(self.image_to_text),
        }


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """What several models find of the same pairs."""

    images: int
    captions: int
    left_out: tuple[LeftOut, ...]
    models: tuple[RetrievalFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as `--json` shows it."""
        return {
            "images": self.images,
            "captions": self.captions,
            "left_out": [one.as_dict() for one in self.left_out],
            "models": [one.as_dict() for one in self.models],
        }


def evaluate_retrieval(
    pairs: Pairs | Judged,
    models: Candidates,
    *,
    answers: StrPath | None = None,
    isolated: bool = False,
    progress: Progress | None = None,
) -> RetrievalReport:
    """How well models find the image of a caption, and a caption of an image.

    Images that cannot be read are left out, with their captions, for all models alike. `progress`
    gets the number of images and texts done and their total; `isolated` is as in `Library.index`.
    `answers` is a folder for what one model finds of texts and images in `cnclip`'s form; if no
    right answers are known of these, there are no figures.

    Raises:
        InvalidInput: fewer than two images can be read; or answers are wanted of several models, or
            of texts and images without ids, or their folder cannot be written to.
        ModelError: a model cannot be loaded.
    """
    if answers is not None and not (isinstance(pairs, Judged) and len(models) == 1):
        raise InvalidInput(
            f"{arg('answers')} are those of one model, to texts and images in the form of"
            " Chinese-CLIP: SPLIT_texts.jsonl"
        )
    if answers is not None:
        check_writable(Path(os.path.expanduser(answers)), arg("answers"))  # before hours of work
    total = len(models) * (len(pairs.images) + len(pairs.captions))
    found = []
    with Loaders(isolated=isolated) as loaders:
        embedder = Embedder(loaders, total, progress)
        for name, load in models.items():
            encoder = load()
            images, kept = embedder.images(pairs.images, name, encoder)
            if len(kept) < 2:
                raise InvalidInput("retrieval needs two images at least; there is one")
            if len(kept) < len(pairs.images):
                pairs = pairs.only(kept)
            texts = embedder.texts(pairs.captions, encoder)
            if isinstance(pairs, Judged):
                if answers is not None:
                    write_answers(answers, pairs, images, texts)
                if len(pairs.texts):
                    found.append(judged_figures(name, images, texts, pairs))
            else:
                found.append(figures(name, images, texts, pairs.owners))
    return RetrievalReport(
        len(pairs.images), len(pairs.captions), tuple(embedder.left_out), tuple(found)
    )


def figures(
    name: str, images: np.ndarray, texts: np.ndarray, owners: np.ndarray
) -> RetrievalFigures:
    """What embeddings come to, of images (n, dim) and of their texts (m, dim), float32 unit rows.

    `owners` (m,) int64, ascending, says which image each text is of; each image has one at least.
    """
    to_image = ranks_of(texts, images, owners)
    to_text = best_ranks_of(images, texts, owners)
    return RetrievalFigures(
        name,
        estimate_ranks(to_image, owners, KS),
        estimate_ranks(to_text, np.arange(len(images)), KS),
    )


def judged_figures(
    name: str, images: np.ndarray, texts: np.ndarray, judged: Judged
) -> RetrievalFigures:
    """The same of texts and images of which any may have several or none, as answers alone."""
    to_image = _ranks(texts, images, judged.texts, judged.shown)
    order = np.argsort(judged.shown, kind="stable")
    to_text = _ranks(images, texts, judged.shown[order], judged.texts[order])
    return RetrievalFigures(
        name,
        estimate_ranks(to_image, np.arange(len(to_image)), KS),
        estimate_ranks(to_text, np.arange(len(to_text)), KS),
    )


def _ranks(
    questions: np.ndarray, answers: np.ndarray, asked: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """The best rank of each of the questions that are among those `asked`."""
    numbers, owners = np.unique(asked, return_inverse=True)
    return best_ranks_of(questions[numbers], answers, owners, right)


def _as_dict(found: RankEstimates) -> dict[str, Any]:
    shares: dict[str, Estimate] = {f"recall_at_{k}": it for k, it in found.recall.items()}
    return {name: it.as_dict() for name, it in (shares | {"median_rank": found.median}).items()}

"""`clipsearch score`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.decoding import decoders
from clipsearch.cli.options import Device, Index, Json, ModelSpec
from clipsearch.cli.output import print_json, print_rows
from clipsearch.cli.wording import printable

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath
    from clipsearch.search.scoring import Scores


def score(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Any pictures.")],
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="What they may show. Repeatable."),
    ] = None,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare any pictures with any texts.

    Gives cosines, and probabilities among the texts, of which it takes two or more (by SigLIP, of
    each by itself), by the model of the index, or without an index by --model.
    """
    from clipsearch import scores as scoring
    from clipsearch.photos.files.urls import photo_path

    texts = texts or []
    paths = list(map(photo_path, images))
    with decoders() as processes:
        scores = scoring.score(
            paths, texts, index=index, model=model, device=device, processes=processes
        )
    if json:
        print_json(_as_json(paths, texts, scores))
    else:
        columns = (">score", ">probability", "~text", "path")
        files = [path for path in paths for _ in texts]
        print_rows(columns, _rows(paths, texts, scores), files)


def _as_json(images: Sequence[PhotoPath], texts: Sequence[str], scores: Scores) -> dict[str, Any]:
    cosines, probabilities = scores.cosines.tolist(), scores.probabilities.tolist()
    return {
        "texts": list(texts),
        "images": [
            {
                "path": str(image),
                "scores": [round(value, 6) for value in cosines[row]],
                "probabilities": [round(value, 6) for value in probabilities[row]],
            }
            for row, image in enumerate(images)
        ],
    }


def _rows(
    images: Sequence[PhotoPath], texts: Sequence[str], scores: Scores
) -> list[tuple[str, ...]]:
    return [
        (
            f"{scores.cosines[row, column]:.4f}",
            _share(scores.probabilities[row, column]),
            printable(text),
            printable(str(image)),
        )
        for row, image in enumerate(images)
        for column, text in enumerate(texts)
    ]


def _share(probability: float) -> str:
    return "-" if math.isnan(probability) else f"{probability:.3f}"

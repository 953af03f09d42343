"""`clipsearch eval`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Device, ImagesFolder, Json, Pairs
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import Command
from clipsearch.cli.progress import counting
from clipsearch.cli.retrieval import IN_PERCENT, percent, print_retrieval
from clipsearch.cli.wording import printable
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.evaluation.embedding import Candidates
    from clipsearch.evaluation.zeroshot import Accuracy, ZeroShotReport
    from clipsearch.progress import Progress

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Measure how well models find captioned or sorted photos.",
)

Specs = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="A model, as for clipsearch index. Repeatable. Default: that of a new index.",
        autocompletion=completion.models,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="fp32 is the same everywhere; bf16, fp16, or auto, what an index here would have.",
        autocompletion=completion.precisions,
    ),
]


@app.command(cls=Command)
def retrieval(
    pairs: Pairs,
    models: Specs = None,
    images: ImagesFolder = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only rows with it in the column split, or images listed in NAME.txt beside it.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write what is found, and the embeddings, as cn_clip does."
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> None:
    """Look for images by their captions, and back.

    Prints recall in percent at 1, 5 and 10, and the median rank, with 95% intervals.
    """
    from clipsearch.evaluation.cnclip import read_asked
    from clipsearch.evaluation.retrieval import evaluate_retrieval

    captioned = read_asked(pairs, images, split)
    with _embedding(models, device, precision) as (chosen, progress):
        report = evaluate_retrieval(
            captioned, chosen, answers=answers, isolated=True, progress=progress
        )
    if json:
        print_json(report.as_dict())
    elif report.models:
        print_retrieval(report)
    else:
        note(f"no right answer is known of these texts; what was found is in {answers}")


@app.command(cls=Command)
def zeroshot(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with a folder of photos a class.")
    ],
    models: Specs = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            metavar="TEXT",
            help="A sentence with {} for the class's name. Repeatable. Default: those of label.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> None:
    """Tell what photos show by their folders' names.

    Prints how many of 100 photos get their own class as the best one, or among the best five, with
    95% intervals.
    """
    from clipsearch.evaluation.zeroshot import evaluate_zeroshot, read_classes

    folders = read_classes(folder)
    with _embedding(models, device, precision) as (chosen, progress):
        report = evaluate_zeroshot(
            folders, chosen, templates or (), isolated=True, progress=progress
        )
    if json:
        print_json(report.as_dict())
    else:
        print_rows(("class", ">photos", "model", ">top-1", ">top-5"), list(_class_rows(report)))
        photos = counted(sum(report.images.values()), "photo")
        note(f"{photos} of {len(report.images)} classes; {IN_PERCENT}")


@contextmanager
def _embedding(
    specs: list[str] | None, device: str, precision: str
) -> Iterator[tuple[Candidates, Progress | None]]:
    """The models that are compared, and what draws how far they are."""
    from clipsearch.evaluation.embedding import candidates
    from clipsearch.photos.decoding.decode import take_over_pillow

    take_over_pillow()
    chosen = candidates(specs or (), device, precision)
    with counting("embedding") as progress:
        yield chosen, progress


def _class_rows(report: ZeroShotReport) -> Iterator[tuple[str, ...]]:
    """First all photos, then the mean of the classes, then class by class."""
    count = str(sum(report.images.values()))
    for figures in report.models:
        yield "(all photos)", count, figures.model, *_accuracy(figures.all)
    for figures in report.models:
        yield "(mean of classes)", count, figures.model, *_accuracy(figures.mean)
    for name, images in report.images.items():
        for figures in report.models:
            accuracy = _accuracy(figures.by_class[name])
            yield printable(name), str(images), figures.model, *accuracy


def _accuracy(found: Accuracy) -> tuple[str, str]:
    return percent(found.top1), percent(found.top5) if found.top5 else "-"

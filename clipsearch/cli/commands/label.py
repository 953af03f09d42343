"""`clipsearch label`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.decoding import decoders
from clipsearch.cli.options import Count, Device, Index, Json, ModelSpec
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.parsing import completion
from clipsearch.cli.progress import counting
from clipsearch.cli.wording import printable
from clipsearch.errors import MOST

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath
    from clipsearch.search.labels.fitting import Label, LabelCount, LabelledPhoto


def label(
    path: Annotated[
        str | None,
        typer.Argument(metavar="[PATH]", help="A photo, or an indexed folder. Default: all."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="A file with a label a line, or: imagenet. Default: what people take photos of.",
            autocompletion=completion.label_lists,
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="List the photos that this label is the best one of.",
            autocompletion=completion.labels,
        ),
    ] = None,
    k: Count = 10,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say what a photo shows, or how many photos show what.

    A photo gets labels of a list, with their probabilities among it (by SigLIP, of each by
    itself); each photo of a folder is counted under its best one.
    """
    from clipsearch.library import Library

    most = MOST if k is None else k
    wanted = most + (0 < most < MOST)  # one more tells whether there are more
    cells: Callable[[Any], tuple[str, ...]]
    columns: tuple[str, ...]
    file: Callable[[Any], PhotoPath] | None = None  # the one whose path is in the last column
    with (
        Library.open(index, model=model, device=device, create=False) as library,
        counting("labels") as progress,
    ):
        if show is not None:
            columns, cells = (">probability", "path"), _photo_cells
            file = attrgetter("hit.path")
            found: Sequence[Any] = library.photos_labelled(
                show, path, labels, wanted, progress=progress
            )
        elif path is not None and _is_photo(path):
            columns, cells = (">probability", "label"), _label_cells
            with decoders() as processes:
                library.ask_with_care(processes)
                found = library.label(path, labels, most, progress=progress)
        else:
            columns, cells = (">photos", "label", "example"), _count_cells
            file = attrgetter("example")
            found = library.count_labels(path, labels, wanted, progress=progress)
    found, is_cut = found[:most], len(found) > most
    if json:
        print_json([it.as_dict(rank) for rank, it in enumerate(found, 1)])
    else:
        rows = [(str(rank), *cells(it)) for rank, it in enumerate(found, 1)]
        print_rows((">rank", *columns), rows, list(map(file, found)) if file else ())
    if is_cut:
        note(f"these are the first {most}, and there are more: -k {10 * most}, or -k all")
    if not found:
        what = f"no photo is best described by {show!r}" if show else "the index holds no photos"
        note(what)
        raise typer.Exit(1)


def _is_photo(path: str) -> bool:
    """Whether a path is meant as a photo; a folder may be on a drive that is not connected."""
    from clipsearch.photos.scanning.names import is_photo_name

    name = os.path.basename(path)
    return not os.path.isdir(path) and (
        os.path.exists(path) or (name != "" and is_photo_name(name))
    )


def _label_cells(found: Label) -> tuple[str, ...]:
    return f"{found.probability:.3f}", printable(found.label)


def _count_cells(found: LabelCount) -> tuple[str, ...]:
    return str(found.photos), printable(found.label), printable(str(found.example))


def _photo_cells(found: LabelledPhoto) -> tuple[str, ...]:
    return f"{found.probability:.3f}", printable(str(found.hit.path))

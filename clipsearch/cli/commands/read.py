"""`clipsearch read`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.decoding import decoders
from clipsearch.cli.interrupts import check_left, resumable
from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import note, print_json, print_rows, say
from clipsearch.cli.reports import read_summary
from clipsearch.cli.wording import printable

if TYPE_CHECKING:
    from clipsearch.encoders.reading.line import Line


def read(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Indexed folders. Default: all photos."),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(metavar="PHOTO", help="Print the text in a picture, and keep nothing."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="PP-OCRv6, or for other alphabets a recognition model's FILE.onnx.",
        ),
    ] = "PP-OCRv6",
    index: Index = None,
    json: Json = False,
) -> None:
    """Read the text in photos, which questions in words look in.

    It is kept in the index, with the place of each line; the photos' files are never changed.
    """
    from clipsearch.library import Library

    if show is not None:
        _show(show, model, index, json)
        return
    with (
        Library.open(index, create=False) as library,
        resumable("reading") as (progress, stopping),
    ):
        report = library.read_texts(
            paths or (), model=model, isolated=True, progress=progress, stopping=stopping
        )
    if json:
        print_json(asdict(report))
    else:
        say(read_summary(report))
    if not (report.read or report.failed or report.left):
        note(f"no photo is left that {printable(report.model)} did not read")
    check_left(report.left)


def _show(photo: str, model: str, index: Path | None, json: bool) -> None:
    lines = _lines(photo, model, index)
    if json:
        print_json([line.as_dict() for line in lines])
    else:
        rows = [(f"{line.certainty:.2f}", printable(line.text)) for line in lines]
        print_rows(("certainty", "~text"), rows)
    if not lines:
        note("there is no text in this picture, or none that can be read for certain")
        raise typer.Exit(1)


def _lines(photo: str, model: str, index: Path | None) -> list[Line]:
    """The text in a picture, which an index may hold, named or the usual one if it is there."""
    from clipsearch.library import Library
    from clipsearch.search.pictures import read_lines, read_picture
    from clipsearch.store.folder import usual_is_there

    with decoders() as processes:
        if index is None and not usual_is_there():
            return read_lines(read_picture(photo), model, processes)
        with Library.open(index, create=False) as library:
            library.ask_with_care(processes)
            return library.lines(photo, model=model)

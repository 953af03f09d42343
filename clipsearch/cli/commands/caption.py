"""`clipsearch caption`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clipsearch.cli.interrupts import check_left, resumable
from clipsearch.cli.options import Device, Index, Json
from clipsearch.cli.output import note, print_json, print_rows, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import EXPERTS
from clipsearch.cli.wording import printable
from clipsearch.notation import counted


def caption(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Indexed folders. Default: all photos."),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(metavar="PHOTO", help="Print the captions that a photo has, and write none."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="blip, blip-large, vit-gpt2, coca, coca-large, ORG/NAME or FOLDER.",
            autocompletion=completion.captioners,
        ),
    ] = "blip",
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Photos captioned at a time.", rich_help_panel=EXPERTS),
    ] = None,
    index: Index = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Have a model write captions, which questions in words look in.

    They are kept in the index; the photos' files are never changed.
    """
    from clipsearch.library import Library

    if show is not None:
        _show(show, index, device, json)
        return
    with (
        Library.open(index, device=device, create=False) as library,
        resumable("captioning") as (progress, stopping),
    ):
        report = library.write_captions(
            paths or (),
            model=model,
            batch_size=batch_size,
            isolated=True,
            progress=progress,
            stopping=stopping,
        )
    if json:
        print_json(asdict(report))
    else:
        failed = f", {report.failed} failed" if report.failed else ""
        say(f"{counted(report.written, 'caption')} written{failed}; {report.seconds:.1f} s")
    if not (report.written or report.failed or report.left):
        note(f"no photo is without a caption by {report.model}")
    check_left(report.left)


def _show(photo: str, index: Path | None, device: str, json: bool) -> None:
    captions = _captions(photo, index, device)
    if json:
        print_json([{"model": model, "caption": text} for model, text in captions.items()])
    else:
        rows = [(printable(model), printable(text)) for model, text in captions.items()]
        print_rows(("model", "~caption"), rows)
    if not captions:
        note(
            "no model wrote a caption for this photo; to have them written: clipsearch caption,"
            " and to see one of any picture: clipsearch describe"
        )
        raise typer.Exit(1)


def _captions(photo: str, index: Path | None, device: str) -> dict[str, str]:
    """What models wrote about a photo; nothing where no index is named, and there is none."""
    from clipsearch.library import Library
    from clipsearch.search.pictures import read_picture
    from clipsearch.store.folder import usual_is_there

    if index is None and not usual_is_there():
        read_picture(photo)  # which tells of one that is not there
        return {}
    with Library.open(index, device=device, create=False) as library:
        return library.captions(photo)

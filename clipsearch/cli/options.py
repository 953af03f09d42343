"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _count(value: str | int) -> int | None:
    if value == "all":
        return None
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is neither a number nor all") from None


Index = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="The index folder. Default: $CLIPSEARCH_INDEX, or the user's data folder.",
    ),
]
ModelSpec = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="An alias (see clipsearch models), NAME/PRETRAINED, hf-hub:ORG/NAME or NAME:FILE.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, mps, or another torch device.")
]
Count = Annotated[
    int | None,
    typer.Option("-k", metavar="N", parser=_count, help="How many photos to show, or all."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (see docs/json.md).")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")]
Paths = Annotated[bool, typer.Option("--paths", help="Print nothing but paths, one a line.")]
Print0 = Annotated[
    bool, typer.Option("--print0", "-0", help="Print nothing but paths, for xargs -0.")
]
Preview = Annotated[bool, typer.Option("--preview", help="Show the photos in the terminal.")]
Sheet = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a web page of the photos too, in one HTML file."),
]
Open = Annotated[
    bool, typer.Option("--open", help="Show the first photo, or the sheet, in its viewer.")
]

"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Count = Annotated[int, typer.Option("-k", metavar="N", help="How many photos to show.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (see docs/json.md).")]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Compare with every photo, also after clipsearch optimize."),
]

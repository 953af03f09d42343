"""The options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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

AllowUrl = Annotated[
    bool, typer.Option("--allow-url", help="Fetch a picture that is given as a URL.")
]


def _filter(kind: Any, metavar: str, help: str) -> Any:
    return Annotated[kind | None, typer.Option(metavar=metavar, help=help)]


# Each is named as the field of `Filters` that it sets.
FILTERS = {
    "folder": _filter(list[Path], "DIR", "Only photos below it. Repeatable."),
    "since": _filter(str, "DATE", "Taken then or later: 2024-05, '2 weeks ago'."),
    "until": _filter(str, "DATE", "Taken then or earlier."),
    "camera": _filter(str, "NAME", "Taken with it; a part of its name will do."),
    "near": _filter(str, "LAT,LON", "Taken near a place."),
    "within": _filter(str, "DISTANCE", "How near: 300m, 2mi. Default: 5km."),
    "orientation": _filter(str, "SHAPE", "landscape, portrait or square."),
    "min_size": _filter(str, "SIZE", "1920x1080, 2000 (the longer side) or 8MP."),
    "type": _filter(list[str], "TYPE", "jpeg, png, heic, raw, ... Repeatable."),
    "has": _filter(
        list[str], "FACT", "gps, date, camera, lens, title, caption, keywords. Repeatable."
    ),
}


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each filter; its parameter `filters` gets all of them."""
    # The name is known to type checkers alone; importing it would cost every command.
    hints = inspect.get_annotations(command, eval_str=True, locals={"Filters": None})
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, one in inspect.signature(command).parameters.items()
        if name != "filters"
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in FILTERS.items()
    ]

    def run(**values: Any) -> None:
        from clipsearch.search.filters import Filters

        chosen = {name: values.pop(name) for name in FILTERS}
        command(**values, filters=Filters(**{k: v for k, v in chosen.items() if v is not None}))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return run

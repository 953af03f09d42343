"""The options that several commands share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import ASKING, EXPERTS, FILTERS, OUTPUT
from clipsearch.ending import last
from clipsearch.errors import ClipsearchError, InvalidInput

if TYPE_CHECKING:
    from clipsearch.library import Library


def _count(value: str | int) -> int | None:
    text = str(value).removeprefix("=")  # of -k=5
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is neither a number nor all") from None


# Text and not a Path, which would take 's3://bucket' for 's3:/bucket'.
Folders = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...", help="Folders, or URLs of buckets. Default: all the index knows."
    ),
]
Pairs = Annotated[
    Path, typer.Argument(metavar="CSV", help="A table with an image and a caption in a row.")
]
ImagesFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="The folder that names are relative to. Default: the table's own."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Photos decoded at a time.", rich_help_panel=EXPERTS),
]
Index = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="The index folder. Default: $CLIPSEARCH_INDEX, or the user's data folder.",
        rich_help_panel=EXPERTS,
    ),
]
Mounted = Annotated[
    list[str] | None,
    typer.Option(
        "--mounted",
        metavar="FOLDER=PLACE",
        help="Where an indexed folder is on this machine, if elsewhere. Repeatable.",
        rich_help_panel=EXPERTS,
    ),
]
ModelSpec = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="An alias (see clipsearch models), NAME/PRETRAINED, hf-hub:ORG/NAME or NAME:FILE.",
        autocompletion=completion.models,
        rich_help_panel=EXPERTS,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda, mps, or another torch device.",
        autocompletion=completion.devices,
        rich_help_panel=EXPERTS,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "-k",
        "-n",
        "--limit",
        metavar="N",
        parser=_count,
        help="How many to show, or all.",
        rich_help_panel=ASKING,
    ),
]
Read = Annotated[
    bool, typer.Option("--read", help="Read the text in photos too, as clipsearch read does.")
]
KeepFor = Annotated[
    int | None,
    typer.Option(
        metavar="DAYS",
        help="Keep embeddings of what leaves so long. Default: 30.",
        rich_help_panel=EXPERTS,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON (see docs/json.md).", rich_help_panel=OUTPUT)
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Compare with every photo, also after clipsearch optimize.",
        rich_help_panel=EXPERTS,
    ),
]
Relevant = Annotated[
    bool,
    typer.Option(
        "--relevant", help="Only photos that stand out; there may be none.", rich_help_panel=ASKING
    ),
]
AnyImage = Annotated[
    str,
    typer.Argument(metavar="IMAGE", help="Any picture, indexed or not; - for stdin, or a URL."),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,W,H", help="Only this part of it: pixels, or percent as 50%,0%,50%,100%."
    ),
]
AllowUrl = Annotated[
    bool,
    typer.Option(
        "--allow-url", help="Fetch a picture that is given as a URL.", rich_help_panel=EXPERTS
    ),
]


@contextmanager
def open_to_index(
    index: Path | None, paths: list[str] | None, model: str | None, device: str
) -> Iterator[Library]:
    """Give the index, made first if there is none and it can begin with these folders.

    One that was made is removed again where an error or a stop leaves nothing indexed in it.

    Raises:
        As `Library.open`, and InvalidInput: there is no index, and no folder to begin it with.
    """
    from clipsearch.indexing.targets import check_first
    from clipsearch.library import Library
    from clipsearch.store.database import FILE_NAME
    from clipsearch.store.database.unused import discard_at_end  # which cannot be imported then
    from clipsearch.store.folder import default_folder, expanded

    folder = default_folder() if index is None else expanded(index)
    is_new, had_folder = not (folder / FILE_NAME).exists(), folder.exists()
    if is_new:
        check_first(paths or [])

    def leave_nothing() -> None:
        discard_at_end(folder)
        if not had_folder:
            with suppress(OSError):  # what has something in it stays
                folder.rmdir()

    with Library.open(index, model=model, device=device) as library:
        try:
            with last(leave_nothing) if is_new else nullcontext():
                yield library
        except BaseException:  # also what Ctrl-C raises
            with suppress(ClipsearchError):
                if is_new and library.discard() and not had_folder:
                    folder.rmdir()
            raise


def folders_of(mounted: list[str] | None) -> dict[str, str]:
    """What --mounted said, as `Library.open` takes it.

    Raises:
        InvalidInput: it is no two folders.
    """
    pairs = [text.partition("=")[::2] for text in mounted or ()]
    for indexed, here in pairs:
        if not indexed or not here:
            raise InvalidInput("--mounted takes two folders: --mounted /photos=/mnt/nas/photos")
    if len(dict(pairs)) < len(pairs):
        raise InvalidInput("--mounted names a folder twice")
    return dict(pairs)


def _option(kind: Any, help: str, metavar: str | None = None, *names: str) -> Any:
    return Annotated[kind, typer.Option(*names, metavar=metavar, help=help)]


def _in(panel: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, in the help in a group of that name, and completed by what can be."""
    for name, kind in options.items():
        kind.__metadata__[0].rich_help_panel = panel
        kind.__metadata__[0].autocompletion = completion.FILTERS.get(name)
    return options


# Options that stand for one object: a command's parameter `filters` or `output` gets it. Each is
# named as the field that it sets, and left out where a person does not give it.
GROUPS: dict[str, dict[str, Any]] = {
    "filters": _in(FILTERS, {
        "folder": _option(list[str] | None, "Only photos below it. Repeatable.", "DIR"),
        "since": _option(str | None, "Taken then or later: 2024-05, '2 weeks ago'.", "DATE"),
        "until": _option(str | None, "Taken then or earlier.", "DATE"),
        "camera": _option(str | None, "Taken with it; a part of its name will do.", "NAME"),
        "near": _option(str | None, "Taken near a town, or coordinates.", "TOWN|LAT,LON"),
        "within": _option(
            str | None, "How near: 300m, 2mi. Default: 5km, of a large town more.", "DISTANCE"
        ),
        "orientation": _option(str | None, "landscape, portrait or square.", "SHAPE"),
        "min_size": _option(str | None, "1920x1080, 2000 (longer side) or 8MP.", "SIZE"),
        "type": _option(list[str] | None, "jpeg, png, heic, raw, ... Repeatable.", "TYPE"),
        "has": _option(
            list[str] | None,
            "gps, date, camera, lens, title, caption, keywords, people, rating, place, text.",
            "FACT",
        ),
        "person": _option(list[str] | None, "Somebody who is named in it. Repeatable.", "NAME"),
        "min_rating": _option(int | None, "Stars, 1 to 5.", "STARS"),
        "place": _option(
            list[str] | None, "Taken in a town, region or country. Repeatable.", "NAME"
        ),
        "box": _option(str | None, "Taken inside it, in degrees.", "SOUTH,WEST,NORTH,EAST"),
    }),
    "output": _in(OUTPUT, {
        "json": Json,
        "csv": _option(bool, "Print CSV, for a spreadsheet.", None, "--csv"),
        "paths": _option(bool, "Print nothing but paths, one a line.", None, "--paths"),
        "print0": _option(bool, "Print nothing but paths, for xargs -0.", None, "--print0", "-0"),
        "preview": _option(bool, "Show the photos in the terminal.", None, "--preview"),
        "sheet": _option(Path | None, "Write a web page of them too, in one HTML file.", "FILE"),
        "open": _option(bool, "Show the first one, or the sheet, in its viewer.", None, "--open"),
    }),
}  # fmt: skip


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of the groups that it has a parameter for."""
    # These names are known to type checkers alone; importing them would cost every command.
    hints = inspect.get_annotations(
        command, eval_str=True, locals={"Filters": None, "Output": None}
    )
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, one in inspect.signature(command).parameters.items()
        if name not in GROUPS
    ]
    groups = {name: group for name, group in GROUPS.items() if name in hints}
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if get_args(kind)[0] is bool else None,
            annotation=kind,
        )
        for group in groups.values()
        for name, kind in group.items()
    ]

    def run(**values: Any) -> None:
        chosen = {
            group: {name: value for name in names if (value := values.pop(name)) is not None}
            for group, names in groups.items()
        }
        made = {group: _made(group, **fields) for group, fields in chosen.items()}
        command(**values, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return run


def _made(group: str, **fields: Any) -> Any:
    if group == "output":
        from clipsearch.cli.output import Output

        return Output(**fields)
    from clipsearch.search.filtering.filters import Filters, understood_filters

    filters = Filters(**fields)
    if sys.stderr.isatty():
        from clipsearch.cli.output import note
        from clipsearch.search.filtering.places import takes_long

        if takes_long(filters.near, filters.place):
            note("a list of all places is made, once; that takes up to half a minute")
        for line in understood_filters(filters):
            note(f"--{line}")
    return filters

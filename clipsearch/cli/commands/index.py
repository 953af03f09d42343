"""`clipsearch index`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.interrupts import KEPT, stop_on_signals
from clipsearch.cli.options import (
    Device,
    Folders,
    Index,
    Json,
    KeepFor,
    ModelSpec,
    Read,
    Workers,
    open_to_index,
)
from clipsearch.cli.output import end_with_the_reader, note, print_json, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import EXPERTS
from clipsearch.cli.progress import progress
from clipsearch.cli.reports import (
    FAILED,
    as_dict,
    passed_over,
    prepared,
    read_summary,
    summary,
)
from clipsearch.encoders.reading import check_installed
from clipsearch.ending import STOPPED, STOPPED_WITHIN

if TYPE_CHECKING:
    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.library import Library


def index(
    paths: Folders = None,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Photos embedded at a time.", rich_help_panel=EXPERTS),
    ] = None,
    workers: Workers = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove also what a missing or empty folder held."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read all files anew, though size and time are the same."),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try the files again that could not be read.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only what matches; as in a .gitignore. Repeatable. (*)"),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Not what matches. Repeatable. (*)"),
    ] = None,
    follow_links: Annotated[
        bool | None,
        typer.Option("--follow-links/--no-follow-links", help="Look behind symbolic links. (*)"),
    ] = None,
    raw_too: Annotated[
        bool | None,
        typer.Option("--raw-too/--no-raw-too", help="A RAW file also where its JPEG is. (*)"),
    ] = None,
    max_megapixels: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Refuse larger pictures. Default: 256.", rich_help_panel=EXPERTS
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Frames of an animation to look at, not only the first.",
            rich_help_panel=EXPERTS,
        ),
    ] = 1,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What embeds photos: torch, onnx, openvino, or auto, which is what suits the"
            " machine and the work. Kept with the model.",
            autocompletion=completion.runtimes,
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.precisions_to_index,
            help="int8: embed in 8 bits, faster, if photos of yours show that it costs little; or"
            " fp32. Kept with the model.",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|local",
            help="Embed on a Ray cluster (docs/scale.md).",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    ray_gpus: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="GPUs for one of its processes, such as 0.5. Default: 1.",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            help="Where a new index keeps its vectors: milvus:http://HOST:19530.",
            autocompletion=completion.stores,
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    keep_for: KeepFor = None,
    read: Read = False,
    json: Json = False,
) -> None:
    """Bring folders into the index, or all that it knows up to date.

    (*) Remembered with the folder, until said otherwise; an empty GLOB takes patterns back. A
    file .clipsearchignore in any folder, written like a .gitignore, leaves out what matches too.
    """
    if read:
        check_installed()
    with open_to_index(index, paths, model, device) as library:
        # Ray's processes have to be ended in order.
        within = None if ray else STOPPED_WITHIN
        with stop_on_signals(within=within) as stop, progress() as show:
            report = library.index(
                paths or (),
                batch_size=batch_size,
                workers=workers,
                isolated=True,
                prune=prune,
                verify=verify,
                retry=retry,
                include=include,
                exclude=exclude,
                follow_links=follow_links,
                raw_too=raw_too,
                max_megapixels=max_megapixels,
                frames=frames,
                runtime=runtime,
                precision=precision,
                ray=ray,
                ray_gpus=ray_gpus,
                store=store,
                keep_for=keep_for,
                progress=show,
                stopping=stop.is_set,
            )
        text: ReadReport | None = None
        try:
            report = prepared(library, report)
            if read and report.complete:
                text = _read(library, paths or ())
        finally:  # also where somebody does not wait for it
            if json:
                print_json(as_dict(report, text))
            else:
                end_with_the_reader()
                say(summary(report))
                if text is not None:
                    say(read_summary(text))
        if report.failed:
            note(FAILED)
        if report.passed_over:
            note(passed_over(report))
        if not report.complete or (text is not None and text.left):
            note(KEPT)
            raise typer.Exit(STOPPED)


def _read(library: Library, folders: Sequence[str]) -> ReadReport:
    with stop_on_signals() as stop, progress("loading the model", "reading") as show:
        return library.read_texts(folders, isolated=True, progress=show, stopping=stop.is_set)

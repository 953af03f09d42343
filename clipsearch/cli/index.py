"""`clipsearch index`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.interrupts import end_at_once
from clipsearch.cli.options import Device, Folders, Index, Json, KeepFor, ModelSpec, Workers
from clipsearch.cli.output import counted, end_with_the_reader, print_json
from clipsearch.ending import Askings

if TYPE_CHECKING:
    from clipsearch.library import IndexReport

FAILED = "what could not be read, and why: clipsearch status --failures"
PREPARING = "preparing fast queries, once for this model"

COUNTS = ("added", "updated", "moved", "removed", "unchanged", "failed")


def index(
    paths: Folders = None,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Photos embedded at a time.")
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
        int | None, typer.Option(metavar="N", help="Refuse larger pictures. Default: 256.")
    ] = None,
    frames: Annotated[
        int,
        typer.Option(metavar="N", help="Frames of an animation to look at, not only the first."),
    ] = 1,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="torch, or onnx for ONNX Runtime. Kept with the model."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|local", help="Embed on a Ray cluster (docs/scale.md)."),
    ] = None,
    ray_gpus: Annotated[
        float | None,
        typer.Option(metavar="N", help="GPUs for one of its processes, such as 0.5. Default: 1."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE", help="Where a new index keeps its vectors: milvus:http://HOST:19530."
        ),
    ] = None,
    keep_for: KeepFor = None,
    json: Json = False,
) -> None:
    """Bring folders into the index, or all that it knows up to date.

    (*) Remembered with the folder, until said otherwise; an empty GLOB takes patterns back. A
    file .clipsearchignore in any folder, written like a .gitignore, leaves out what matches too.
    """
    from clipsearch.library import Library

    with Library.open(index, model=model, device=device) as library:
        with stop_on_signals() as stop, progress() as show:
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
                ray=ray,
                ray_gpus=ray_gpus,
                store=store,
                keep_for=keep_for,
                progress=show,
                stopping=stop.is_set,
            )
        if json:
            print_json(as_dict(report))
        else:
            end_with_the_reader()
            print(summary(report), flush=True)
        if report.complete:
            with progress(PREPARING):
                library.export_texts()
    if report.failed:
        note(FAILED)
    if report.passed_over:
        note(passed_over(report))
    if not report.complete:
        note("stopped; what is done is kept. The same command goes on from there.")
        raise typer.Exit(130)


def as_dict(report: IndexReport) -> dict[str, Any]:
    """What `--json` shows of a run."""
    facts = asdict(report)
    return {key: facts[key] for key in (*COUNTS, "seconds", "images_per_second", "passed_over")}


def summary(report: IndexReport) -> str:
    """What a run did, in one line."""
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in COUNTS)
    with_pocket = " (with the pocket model: see clipsearch status)" if report.note else ""
    speed = f"{report.seconds:.1f} s, {report.images_per_second:.1f} images/s"
    again = report.embedded - report.added - report.updated
    further = f", {again} embedded anew" if again > 0 else ""
    return f"{counts}{further}; {speed}{with_pocket}"


def passed_over(report: IndexReport) -> str:
    """Which pictures a run passed over, in one line."""
    kinds = ", ".join(f"{extension} {count}" for extension, count in report.passed_over.items())
    return (
        f"{counted(sum(report.passed_over.values()), 'file')} of kinds that are not read ({kinds})"
    )


def note(text: str) -> None:
    """Tell a person something beside the results."""
    print(f"clipsearch: {text}", file=sys.stderr)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; the second one stops at once."""
    stop, askings = Event(), Askings()

    def ask(number: int, frame: FrameType | None) -> None:
        if askings.is_second():
            end_at_once()
        if not stop.is_set():
            stop.set()
            note("stopping after the current batch; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(
    first: str = "looking", then: str = "indexing"
) -> Iterator[Callable[..., None] | None]:
    """Draw a bar with rate and time left, if stderr is a terminal.

    What it gives takes what is done, the total, and, where that is not `then`, what is being done.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    rate = TextColumn("{task.fields[rate]}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=None, rate="")

        def show(done: int, total: int, what: str = then) -> None:
            if what != bar.tasks[0].description:  # other work, with a rate of its own
                bar.reset(task, description=what)
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

        yield show

"""`clipsearch watch`."""

from __future__ import annotations

import json as json_format
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.interrupts import stop_on_signals
from clipsearch.cli.options import Device, Folders, Index, Json, ModelSpec, Read, open_to_index
from clipsearch.cli.output import note, say
from clipsearch.cli.progress import progress
from clipsearch.cli.reports import FAILED, as_dict, passed_over, prepared, read_summary, summary
from clipsearch.ending import STOPPED_WITHIN
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.indexing.report import IndexReport


def watch(
    paths: Folders = None,
    index: Index = None,
    model: ModelSpec = None,
    device: Device = "auto",
    poll: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Look for changes so often, and wait for no events."),
    ] = None,
    read: Read = False,
    json: Json = False,
) -> None:
    """Bring folders up to date, and keep them so until Ctrl-C.

    Folders on a network, and those that the system cannot watch, are looked at every 30 seconds.
    """
    is_working = True  # on photos, which are brought to the end of a batch
    with (
        open_to_index(index, paths, model, device) as library,
        stop_on_signals(lambda: is_working, STOPPED_WITHIN, code=0) as stop,
        ExitStack() as first_look,
    ):
        show = first_look.enter_context(progress())
        is_first = True
        has_looked = False  # at all there is

        def show_first(done: int, total: int) -> None:
            nonlocal is_working
            is_working = True
            if show and is_first:
                show(done, total)

        def tell(report: IndexReport) -> None:
            nonlocal is_first, has_looked, is_working
            is_working = False
            first_look.close()
            has_looked = has_looked or report.complete
            if not stop.is_set():
                report = prepared(library, report)
            line = summary(report) if is_first else _line(report)
            _print(as_dict(report) if json else line, stop)
            if report.failed:
                note(FAILED)
            if is_first and report.passed_over:
                note(passed_over(report))
            if is_first and report.complete and not stop.is_set() and sys.stderr.isatty():
                note("watching; Ctrl-C ends it")
            is_first = False

        def tell_text(report: ReadReport) -> None:
            _print({"text": asdict(report)} if json else read_summary(report), stop)

        library.watch(
            paths or (), stop=stop, poll=poll, isolated=True, on_run=tell, progress=show_first,
            on_read=tell_text if read else None,
        )  # fmt: skip
        if not has_looked:
            raise typer.Exit


def _line(report: IndexReport) -> str:
    """A burst of changes, such as "+3 photos, 1 moved in 0.4 s"."""
    counts = [
        (report.added, f"+{counted(report.added, 'photo')}"),
        (report.updated, f"{report.updated} changed"),
        (report.moved, f"{report.moved} moved"),
        (report.removed, f"-{counted(report.removed, 'photo')}"),
        (report.failed, f"{report.failed} unreadable"),
    ]
    done = [what for count, what in counts if count] or [f"{report.embedded} embedded anew"]
    return f"{', '.join(done)} in {report.seconds:.1f} s"


def _print(report: dict[str, Any] | str, stop: Event) -> None:
    """Print a report in a line; without a reader, `stop`."""
    try:
        if isinstance(report, str):
            say(report)
        else:
            print(json_format.dumps(report), flush=True)
    except BrokenPipeError:
        _end_output()
        stop.set()


def _end_output() -> None:
    """Nobody reads the output any more, and what is left of it is not to raise at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

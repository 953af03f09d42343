"""What is told of a run over folders, by `clipsearch index` and `clipsearch watch`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from clipsearch.cli.progress import counting
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.indexing.later.texts import ReadReport
    from clipsearch.indexing.report import IndexReport
    from clipsearch.opened import OpenIndex

FAILED = "what could not be read, and why: clipsearch status --failures"
COUNTS = ("added", "updated", "moved", "removed", "unchanged", "failed")


def prepared(library: OpenIndex, report: IndexReport) -> IndexReport:
    """The report of a run, which takes longer where queries are made ready to be fast."""
    if not report.complete:
        return report
    began = time.monotonic()
    with counting("preparing fast queries") as progress:
        library.export_texts(progress=progress)
    return replace(report, seconds=round(report.seconds + time.monotonic() - began, 3))


def as_dict(report: IndexReport, text: ReadReport | None = None) -> dict[str, Any]:
    """What `--json` shows of a run, and of the text that was read after it."""
    facts = asdict(report)
    shown = {key: facts[key] for key in (*COUNTS, "seconds", "images_per_second", "passed_over")}
    return shown | {"text": asdict(text) if text else None}


def summary(report: IndexReport) -> str:
    """What a run did, in one line; a terminal has no room for what it did not do."""
    some = [name for name in COUNTS if getattr(report, name)] or ["unchanged"]
    names = some if sys.stdout.isatty() else COUNTS
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in names)
    with_pocket = " (with the pocket model: see clipsearch status)" if report.note else ""
    speed = f"{report.seconds:.1f} s, {report.embedded_per_second:.1f} images/s"
    again = report.embedded - report.added - report.updated
    further = f", {again} embedded anew" if again > 0 else ""
    return f"{counts}{further}; {speed}{with_pocket}"


def read_summary(report: ReadReport) -> str:
    """What a run that read text did, in one line."""
    failed = f", {report.failed} failed" if report.failed else ""
    text = f"{report.with_text} with text ({counted(report.lines, 'line')})"
    return f"{counted(report.read, 'photo')} read, {text}{failed}; {report.seconds:.1f} s"


def passed_over(report: IndexReport) -> str:
    """Which pictures a run passed over, in one line."""
    kinds = ", ".join(f"{extension} {count}" for extension, count in report.passed_over.items())
    return (
        f"{counted(sum(report.passed_over.values()), 'file')} of kinds that are not read ({kinds})"
    )

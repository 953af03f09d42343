"""`clipsearch doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Device, Index, Json
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.wording import counted, printable

if TYPE_CHECKING:
    from clipsearch.doctor import Finding

COLUMNS = ("area", "what", "state", "found", "what helps")


def doctor(
    index: Index = None,
    device: Device = "auto",
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask whether the model hub answers.")
    ] = False,
    json: Json = False,
) -> None:
    """Look whether all is in order here, and tell what helps.

    Exit code 1 means that something is broken; what is merely absent is no fault.
    """
    from clipsearch.doctor import BROKEN, examine

    findings = list(examine(index, device, offline))
    broken = sum(finding.state == BROKEN for finding in findings)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
        note(_verdict(broken))
    if broken:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    rows = [
        (it.area, printable(it.name), it.state, printable(it.what), printable(it.remedy or ""))
        for it in findings
    ]
    print_rows(COLUMNS, rows)


def _verdict(broken: int) -> str:
    return f"{counted(broken, 'thing')} broken" if broken else "nothing is broken"

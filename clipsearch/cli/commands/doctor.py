"""`clipsearch doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Device, Index, Json
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.terminal import Colour, coloured, fitted
from clipsearch.cli.wording import printable
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.doctor import Finding

_KEYS = ("area", "name", "state", "what", "remedy")
COLUMNS = ("area", "what", "state", "found", "what helps")
_COLOURS: dict[str, Colour] = {"ok": "green", "absent": "yellow", "broken": "red"}
_STATE, _WHAT = 10, 18  # where these begin on a terminal


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
        print_json([{key: getattr(it, key) for key in _KEYS} for it in findings])
    else:
        _print(findings)
        note(f"{counted(broken, 'thing')} broken", "red") if broken else note("nothing is broken")
    if broken:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    from clipsearch.doctor import summed_up

    if not sys.stdout.isatty():
        print_rows(COLUMNS, [attrgetter(*_KEYS)(it) for it in map(_printable, findings)])
        return
    area = ""
    for it in map(_with_home, map(_printable, summed_up(findings))):
        state = it.state.ljust(_WHAT - _STATE)
        said = f"{it.area if it.area != area else '':{_STATE}}{state}{_told(it)}"
        lines = fitted(said, sys.stdout, _WHAT)
        print(lines.replace(state, coloured(state, _COLOURS[it.state], sys.stdout), 1))
        if it.remedy:
            print(fitted(f"{'':{_WHAT}}what helps: {it.remedy}", sys.stdout, _WHAT))
        area = it.area
    sys.stdout.flush()


def _printable(it: Finding) -> Finding:
    name, what, remedy = map(printable, (it.name, it.what, it.remedy or ""))
    return replace(it, name=name, what=what, remedy=remedy)


def _with_home(it: Finding) -> Finding:
    """With the user's own folder as shells write it, which is shorter."""
    home = os.path.expanduser("~")
    if len(home) < 2:
        return it
    what, remedy = (
        text.replace(home + os.sep, f"~{os.sep}") for text in (it.what, it.remedy or "")
    )
    return replace(it, what=what, remedy=remedy)


def _told(it: Finding) -> str:
    return it.what if it.name == it.area else f"{it.name}: {it.what}"

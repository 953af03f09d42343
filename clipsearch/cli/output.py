"""How results are printed."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from clipsearch.search.results import Hit

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def end_with_the_reader() -> None:
    """From here on end quietly, as filters do, when the reader (head, less) has seen enough.

    Called when the work is done and only printing is left: a pipe to a worker or a socket that
    breaks earlier must not end the process.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def print_json(value: Any) -> None:
    """Print a value as JSON.

    Escaped to ASCII: a name that is not UTF-8 keeps its bytes as lone surrogates
    (`os.fsencode` gives them back), and those cannot be printed otherwise.
    """
    end_with_the_reader()
    print(json.dumps(value, indent=2))


def print_hits(hits: Sequence[Hit], as_json: bool) -> None:
    """Print hits: a table on a terminal, tab-separated lines in a pipe, or JSON."""
    if as_json:
        print_json([hit.as_dict(rank) for rank, hit in enumerate(hits, 1)])
    else:
        digits = 3 if sys.stdout.isatty() else 4
        rows = [
            (str(rank), f"{hit.score:.{digits}f}", printable(str(hit.path)))
            for rank, hit in enumerate(hits, 1)
        ]
        print_rows((">rank", ">score", "path"), rows)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table with headers on a terminal, tab-separated lines in a pipe.

    A column whose name starts with ">" aligns right.
    """
    end_with_the_reader()
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
    elif rows:
        _print_table(columns, rows)


def printable(path: str) -> str:
    """A path on one line: control characters and bytes that are no text are shown as \\x.."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", path)
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in shown)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        justify: Literal["left", "right"] = "right" if name[0] == ">" else "left"
        table.add_column(name.lstrip(">"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)

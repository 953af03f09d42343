"""Tables on a terminal: dim headers, and no cell that is broken in the middle of a word."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipsearch.cli.terminal import broken, cells, is_decorated, linked, styled, width_of
from clipsearch.cli.wording import Photo, away_of, fit_of, printable, score_of, written_of

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath

_GAP = 2
# Narrower than this no text is broken and no path shortened: it goes below its row.
_LEAST, _LEAST_PATH = 24, 48

Cells = Sequence[str]


def print_photos(photos: Sequence[Photo]) -> None:
    """Print a line for each photo: rank, score, how well it fits, and path, with a header."""
    if not photos:
        return
    columns = [">rank"]
    columns += [">score"] * bool(score_of(photos[0], 3)) + [">fit"] * bool(fit_of(photos[0]))
    rows = [
        (str(rank), *score_of(photo, 3), *fit_of(photo), printable(str(photo.path)))
        for rank, photo in enumerate(photos, 1)
    ]
    paths = [photo.path for photo in photos]
    marks = ["".join(f"  ({it})" for it in written_of(photo)) + away_of(photo) for photo in photos]
    print_table((*columns, "path"), rows, paths, marks)


def print_paths(photos: Sequence[Photo]) -> None:
    """Print nothing but paths, whole."""
    decorated = is_decorated()
    for photo in photos:
        path = printable(str(photo.path))
        print(linked(path, photo.path) if decorated else path)


def print_table(
    columns: Cells, rows: Sequence[Cells], files: Sequence[PhotoPath] = (), marks: Cells = ()
) -> None:
    """Print rows below a header, as wide as the terminal is.

    A column whose name starts with ">" aligns right; the texts of one that starts with "~" may be
    broken between words. `files` are those, one a row, of which the last column has the paths:
    they are shortened, and a click opens the whole; `marks` is what is said after each. A column
    that finds no room stands in a line below its row, and one of empty cells is left out.
    """
    kept = [n for n in range(len(columns)) if n == 0 or any(row[n] for row in rows)]
    columns, rows = [columns[n] for n in kept], [[row[n] for n in kept] for row in rows]
    marks = marks or [""] * len(rows)
    room = width_of(sys.stdout) - max(map(len, marks), default=0)
    layout = _Layout(columns, rows, room, bool(files))
    header = "\n".join(layout.lines([name.lstrip(">~") for name in columns]))
    print(styled(header, "dim") if is_decorated() else header)
    for row, file, mark in itertools.zip_longest(rows, files, marks):
        print("\n".join(layout.lines(row, file, mark)))


class _Layout:
    """How wide each column is, and which of them stand below their rows."""

    def __init__(self, columns: Cells, rows: Sequence[Cells], room: int, has_files: bool) -> None:
        names = [name.lstrip(">~") for name in columns]
        self._is_right = [name.startswith(">") for name in columns]
        self._is_text = [name.startswith("~") for name in columns]
        self._room = room
        self._file = len(columns) - 1 if has_files else None
        self._widths = [max(map(cells, column)) for column in zip(names, *rows, strict=True)]
        self._beside = list(range(len(columns)))
        self._below: list[int] = []
        self._narrow()
        self._hang = self._widths[0] + _GAP if self._widths[0] < _LEAST else _GAP

    def _narrow(self) -> None:
        """Take from what can be broken or shortened, or else put the widest column below."""
        widths = self._widths
        excess = sum(widths[n] for n in self._beside) + _GAP * (len(self._beside) - 1) - self._room
        spare = {n: widths[n] - least for n in self._beside if (least := self._least(n))}
        if excess <= sum(n for n in spare.values() if n > 0):
            for _ in range(excess):
                most = max(spare, key=spare.__getitem__)
                widths[most] -= 1
                spare[most] -= 1
        elif others := self._beside[1:]:
            widest = max(others, key=widths.__getitem__)
            self._beside.remove(widest)
            self._below = sorted([*self._below, widest])
            self._narrow()

    def _least(self, column: int) -> int:
        """How narrow a column may be made; 0 for one that is as wide as it is."""
        if column == self._file:
            return _LEAST_PATH
        return _LEAST * self._is_text[column]

    def lines(self, row: Cells, file: PhotoPath | None = None, mark: str = "") -> list[str]:
        """The lines of a row; what is in the last column leads to the file."""
        shown = {n: self._shown(n, row[n], self._widths[n]) for n in self._beside}
        lines = [
            (" " * _GAP).join(map(self._padded, self._beside, line)).rstrip()
            for line in itertools.zip_longest(*shown.values(), fillvalue="")
        ]
        room = self._room - self._hang
        below = [line for n in self._below for line in self._shown(n, row[n], room) if line]
        lines += [" " * self._hang + line for line in below]
        if file is not None:
            place = 0 if self._file in self._beside else -1
            (path,) = shown.get(len(row) - 1) or self._shown(len(row) - 1, row[-1], room)
            lines[place] = lines[place].removesuffix(path) + _leading(path, file) + mark
        return lines

    def _shown(self, column: int, cell: str, width: int) -> list[str]:
        if self._is_text[column]:
            return broken(cell, width)
        return [shortened(cell, width) if column == self._file else cell]

    def _padded(self, column: int, text: str) -> str:
        spaces = " " * (self._widths[column] - cells(text))
        return spaces + text if self._is_right[column] else text + spaces


def shortened(path: str, room: int) -> str:
    """A path in at most `room` terminal cells: its middle left out, and not the file's name."""
    if cells(path) <= room:
        return path
    from rich.cells import set_cell_size

    end = room // 2
    name = os.path.basename(path)
    if cells(name) + 2 <= room:
        end = max(end, cells(name) + 1)  # with the separator before it
    else:
        path = name
    return f"{set_cell_size(path, room - 1 - end)}…{set_cell_size(path[::-1], end)[::-1]}"


def _leading(path: str, file: PhotoPath) -> str:
    """A path whose file opens at a click, where the terminal can."""
    if not is_decorated():
        return path
    name = os.path.basename(path)
    return linked(styled(path.removesuffix(name), "dim") + name, file)

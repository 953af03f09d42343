"""Captioned images, as people keep them: a table with an image and a caption in each row."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipsearch.errors import InvalidInput, arg
from clipsearch.photos.scanning.names import is_photo_name
from clipsearch.textfile import text_of

log = logging.getLogger("clipsearch")

# What the columns are called, in whatever case: where there are several, the first of these.
IMAGE_COLUMNS = ("image", "filepath", "path", "filename", "file", "image_name", "file_name")
CAPTION_COLUMNS = ("caption", "title", "text", "sentence", "comment")
SPLIT_COLUMN = "split"

_DELIMITERS = "\t,;|"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Images and their captions, each image with one or several."""

    images: list[Path]
    captions: list[str]  # those of one image beside each other, in the order of the images
    owners: np.ndarray  # (captions,) int64, ascending: the number of each caption's image

    def only(self, kept: Sequence[int]) -> Pairs:
        """The pairs of the images of some numbers, which ascend."""
        fresh = {number: new for new, number in enumerate(kept)}
        chosen = [row for row, owner in enumerate(self.owners.tolist()) if owner in fresh]
        return Pairs(
            [self.images[number] for number in kept],
            [self.captions[row] for row in chosen],
            np.array([fresh[int(self.owners[row])] for row in chosen], np.int64),
        )


class _Row(NamedTuple):
    image: str
    caption: str
    split: str


def read_pairs(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
) -> Pairs:
    """The pairs of a table with a header, whose cells a comma, tab, semicolon or | separates.

    Names of images are relative to the folder `images`, or else to the table's own; one that is
    not there is looked for under another extension. `split` takes a part: the rows with this in
    the column "split", or where there is none, the images that SPLIT.txt beside the table lists.

    Raises:
        InvalidInput: the table cannot be read, lacks a column, or holds no pairs.
    """
    table = Path(os.path.expanduser(file))
    rows, has_splits = _rows(table)
    if split is not None:
        rows = _part(rows, split, table, has_splits)
    elif has_splits and len(names := sorted({row.split for row in rows})) > 1:
        log.warning("all splits are taken (%s); name one to take it alone", ", ".join(names))
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).append(row.caption)
    folder = Path(os.path.expanduser(images)) if images is not None else table.parent
    counts = [len(some) for some in captions.values()]
    return Pairs(
        list(_files(folder, list(captions))),
        [caption for some in captions.values() for caption in some],
        np.repeat(np.arange(len(counts)), counts),
    )


def splits_of(file: str | os.PathLike[str]) -> set[str]:
    """The names in a table's column "split", in lower case; none where there is no such column.

    Raises:
        InvalidInput: as `read_pairs`.
    """
    rows, _ = _rows(Path(os.path.expanduser(file)))
    return {row.split.lower() for row in rows if row.split}


def _rows(table: Path) -> tuple[list[_Row], bool]:
    """The rows that hold an image and a caption, and whether there is a column of splits."""
    text = text_of(table, "table of captions")
    if not text.strip():
        raise InvalidInput(f"{table} is empty; it needs a header and a row for each caption")
    header, delimiter = _header(text.lstrip().partition("\n")[0])
    image = _column(header, IMAGE_COLUMNS, table)
    caption = _column(header, CAPTION_COLUMNS, table)
    split = header.index(SPLIT_COLUMN) if SPLIT_COLUMN in header else len(header)
    # Strict: a quotation mark that is not closed would swallow the rows that follow.
    reader = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter, strict=True)
    try:
        cells = [[cell.strip() for cell in row] for row in reader if row][1:]
    except csv.Error as error:
        raise InvalidInput(f"{table}, line {reader.line_num}: {error}") from error
    rows = [_Row(_cell(row, image), _cell(row, caption), _cell(row, split)) for row in cells]
    whole = [row for row in rows if row.image and row.caption]
    if not whole:
        raise InvalidInput(f"{table} holds no row with an image and a caption")
    if len(whole) < len(rows):
        lost = len(rows) - len(whole)
        log.warning("rows without an image or a caption, which are left out: %d", lost)
    return whole, SPLIT_COLUMN in header


def _cell(row: Sequence[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _header(line: str) -> tuple[list[str], str]:
    """The names of the columns, and what separates them: whatever makes most columns of ours."""
    known = {*IMAGE_COLUMNS, *CAPTION_COLUMNS, SPLIT_COLUMN}

    def names(delimiter: str) -> list[str]:
        (cells,) = csv.reader([line], delimiter=delimiter)
        return [cell.strip().lower() for cell in cells]

    delimiter = max(_DELIMITERS, key=lambda one: len(known.intersection(names(one))))
    return names(delimiter), delimiter


def _column(header: Sequence[str], names: Sequence[str], table: Path) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise InvalidInput(
        f"{table} has no column named {names[0]!r} (or {', '.join(names[1:])}); its first line"
        f" names: {', '.join(header)[:200]}"
    )


def _part(rows: Sequence[_Row], split: str, table: Path, has_splits: bool) -> list[_Row]:
    if has_splits:
        chosen = [row for row in rows if row.split.lower() == split.lower()]
        there = ", ".join(sorted({row.split for row in rows}))
        where = f"{table} has no row of the split {split!r}; it has: {there}"
    else:
        listed = _listed(table.with_name(f"{split}.txt"), table)
        chosen = [row for row in rows if os.path.splitext(row.image)[0] in listed]
        where = f"{table} has none of the images that {split}.txt lists"
    if not chosen:
        raise InvalidInput(where)
    return chosen


def _listed(file: Path, table: Path) -> set[str]:
    """The images that a file lists, one a line, without their extensions."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{arg('split')} needs a column {SPLIT_COLUMN!r} in {table}, or beside it a list of the"
            f" images, one a line: {file.name}"
        ) from error
    return {os.path.splitext(line.strip())[0] for line in lines if line.strip()}


def _files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Where the images are; those that are not there, by their stem."""
    listings: dict[Path, dict[str, list[str]]] = {}
    for name in names:
        path = folder / name
        if not path.exists():
            if path.parent not in listings:
                listings[path.parent] = _stems(path.parent)
            found = listings[path.parent].get(path.stem, [])
            path = path.with_name(found[0]) if len(found) == 1 else path
        yield path


def _stems(folder: Path) -> dict[str, list[str]]:
    """The photos of a folder by their names without extension."""
    stems: dict[str, list[str]] = {}
    try:
        photos = sorted(filter(is_photo_name, os.listdir(folder)))
    except OSError:
        return stems
    for name in photos:
        stems.setdefault(os.path.splitext(name)[0], []).append(name)
    return stems

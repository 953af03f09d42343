"""Photos and their captions, as a CSV file tells them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import InvalidInput

log = logging.getLogger("clipsearch")

IMAGE = ("image", "filepath", "path")  # by the names of columns, the first that is there
CAPTION = ("caption", "title")
VALIDATION = ("val", "valid", "validation", "dev")


@dataclass(frozen=True, slots=True)
class Captioned:
    """A photo and its captions, of which there is at least one."""

    path: Path
    captions: tuple[str, ...]
    split: str  # as the file says, in lower case; "" where it does not


def read_pairs(file: Path) -> list[Captioned]:
    """The photos of a CSV file with a header, each with the captions of all its rows.

    Paths are those of the file's folder. Rows without a caption and photos that are not there are
    left out, and told.

    Raises:
        InvalidInput: it is no such file, or no photo of it is there.
    """
    captions: dict[tuple[Path, str], list[str]] = {}
    for path, caption, split in _rows(file):
        captions.setdefault((path, split), []).append(caption)
    here = [Captioned(path, tuple(told), split) for (path, split), told in captions.items()
            if path.is_file()]  # fmt: skip
    if not here:
        some = next((str(path) for path, _ in captions), "it has no rows")
        raise InvalidInput(f"none of the photos that {file} names is there ({some})")
    if len(here) < len(captions):
        missing = next(path for path, _ in captions if not path.is_file())
        log.warning(
            "%d of the photos in %s are not there and are left out, as %s",
            len(captions) - len(here), file, missing,
        )  # fmt: skip
    return here


def _rows(file: Path) -> Iterator[tuple[Path, str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            delimiter = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
            rows = csv.DictReader(stream, delimiter=delimiter)
            named = {name.strip().lower(): name for name in rows.fieldnames or ()}
            image = next((named[name] for name in IMAGE if name in named), None)
            caption = next((named[name] for name in CAPTION if name in named), None)
            if image is None or caption is None:
                raise InvalidInput(
                    f"{file} needs a header with the columns image and caption; it has:"
                    f" {', '.join(named) or 'nothing'}"
                )
            for row in rows:
                text = (row[caption] or "").strip()
                if row[image] and text:
                    split = (row.get(named.get("split", "")) or "").strip().lower()
                    yield file.absolute().parent / row[image].strip(), text, split
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{file} is no CSV in UTF-8: {error}") from error

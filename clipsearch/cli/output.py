"""How results are printed."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import typer

from clipsearch.cli.terminal import Colour, coloured, fitted
from clipsearch.cli.wording import Photo, harmless, printable, score_of
from clipsearch.errors import InvalidInput
from clipsearch.notation import as_json

if TYPE_CHECKING:
    from clipsearch.photos.files.urls import PhotoPath

    Files = Sequence[PhotoPath]

_NAME = "clipsearch: "
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")  # OWASP's page on CSV injection
P = TypeVar("P", bound=Photo)


@dataclass(frozen=True, slots=True)
class Output:
    """How an answer is wanted. Making one checks that it can be had, before anything is searched.

    Raises:
        InvalidInput: two forms at once, or one that this terminal or machine cannot show.
    """

    json: bool = False
    csv: bool = False
    paths: bool = False
    print0: bool = False
    preview: bool = False
    sheet: Path | None = None
    open: bool = False

    def __post_init__(self) -> None:
        forms = ("json", "csv", "paths", "print0", "preview")
        asked = [f"--{form}" for form in forms if getattr(self, form)]
        if len(asked) > 1:
            raise InvalidInput(f"{asked[0]} and {asked[1]} exclude each other; choose one")
        if self.preview:
            from clipsearch.cli.preview import check_preview

            check_preview()
        if self.sheet:
            from clipsearch.cli.sheet import check_file

            check_file(self.sheet)
        if self.open:
            from clipsearch.cli.viewer import check_viewer

            check_viewer()

    @property
    def is_for_program(self) -> bool:
        """Whether what is printed is for a program, and so each photo by itself."""
        return self.json or self.csv or self.print0 or not sys.stdout.isatty()

    @property
    def is_printed_alone(self) -> bool:
        """Whether nothing is done with the photos but that they are printed for a program."""
        return self.is_for_program and not (self.preview or self.sheet or self.open)


class Table(NamedTuple):
    """Rows of text, as `print_rows` takes them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def answer(
    photos: Sequence[Photo],
    output: Output,
    title: str,
    nothing: str,
    table: Table | None = None,
) -> None:
    """Show the photos that answer a question, its `title`, in every way asked for.

    None at all is exit code 1; `nothing` is then said on stderr. A `table` is shown in place of
    ranks, scores and paths.
    """
    if output.sheet and photos:
        # Before anything is printed: a reader that has seen enough ends this process.
        from clipsearch.cli.sheet import write_sheet

        write_sheet(output.sheet, title, photos)
    _print(photos, output, table)
    sys.stdout.flush()
    if not photos:
        note(nothing)
        raise typer.Exit(1)
    if output.open:
        from clipsearch.cli.viewer import view

        view(output.sheet or photos[0].path)


def answer_each(
    photos: Iterator[P],
    output: Output,
    nothing: Callable[[], str],
    row: Callable[[P], Sequence[str]],
) -> None:
    """As `answer`, of what `is_printed_alone`: each photo is printed as it comes.

    A line is a photo's `row`, unless another form is asked for.
    """
    first = next(photos, None)
    some = photos if first is None else chain((first,), photos)
    end_with_the_reader()
    _write(some, output, lambda _, photo: row(photo))
    sys.stdout.flush()
    if first is None:
        note(nothing())
        raise typer.Exit(1)


def _print(photos: Sequence[Photo], output: Output, table: Table | None) -> None:
    end_with_the_reader()
    if output.preview:
        from clipsearch.cli.preview import show

        show(photos)
    elif table and not (output.json or output.csv or output.print0 or output.paths):
        print_rows(*table, [photo.path for photo in photos])
    elif output.is_for_program:
        _write(photos, output, _line)
    elif output.paths:
        from clipsearch.cli.table import print_paths

        print_paths(photos)
    else:
        from clipsearch.cli.table import print_photos

        print_photos(photos)
        _warn_of_strangers(photos)


def _write(photos: Iterable[P], output: Output, line: Callable[[int, P], Sequence[str]]) -> None:
    """Print photos for a program, each by itself; as lines unless a form is asked for."""
    if output.json:
        _print_json_array(photos)
    elif output.csv:
        _print_csv(photos)
    elif output.print0:
        _write_paths(photos, b"\0")
    elif output.paths:
        _write_paths(photos, b"\n")
    else:
        for rank, photo in enumerate(photos, 1):
            print(*line(rank, photo), sep="\t")


def _warn_of_strangers(photos: Sequence[Photo]) -> None:
    """Say it if a question has answers and none that fits."""
    from clipsearch.search.results import DIGITS, NOTHING, Hit, stands_out

    hits = [it for it in photos if isinstance(it, Hit)]
    told = [hit.relevance for hit in hits if hit.relevance is not None]
    if not told or len(told) < len(photos) or any(map(stands_out, hits)):
        return
    if round(max(told), DIGITS) < NOTHING:
        note("nothing seems to fit; these come nearest, and another question may find more")
    else:
        note("no photo fits for certain; these may")


def _line(rank: int, photo: Photo) -> Sequence[str]:
    return str(rank), *score_of(photo, 4), printable(str(photo.path))


def _print_json_array(photos: Iterable[Photo]) -> None:
    """As `print_json`, photo by photo: the whole text of a million would take gigabytes."""
    first = before = "[\n"
    for rank, photo in enumerate(photos, 1):
        alone = as_json([photo.as_dict(rank)], 2)
        print(before, alone.removeprefix(first).removesuffix("\n]"), sep="", end="")
        before = ",\n"
    print("[]" if before == first else "\n]")


def _print_csv(photos: Iterable[Photo]) -> None:
    """As RFC 4180 has it, in UTF-8, with the keys of the JSON as a header."""
    import csv

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
    rows = csv.writer(sys.stdout)
    for rank, photo in enumerate(photos, 1):
        facts = photo.as_dict(rank)
        if rank == 1:
            rows.writerow(facts)
        rows.writerow(map(_cell, facts.values()))


def _cell(value: Any) -> Any:
    """A value of a CSV. A text that a spreadsheet would compute has an apostrophe before it."""
    text = "; ".join(map(_word, value)) if isinstance(value, list | tuple) else value
    if isinstance(value, dict):  # a place, from the nearest name to the country
        names = (name for key, name in value.items() if name and key != "country_code")
        text = ", ".join(dict.fromkeys(names))
    return f"'{text}" if isinstance(text, str) and text.startswith(_COMPUTED) else text


def _word(value: Any) -> str:
    """One of several values: a keyword, the name of a person, the text of a line."""
    return value if isinstance(value, str) else str(value.get("name") or value["text"])


def _write_paths(photos: Iterable[Photo], end: bytes) -> None:
    """Write paths as the file system has them; a line break in one must not make it two."""
    escaped = b"\\x0a" if end == b"\n" else b"\n"
    for photo in photos:
        sys.stdout.buffer.write(os.fsencode(photo.path).replace(b"\n", escaped) + end)


def end_with_the_reader() -> None:
    """From here on end quietly, as filters do, when the reader (head, less) has seen enough.

    Called when the work is done and only printing is left: a pipe to a worker or a socket that
    breaks earlier must not end the process.
    """
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def note(text: str, colour: Colour | None = None) -> None:
    """Tell a person something beside the results; a colour says what kind of thing it is."""
    said = fitted(f"{_NAME}{harmless(text)}", sys.stderr)
    if colour:
        said = coloured(_NAME.strip(), colour, sys.stderr) + said.removeprefix(_NAME.strip())
    print(said, file=sys.stderr, flush=True)


def say(text: str, hang: int = 0) -> None:
    """Print a result of some words; on a terminal what does not fit hangs below its start."""
    print(fitted(text, sys.stdout, hang), flush=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    end_with_the_reader()
    print(as_json(value, 2), flush=True)  # a lost answer needs no notes


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], files: Files = ()) -> None:
    """Print rows: a table with headers on a terminal, tab-separated lines in a pipe.

    `columns` and `files` are as for `print_table`.
    """
    end_with_the_reader()
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
    elif rows:
        from clipsearch.cli.table import print_table

        print_table(columns, rows, files)
    sys.stdout.flush()

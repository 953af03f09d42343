"""`clipsearch query`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import (
    AllowUrl,
    Count,
    Device,
    Exact,
    Index,
    ModelSpec,
    Mounted,
    Relevant,
    folders_of,
)
from clipsearch.cli.output import Output, answer, note
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import EXPERTS
from clipsearch.cli.wording import nothing_found, printable
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.search.filtering.filters import Filters


def query(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...",
            help="What the photo shows; parts as in 'horse + 2*stripes - fence + ./a.jpg'.",
        ),
    ] = None,
    k: Count = 10,
    relevant: Relevant = False,
    hybrid: Annotated[
        bool,
        typer.Option(
            "--hybrid",
            help="Look in names, captions and keywords too, as is done anyway; refuse no words.",
            rich_help_panel=EXPERTS,
        ),
    ] = False,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE", help="A picture to go with the words. Repeatable."),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What it should not show. Repeatable."),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="How much a picture counts; the words count 1. Default: 1.",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    allow_url: AllowUrl = False,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Order the first 32 by a model that compares them with the words: blip.",
            autocompletion=completion.matchers,
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    no_hybrid: Annotated[
        bool,
        typer.Option(
            "--no-hybrid",
            help="Look at pictures alone, and not at names, captions and keywords too.",
            rich_help_panel=EXPERTS,
        ),
    ] = False,
    exact: Exact = False,
    index: Index = None,
    mounted: Mounted = None,
    model: ModelSpec = None,
    device: Device = "auto",
    *,
    filters: Filters,
    output: Output,
) -> None:
    """Find photos by words, by pictures, or by both together."""
    from clipsearch.library import Library

    text = _joined(words or ())
    if hybrid and no_hybrid:
        raise InvalidInput("--hybrid and --no-hybrid exclude each other; choose one")
    if weight is not None and not image:
        raise InvalidInput("--weight is that of pictures: give one with --image; words: '2*dog'")
    with Library.open(
        index, model=model, device=device, create=False, mounted=folders_of(mounted)
    ) as library:
        hits = library.query(
            text,
            k,
            images=image or (),
            minus=minus or (),
            image_weight=1.0 if weight is None else weight,
            filters=filters,
            allow_url=allow_url,
            exact=exact,
            relevant=relevant,
            hybrid=hybrid or (False if no_hybrid else None),
            rerank=rerank,
            isolated=True,
        )
        nothing = "" if hits else _nothing(library, text, minus or (), filters, relevant, no_hybrid)
    if hits and sys.stdout.isatty() and not image and _is_against(text, minus or ()):
        note("nothing is asked for but only left out; first come photos that are least like it")
    title = " + ".join(filter(None, [text, *(image or ()), *(f"- {it}" for it in minus or ())]))
    answer(hits, output, title, nothing)


def _nothing(
    library: Library, text: str, minus: Sequence[str], filters: Filters, relevant: bool,
    no_hybrid: bool,
) -> str:  # fmt: skip
    from clipsearch.search.answers import Question

    hybrid = False if no_hybrid else None
    asked = Question(text, minus, filters=filters, relevant=relevant, hybrid=hybrid)
    return nothing_found(library.why_nothing(asked), filters)


def _is_against(text: str, minus: Sequence[str]) -> bool:
    """Whether a question has nothing but parts that count against, as `clipsearch query - dog`."""
    from clipsearch.search.question import read_terms

    return all(term.weight < 0 for term in read_terms(text, (), 1.0, minus))


def _joined(words: Sequence[str]) -> str:
    """The words as one question, as if they had stood in quotes.

    Raises:
        InvalidInput: a folder or a picture among them, which would count as words.
    """
    for place, word in enumerate(words):
        others = shlex.join([*words[:place], *words[place + 1 :]])
        if fault := _no_word(word, words[place - 1] if place else "", others):
            raise InvalidInput(f"{printable(word)} {fault}")
    return " ".join(words)


def _no_word(word: str, before: str, others: str) -> str:
    """What is wrong with a word that is a path, and what to do; nothing of any other.

    A picture's path may be a part of a question, with a sign before it or alone.
    """
    from clipsearch.photos.files.urls import is_url
    from clipsearch.photos.scanning.names import is_photo_name
    from clipsearch.search.question import names_picture

    path, named, is_path = os.path.expanduser(word), shlex.quote(word), names_picture(word)
    if is_url(word) or word == os.sep:
        return ""
    if os.path.isdir(path) and (is_path or word.endswith(os.sep)):
        command = f"query {others}" if others else "ls"
        return f"is a folder; for photos below it: clipsearch {command} --folder {named}"
    if os.path.isfile(path) and not is_path and is_photo_name(word):
        if before in ("+", "-"):
            return f"is a picture; in a question that is a path: {before} ./{named}"
        command = f"query {others} --image" if others else "similar"
        return f"is a picture; to ask with it: clipsearch {command} {named}"
    if not is_path or before in ("", "+", "-"):
        return ""
    if os.path.isfile(path):
        return f"is a picture; a sign goes before it: {before} + {named}"
    return "is no picture or folder that is there"

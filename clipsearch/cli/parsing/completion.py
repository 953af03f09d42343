"""What a shell completes: models, labels, and what the index holds. Imports nothing by itself."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from clipsearch.errors import ClipsearchError

if TYPE_CHECKING:
    from clipsearch.library import Library

Completion = Callable[[typer.Context, str], list[str]]


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models that have a short name, and those of the index."""
    from clipsearch.encoders.aliases import ALIASES

    return _typed([*ALIASES, *_held(ctx)])


def held_models(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models of the index."""
    return _typed(_held(ctx))


def labels(ctx: typer.Context, incomplete: str) -> list[str]:
    """The labels of the list that the command line names."""
    from clipsearch.search.labels.lists import read_labels

    try:
        return _typed(read_labels(ctx.params.get("labels")))
    except ClipsearchError:
        return []


def cameras(ctx: typer.Context, incomplete: str) -> list[str]:
    """The cameras of the photos, that of most photos first."""
    with _opened(ctx) as library:
        return _typed(name for name, _ in library.facets().cameras) if library else []


def folders(ctx: typer.Context, incomplete: str) -> list[str]:
    """The indexed folders and those right below them."""
    with _opened(ctx) as library:
        return _typed(path for path, _ in library.facets().folders) if library else []


def facts(ctx: typer.Context, incomplete: str) -> list[str]:
    """What photos can have."""
    from clipsearch.search.filtering.filters import PROPERTIES

    return _typed(PROPERTIES)


def shapes(ctx: typer.Context, incomplete: str) -> list[str]:
    """The shapes of photos."""
    from clipsearch.search.filtering.filters import SHAPES

    return _typed(SHAPES)


def types(ctx: typer.Context, incomplete: str) -> list[str]:
    """The kinds of files."""
    from clipsearch.search.filtering.filters import KINDS

    return _typed(KINDS)


def captioners(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models that write captions."""
    from clipsearch.encoders.captions import CAPTIONERS

    return _typed(CAPTIONERS)


def matchers(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models that order answers anew."""
    from clipsearch.encoders.captions import MATCHERS

    return _typed(MATCHERS)


def label_lists(ctx: typer.Context, incomplete: str) -> list[str]:
    """The list of labels that has a name, and files."""
    from glob import escape, glob

    files = glob(f"{escape(incomplete)}*")
    return _typed(["imagenet", *(file + os.sep * os.path.isdir(file) for file in files)])


def runtimes(ctx: typer.Context, incomplete: str) -> list[str]:
    """What runs models."""
    from clipsearch.encoders.choice import RUNTIMES

    return _typed(RUNTIMES)


def precisions(ctx: typer.Context, incomplete: str) -> list[str]:
    """What an evaluation computes in."""
    from clipsearch.evaluation.embedding import PRECISIONS

    return _typed(PRECISIONS)


def precisions_to_learn(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a model is taught in."""
    from clipsearch.encoders.learning import PRECISIONS

    return _typed(PRECISIONS)


def precisions_to_index(ctx: typer.Context, incomplete: str) -> list[str]:
    """What an index's model may be in."""
    from clipsearch.models.precision import PRECISIONS

    return _typed(PRECISIONS)


def stores(ctx: typer.Context, incomplete: str) -> list[str]:
    """Where vectors can be, as far as it is known."""
    return _typed(("faiss", "milvus:http://"))


def devices(ctx: typer.Context, incomplete: str) -> list[str]:
    """The usual devices."""
    return _typed(("auto", "cpu", "cuda", "mps"))


def people(ctx: typer.Context, incomplete: str) -> list[str]:
    """Who is named in photos."""
    with _opened(ctx) as library:
        return _typed(name for name, _ in library.facets().people) if library else []


def places(ctx: typer.Context, incomplete: str) -> list[str]:
    """Where photos were taken."""
    with _opened(ctx) as library:
        found = library.facets() if library else None
        return _typed(name for name, _ in (*found.towns, *found.countries)) if found else []


# By the names of the filters that they complete.
FILTERS: dict[str, Completion] = {
    "folder": folders, "camera": cameras, "orientation": shapes, "type": types, "has": facts,
    "person": people, "place": places,
}  # fmt: skip


def _held(ctx: typer.Context) -> list[str]:
    with _opened(ctx) as library:
        return [model.spec for model in library.status().models] if library else []


@contextmanager
def _opened(ctx: typer.Context) -> Iterator[Library | None]:
    """The index that the command line is about; None if there is none to be had."""
    from clipsearch.library import Library

    logging.disable()  # the line that is being typed is no place for notes
    try:
        library = Library.open(ctx.params.get("index"), create=False)
    except ClipsearchError:
        yield None
        return
    with library:
        yield library


def _typed(names: Iterable[str]) -> list[str]:
    """The names, each once, as they are typed: Bash alone leaves it to us to escape them."""
    names = dict.fromkeys(names)
    if not os.environ.get("_CLIPSEARCH_COMPLETE", "").endswith("bash"):
        return list(names)
    return [re.sub(r"([^\w@%+=:,./~-])", r"\\\1", name) for name in names]

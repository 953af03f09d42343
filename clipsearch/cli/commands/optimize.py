"""`clipsearch optimize`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import note, print_json, say
from clipsearch.cli.progress import counting
from clipsearch.ending import STOPPED

if TYPE_CHECKING:
    from clipsearch.store.vectors.approximate.building import Optimized


def optimize(
    index: Index = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where exact search is fast enough.")
    ] = False,
    json: Json = False,
) -> None:
    """Make search fast in a library of millions of photos.

    About 99 of 100 answers stay the same. From then on clipsearch index keeps it fresh. query
    --exact still compares with every photo.
    """
    from clipsearch.opened import OpenIndex

    with OpenIndex.open(index, create=False) as library:
        try:
            with counting("optimizing") as progress:
                done = library.optimize(force=force, progress=progress)
        except KeyboardInterrupt:
            note("stopped; the index is as it was before")
            raise typer.Exit(STOPPED) from None
    if json:
        print_json([asdict(one) for one in done])
    else:
        for one in done:
            say(_summary(one))
        if not done:
            say("the index holds no photos yet")


def _summary(one: Optimized) -> str:
    exact = f"{one.spec}: exact search over {one.vectors} photos takes {one.exact_ms:.1f} ms"
    if not one.built:
        return f"{exact} and needs no help"
    return (
        f"{exact}, approximate search {one.approximate_ms:.1f} ms with recall@10"
        f" {one.recall:.3f}; {one.bytes / 1e6:.1f} MB, built in {one.seconds:.1f} s"
    )

"""`clipsearch status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Index, Json
from clipsearch.cli.output import end_with_the_reader, print_json, print_rows, say
from clipsearch.cli.wording import options_of, printable
from clipsearch.encoders.choice import NAMES
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.store.status import ModelStatus, RootStatus, Status


def status(
    index: Index = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the files that could not be read, and why.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what the index holds."""
    from clipsearch.opened import OpenIndex

    with OpenIndex.open(index, create=False) as library:
        held = library.status()
        end_with_the_reader()
        if json:
            print_json(_as_json(held, str(library.folder)))
        elif failures:
            rows = [(printable(path), printable(reason)) for path, reason in held.failures]
            print_rows(("path", "~reason"), rows)
        else:
            _print(held, str(library.folder))


def _as_json(held: Status, folder: str) -> dict[str, object]:
    facts = asdict(held)
    facts["failures"] = [{"path": path, "reason": reason} for path, reason in held.failures]
    return {"index": folder, **facts}


def _print(held: Status, folder: str) -> None:
    _say(f"index     {printable(folder)}")
    if held.copy_of:
        _say(f"copy of   {printable(held.copy_of.folder)}, made {held.copy_of.made}")
    _say(f"photos    {held.photos}{_copies(held)}")
    if run := held.indexing:
        left = f", {run.seconds_left:.0f} s left" if run.seconds_left is not None else ""
        _say(f"indexing  {run.done} of {run.total} files, {run.rate:.1f}/s{left}")
    for root in held.roots:
        photos = counted(root.photos, "photo")
        _say(f"folder    {printable(root.path)}  {photos}{_missing(root)}")
        if rules := options_of(root.rules):
            _say(f"          {printable(rules)}")
        for folder, inner in root.folders.items():
            if rules := options_of(inner):
                _say(f"          {printable(folder)}: {printable(rules)}")
    for model in held.models:
        count = counted(model.vectors, "embedding")
        by = f", by {NAMES[model.runtime]}" if model.runtime in NAMES else ""
        _say(f"model     {model.spec}  {count} of {model.dim} numbers{by}{_lacking(model, held)}")
        if model.calibration:
            _say(f"          {model.calibration}")
        if model.note:
            _say(f"          {model.note}")
    for name, captions in held.captions.items():
        _say(f"captions  {captions} by {printable(name)}")
    for name, readings in held.readings.items():
        count = f"{readings.read} read by {printable(name)}, {readings.with_text} with text"
        _say(f"text      {count}")
    if held.store != "faiss":
        _say(f"store     {held.store}")
    sizes = held.bytes
    _say(
        f"on disk   {_megabytes(sizes['total'])}"
        f"  (catalog {_megabytes(sizes['catalog'])}, vectors {_megabytes(sizes['vectors'])})"
    )
    if held.kept.contents:
        what = f"{counted(held.kept.contents, 'content')} that left, {_megabytes(held.kept.bytes)}"
        _say(f"kept      {what}, for {held.kept.days} days: clipsearch index --keep-for 0 frees it")
    if held.failures:
        _say(f"failed    {counted(len(held.failures), 'file')}: clipsearch status --failures")


def _say(text: str) -> None:
    say(text, hang=10)


def _copies(held: Status) -> str:
    copies = held.photos - held.contents
    if not copies:
        return ""
    said = "is a copy of another" if copies == 1 else "are copies of others"
    return f", of which {copies} {said}; copies share an embedding"


def _missing(root: RootStatus) -> str:
    if root.present:
        return ""
    if root.photos:
        return "  (not there now; its photos are kept)"
    import shlex

    path = printable(shlex.quote(root.path))
    return f"  (not there now; clipsearch forget {path} takes it off this list)"


def _lacking(model: ModelStatus, held: Status) -> str:
    """What is said of a model that has not seen all photos, or answers before the others."""
    lacking = held.contents - model.vectors
    if lacking > 0:
        name = "" if len(held.models) == 1 else f" --model {model.spec}"
        return f"; {lacking} to come: clipsearch index{name}"
    is_first_of_several = model is held.models[0] and len(held.models) > 1
    return "; answers where no --model is named" if is_first_of_several else ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

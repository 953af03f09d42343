"""`clipsearch export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.options import Json
from clipsearch.cli.output import note, print_json, print_rows
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import Command
from clipsearch.cli.progress import counting
from clipsearch.cli.retrieval import print_retrieval
from clipsearch.cli.wording import printable
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    from clipsearch.encoders.onnx.export import Tower
    from clipsearch.evaluation.retrieval import RetrievalReport

COLUMNS = ("tower", "precision", ">least cosine", ">MB")

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Write a model for other programs and machines.",
)


@app.callback()
def export() -> None:
    """Write a model for other programs and machines."""


@app.command(cls=Command)
def onnx(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to write; new or empty.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="SPEC",
            help="The model, as for clipsearch index.",
            autocompletion=completion.models,
        ),
    ] = "default",
    int8: Annotated[
        bool, typer.Option("--int8", help="Keep the weights in 8 bits: smaller, and less exact.")
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="In half precision: half as large, fast on GPUs.")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Compare what both find, on photos with captions."),
    ] = None,
    json: Json = False,
) -> None:
    """Write both towers of a model as ONNX, to be used as --model onnx:DIR.

    Prints how far the embeddings agree with those that torch gives in fp32.
    """
    from clipsearch.encoders import parse_spec
    from clipsearch.encoders.onnx.export import export_model
    from clipsearch.evaluation.pairs import read_pairs

    if int8 and fp16:
        raise InvalidInput("--int8 and --fp16 exclude each other: name one of them")
    precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    captioned = read_pairs(pairs) if pairs else None
    out = out.expanduser()
    towers = export_model(parse_spec(model), out, precision)
    report: RetrievalReport | None = None
    if captioned:
        from clipsearch.evaluation.embedding import candidates
        from clipsearch.evaluation.retrieval import evaluate_retrieval
        from clipsearch.photos.decoding.decode import take_over_pillow

        take_over_pillow()
        both = candidates((model, f"onnx:{out}"), "cpu", "fp32")
        with counting("embedding") as progress:
            report = evaluate_retrieval(captioned, both, isolated=True, progress=progress)
    if json:
        print_json(_as_dict(out, towers, report))
        return
    print_rows(COLUMNS, [_row(tower) for tower in towers])
    if report:
        print_retrieval(report)
    note(f"written; its name is onnx:{printable(str(out))}")


def _as_dict(
    out: Path, towers: tuple[Tower, ...], report: RetrievalReport | None
) -> dict[str, Any]:
    return {
        "model": f"onnx:{out}",
        "towers": [asdict(tower) for tower in towers],
        "retrieval": report.as_dict() if report else None,
    }


def _row(tower: Tower) -> tuple[str, ...]:
    size = "-" if tower.bytes is None else f"{tower.bytes / 1e6:.1f}"
    return tower.name, tower.precision, f"{tower.cosine:.5f}", size

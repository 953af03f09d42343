"""`clipsearch describe`."""

from __future__ import annotations

from typing import Annotated

import typer

from clipsearch.cli.decoding import decoders
from clipsearch.cli.options import AllowUrl, AnyImage, Device, Json, Region
from clipsearch.cli.output import note, print_json, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.advice import check_no_word
from clipsearch.cli.progress import progress
from clipsearch.cli.wording import printable


def describe(
    image: AnyImage,
    region: Region = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Only the part that is white in this picture."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="blip, blip-large, vit-gpt2, coca, coca-large, llava:FOLDER, ORG/NAME or FOLDER.",
            autocompletion=completion.captioners,
        ),
    ] = "blip",
    alpha: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="With llava: a checkpoint of Alpha-CLIP, which sees the part."
        ),
    ] = None,
    allow_url: AllowUrl = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say in a sentence what a picture shows, or a part of it.

    A part is cut out with a little of what is around it; LLaVA with --alpha sees the whole picture
    with the part in it. Nothing is kept: caption writes sentences for the index.
    """
    from clipsearch.describing import Describer
    from clipsearch.search.pictures import asked_with, parse_part, read_picture

    check_no_word(image)
    with decoders() as processes:
        part = parse_part(region, mask, processes)
        picture = read_picture(image, allow_url)
        with progress("loading the model", "describing"):
            describer = Describer(model, alpha, device)
        with asked_with(picture.name):
            text = describer.describe(picture.content, part, processes)
    if json:
        facts = {"image": image, "region": region, "mask": mask, "model": describer.model}
        print_json(facts | {"text": text})
    elif text:
        say(printable(text))
    if not text:
        note(f"{describer.model} wrote nothing about this picture")
        raise typer.Exit(1)

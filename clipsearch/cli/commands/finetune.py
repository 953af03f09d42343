"""`clipsearch finetune`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clipsearch.cli.interrupts import (
    end_telling,
    ignore_signals,
    stop_on_signals,
    stopped_at_once,
)
from clipsearch.cli.options import Device, ImagesFolder, Json, Pairs, Workers
from clipsearch.cli.output import end_with_the_reader, note, print_json, say
from clipsearch.cli.parsing import completion
from clipsearch.cli.parsing.commands import EXPERTS
from clipsearch.cli.progress import progress
from clipsearch.cli.terminal import fitted
from clipsearch.cli.torchrun import has_word, is_first, launched
from clipsearch.ending import STOPPED
from clipsearch.notation import counted

if TYPE_CHECKING:
    from clipsearch.encoders.joint.world import World
    from clipsearch.tuning.recall import Recall
    from clipsearch.tuning.run import Epoch, Outcome


def finetune(
    pairs: Pairs,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="SPEC",
            help="What to begin with: a model of open_clip's, a Chinese-CLIP, or pocket.",
            autocompletion=completion.models,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A new folder, for the result.")
    ],
    images: ImagesFolder = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Learn from rows with it in the column split, or images that NAME.txt lists."
            " Default: train, if there are splits.",
        ),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|SHARE",
            help="Validate with a split, another table, or a share of the photos. Default: the"
            " split val or dev, or 0.1.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over all photos.")] = 5,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Photos at a time, of all processes together. Default: 64; for pocket 500.",
        ),
    ] = None,
    accumulate: Annotated[
        int,
        typer.Option(
            metavar="N", help="So many batches count as one large one.", rich_help_panel=EXPERTS
        ),
    ] = 1,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="The highest learning rate. Default: as suits.",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    warmup: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Of all steps, while the rate rises.", rich_help_panel=EXPERTS
        ),
    ] = 0.1,
    weight_decay: Annotated[float, typer.Option(metavar="X", help="AdamW's.")] = 0.1,
    precision: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="bf16 or fp16 (autocast), fp32, or auto: what pays.",
            autocompletion=completion.precisions_to_learn,
            rich_help_panel=EXPERTS,
        ),
    ] = "auto",
    grad_checkpointing: Annotated[
        bool,
        typer.Option(
            "--grad-checkpointing", help="Less memory for more time.", rich_help_panel=EXPERTS
        ),
    ] = False,
    lock_image: Annotated[
        bool,
        typer.Option(
            "--lock-image", help="Leave the image tower as it is (LiT).", rich_help_panel=EXPERTS
        ),
    ] = False,
    unlock_groups: Annotated[
        int,
        typer.Option(
            metavar="N", help="But not its last N groups of layers.", rich_help_panel=EXPERTS
        ),
    ] = 0,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Begin with no weights: SPEC is an architecture, a JSON file of one, pocket, or"
            " chinese-clip: and a JSON file.",
        ),
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="A model whose answers are learnt beside the captions (distillation).",
            autocompletion=completion.models,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Stop when N epochs in a row brought nothing better.",
            rich_help_panel=EXPERTS,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="What chance depends on.")] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where the run in DIR was stopped.", rich_help_panel=EXPERTS
        ),
    ] = False,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Teach a model your photos and captions.

    The result is a model for clipsearch index --model. After each epoch all is kept that --resume
    needs; so Ctrl-C loses one epoch at most. On several GPUs: torchrun --nproc-per-node N -m
    clipsearch finetune, and the rest.
    """
    from clipsearch.encoders.learning import Course
    from clipsearch.photos.decoding.decode import take_over_pillow
    from clipsearch.tuning.run import finetune as run

    take_over_pillow()
    course = Course(
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        lr=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        precision=precision,
        grad_checkpointing=grad_checkpointing,
        lock_image=lock_image,
        unlock_groups=unlock_groups,
        from_scratch=from_scratch,
        seed=seed,
        teacher=teacher,
    )
    with stop_on_signals() as stop, _bar() as show, _together(device) as (world, own_device):
        outcome = run(
            pairs,
            out,
            model,
            course,
            images=images,
            split=split,
            val=val,
            patience=patience,
            resume=resume,
            device=own_device,
            workers=workers,
            isolated=True,
            world=world,
            progress=show,
            after_epoch=lambda epoch: _tell(epoch, epochs),
            stopping=stop.is_set,
        )
        if outcome.complete:
            world.leave()
    if world.is_first:
        _say(outcome, json)


def _say(outcome: Outcome, json: bool) -> None:
    if json:
        print_json(outcome.as_dict())
    elif outcome.complete:
        _summarize(outcome)
    if not outcome.complete:
        kept = f"{counted(len(outcome.epochs) - 1, 'epoch')} kept" if outcome.best else "none kept"
        if has_word():
            note(f"stopped; {kept}. To go on: the same command with --resume")
        raise typer.Exit(STOPPED)


@contextmanager
def _together(device: str) -> Iterator[tuple[World, str]]:
    """Meet the processes that torchrun started, if it did; gives also the device of this one."""
    from clipsearch.encoders.joint.world import ALONE, device_of, joined

    if not launched():
        yield ALONE, device
        return
    own = device_of(device)
    world = joined(own, _end_without)
    if not world.is_first:
        ignore_signals()  # the first one stops, and all with it
    with world.ended_by_others():
        yield world, own


def _end_without(rank: int) -> NoReturn:
    end_telling(
        f"process {rank} of those that torchrun started ended before its time, and with it all;"
        " finished epochs are kept. To go on: the same command with --resume",
        2,
    )


def _tell(epoch: Epoch, of: int) -> None:
    """One line an epoch, on stderr."""
    if not is_first():
        return
    name = f"epoch {epoch.number}/{of}" if epoch.number else "before"
    loss = "" if epoch.loss is None else f"loss {epoch.loss:.3f}; "
    found = "" if epoch.recall is None else f"{_recalls(epoch.recall)}; "
    print(fitted(f"{name}: {loss}{found}{epoch.seconds:.0f} s", sys.stderr), file=sys.stderr)


def _recalls(recall: Recall) -> str:
    def shown(shares: tuple[float, ...]) -> str:
        return "/".join(f"{share * 100:.1f}" for share in shares)

    return (
        f"recall@1/5/10 text to image {shown(recall.text_to_image)},"
        f" image to text {shown(recall.image_to_text)}"
    )


def _summarize(outcome: Outcome) -> None:
    end_with_the_reader()
    before, best = outcome.epochs[0], outcome.epochs[outcome.best]
    say(f"learnt   {counted(outcome.photos, 'photo')}, {counted(outcome.captions, 'caption')}", 9)
    if before.recall and best.recall:
        say(f"before   {_recalls(before.recall)}", 9)
        say(f"epoch {best.number:<2} {_recalls(best.recall)}", 9)
        if best.recall.mean <= before.recall.mean:
            note("no epoch was better than the model before; try a smaller --lr, or more photos")
    say(f"model    {outcome.spec}", 9)
    say(f"next     clipsearch index FOLDER --model {_quoted(outcome.spec)}", 9)


def _quoted(spec: str | None) -> str:
    import shlex

    return shlex.quote(spec or "")


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """What draws a bar with rate and time left, if stderr is a terminal."""
    with stopped_at_once() as begun, progress("loading") as show:

        def tell(what: str, done: int, total: int) -> None:
            if what.startswith("epoch"):  # before that nothing was learned that could be kept
                begun()
            if show:
                show(done, total, what)

        yield tell

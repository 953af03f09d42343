"""Models that can be taught: what a family offers to fine-tuning, and what it is given.

A family that can be taught has one more module and one line in `LEARNERS`. Which photos there are,
in what order they come, and when to stop is not known here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clipsearch.encoders.joint.world import ALONE, World
from clipsearch.errors import (
    LARGEST,
    InvalidInput,
    ModelError,
    arg,
    check_number,
    did_you_mean,
)
from clipsearch.replacing import draft_folder, replacing

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clipsearch.photos.decoding.view import View

# The module of each family that can be taught: its `learner`, with the arguments of the one below,
# gives one.
LEARNERS = {
    "open_clip": "clipsearch.encoders.openclip.learning",
    "pocket": "clipsearch.encoders.pocket.learning",
    "chinese-clip": "clipsearch.encoders.chinese.learning",
}
PRECISIONS = ("auto", "bf16", "fp16", "fp32")


@dataclass(frozen=True, slots=True)
class Course:
    """How a model is taught. What is None or "auto" the family chooses.

    Raises:
        InvalidInput: a value that makes no sense.
    """

    epochs: int = 5
    batch_size: int | None = None  # photos at a time with gradients in memory, of all processes
    accumulate: int = 1  # batches that make one step, as one large batch
    lr: float | None = None
    warmup: float = 0.1  # share of all steps in which the rate rises
    weight_decay: float = 0.1
    precision: str = "auto"  # "bf16" or "fp16" for autocast, "fp32", or "auto" for what pays
    grad_checkpointing: bool = False
    lock_image: bool = False
    unlock_groups: int = 0  # of a locked image tower, so many layer groups at its end learn
    from_scratch: bool = False
    seed: int = 0
    teacher: str | None = None  # the spec of a model whose answers are learnt too

    def __post_init__(self) -> None:
        if not self.lock_image and self.unlock_groups:
            raise InvalidInput(
                f"{arg('unlock_groups')} is for a locked image tower: add {arg('lock_image')}"
            )
        counts = (("epochs", 1), ("batch_size", 2), ("accumulate", 1), ("unlock_groups", 0))
        for name, least in counts:
            check_number(arg(name), getattr(self, name), least)
        if self.teacher is not None and self.accumulate > 1:
            raise InvalidInput(
                f"{arg('teacher')} goes with no {arg('accumulate')}; take a larger"
                f" {arg('batch_size')}"
            )
        if self.lr is not None and not 0 < self.lr < 1:
            raise InvalidInput(f"{arg('lr')} must be between 0 and 1")
        if not 0 <= self.warmup <= 1:
            raise InvalidInput(f"{arg('warmup')} is a share of all steps, between 0 and 1")
        check_number(arg("weight_decay"), self.weight_decay, 0)
        check_number(arg("seed"), self.seed, 0, LARGEST)
        if self.precision not in PRECISIONS:
            said = f"{arg('precision')} must be auto, bf16, fp16 or fp32, not {self.precision!r}"
            raise InvalidInput(said + did_you_mean(self.precision, PRECISIONS))


class Lessons(Protocol):
    """What a learner learns from."""

    captions: Sequence[Sequence[str]]  # of each photo, at least one
    folder: Path  # where large files may be for a while

    @property
    def steps(self) -> int:
        """How many steps an epoch has; each is `accumulate` batches."""

    def batches(self, epoch: int) -> Iterator[tuple[np.ndarray, list[str]]]:
        """An epoch's photos with a caption each: (n, r, r, 3) uint8 views and n texts."""
        ...

    def photos(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """All photos once as they are, in batches: their numbers and (n, r, r, 3) uint8 views."""
        ...

    def tick(self, done: int, total: int, what: str = "") -> None:
        """Say how far an epoch is, where no batches are drawn, or `what` else; may end it."""


class Learner(Protocol):
    """A model while it learns."""

    course: Course  # with what the family chose
    prepare: View
    batch_size: int  # views that `encode_images` likes at a time

    def begin(self, lessons: Lessons, state: dict[str, Any] | None) -> None:
        """Get ready, once, before anything is encoded or learnt; from a state, if there is one."""

    def encode_images(self, batch: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, 3) uint8 views with what is learnt so far: (n, dim) unit rows."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with what is learnt so far: (n, dim) float32, unit rows."""
        ...

    def learn(self, epoch: int, lessons: Lessons) -> float:
        """Go through one epoch, counted from 1; gives the mean loss."""
        ...

    def state(self) -> dict[str, Any]:
        """All that going on from here needs, as tensors and plain values."""
        ...

    def write(self, folder: Path) -> None:
        """Write the model as it is now into a folder."""

    def spec_in(self, folder: Path) -> str:
        """The model spec of what was written into a folder."""
        ...


def learner(model: str, course: Course, device: str = "auto", world: World = ALONE) -> Learner:
    """What teaches the model that a spec names, or, from scratch, an architecture.

    `world` are the processes that teach it together.

    Raises:
        ModelError: no such model, or one that is not taught.
        WeightsUnavailable: its weights are not here and could not be downloaded.
        InvalidInput: the device does not exist on this machine.
    """
    from clipsearch.encoders.device import pick_device
    from clipsearch.encoders.spec import parse_spec

    family = "open_clip"
    if not course.from_scratch or model == "pocket" or model.startswith("chinese-clip:"):
        family = parse_spec(model).family
    if family not in LEARNERS:
        raise ModelError(
            f"models of the family {family} are not fine-tuned; those of open_clip are,"
            " Chinese-CLIP and pocket"
        )
    made: Learner = importlib.import_module(LEARNERS[family]).learner(
        model, course, pick_device(device), world
    )
    return made


def pick_precision(wanted: str, device: str) -> str:
    """The precision to learn in, with weights in float32: one that was asked for, or what pays."""
    from clipsearch.encoders.device import pick_precision

    if wanted != "auto":
        return wanted
    return "bf16" if pick_precision(device) == "bf16" else "fp32"


def seeded(*numbers: int) -> None:
    """Have whatever torch draws at random depend on these numbers alone."""
    import torch

    torch.manual_seed(int.from_bytes(bytes(str(numbers), "ascii")) % (1 << 63))


def save_checkpoint(file: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, all or nothing.

    Raises:
        OSError: the disk is full or read-only, or the folder is gone.
    """
    import torch

    # A sum of floats depends on how many threads share it.
    content = {"threads": torch.get_num_threads()} | content
    with replacing(file) as fresh, fresh.open("xb") as out:
        try:
            torch.save(content, out)
        except RuntimeError as error:  # of its own, after the one that the file raised
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load_checkpoint(file: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote; torch uses as many threads from here on as it did then.

    Raises:
        ModelError: it is damaged.
    """
    import torch

    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        torch.set_num_threads(content["threads"])
    except Exception as error:  # unpickling and unpacking damaged bytes raise nearly anything
        raise ModelError(f"{file} cannot be read; begin anew in another folder") from error
    return content


def save_weights(
    file: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, all or nothing, and the same bytes for the same content.

    Raises:
        OSError: the disk is full or read-only, or the folder is gone.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save, save_file

    with replacing(file) as fresh:
        if metadata and len(metadata) > 1:
            fresh.write_bytes(_in_order(save(tensors, metadata)))
        else:
            # It has a draft of its own beside its file, which a kill would leave for good.
            with draft_folder(file.parent) as draft:
                try:
                    save_file(tensors, draft / file.name, metadata=metadata)
                except SafetensorError as error:
                    raise OSError(str(error)) from error
                (draft / file.name).replace(fresh)
        fresh.chmod(0o644)  # save_file makes files for their owner alone


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted; the library's order is another each time."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)  # tensors begin at a multiple of 8
    return len(ordered).to_bytes(8, "little") + ordered + content[8 + size :]

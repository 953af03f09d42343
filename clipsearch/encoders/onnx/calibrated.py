"""An image tower in 8 bits as it lies with the index on whose photos it was calibrated.

No other file gives the vectors that it gives, since no other was calibrated so: it goes where the
index goes. Words are embedded by the text tower of the model that it was made of, in fp32, which is
exported to the cache like any other.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from clipsearch.cache import sha256_of
from clipsearch.encoders.onnx.folder import CALIBRATION, FACTS, IMAGES, facts_in
from clipsearch.encoders.processor import adds_8_bits
from clipsearch.errors import ModelError

FILES = (FACTS, IMAGES, CALIBRATION)
REMEDY = (
    "Bring it back from a copy of the index; or have all photos embedded anew:"
    " clipsearch index --precision int8"
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a model in 8 bits was made of and on, and what that costs, as JSON in a file."""

    spec: str  # of the model in full
    weights: str  # its identity, with the preprocessing that both have
    photos: int  # that the ranges were taken from
    measured: int  # others, that both embedded
    mean: float  # cosine of the two embeddings of a photo
    least: float
    same: float  # share of the ten nearest of a photo that are the same
    bits: int  # of the weights: 7 where a processor would cut sums of products with 8

    def __str__(self) -> str:
        return (
            f"calibrated on {self.photos} photos; with {self.measured} others a mean cosine of"
            f" {self.mean:.4f} to fp32, the least {self.least:.4f}, and {self.same:.1%} of the ten"
            " nearest the same"
        )


def folder_in(index: Path, weights: str) -> Path:
    """Where the model in 8 bits with these weights lies in the folder of an index."""
    return index / "models" / weights[:16]


def calibration_in(folder: Path) -> Calibration:
    """What the model in a folder was made of.

    Raises:
        ModelError: the folder or the file is not there, or is damaged.
    """
    file = folder / CALIBRATION
    try:
        return Calibration(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _spoilt(file) from error


def told_by(folder: Path) -> Calibration | None:
    """The same; None where it cannot be told."""
    try:
        return calibration_in(folder)
    except ModelError:
        return None


def fault_of(folder: Path) -> tuple[str, str] | None:
    """What is wrong with the files of a model in 8 bits, and what helps; each is read whole."""
    try:
        calibration_in(folder)
        check_files(folder)
    except ModelError as error:
        what, _, remedy = str(error).partition("\n")
        return what, remedy
    return None


def warning_of(made_of: Calibration) -> str | None:
    """What is to be said of a model on this machine's processor."""
    if made_of.bits == 7 or adds_8_bits():
        return None
    return (
        "the model in 8 bits was calibrated on a processor with VNNI; this one has none and cuts"
        " large sums, so its embeddings may differ: clipsearch index --precision fp32 has none cut"
    )


def copy_to(folder: Path, target: Path) -> None:
    """Copy the model in a folder to another that is not there; what is missing stays so."""
    target.mkdir(parents=True)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def write_calibration(folder: Path, made_of: Calibration) -> None:
    """Write down in a model's folder what it was made of."""
    (folder / CALIBRATION).write_text(json.dumps(asdict(made_of), indent=2), "utf-8")


def check_files(folder: Path) -> None:
    """Raise ModelError unless the files of a model in 8 bits are what was calibrated."""
    try:
        files = facts_in(folder).files
    except ModelError as error:
        raise _spoilt(folder / FACTS) from error
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or sha256_of(file) != expected:
            raise _spoilt(file)


def _spoilt(file: Path) -> ModelError:
    how = "damaged" if file.exists() else "missing"
    return ModelError(f"{file}, of the index's model in 8 bits, is {how}.\n{REMEDY}")

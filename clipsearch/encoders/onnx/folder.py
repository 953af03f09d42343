"""The folder of an exported model: the names of its files, and what it says of the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cache import cache_folder
from clipsearch.errors import ModelError, first_line

if TYPE_CHECKING:
    from clipsearch.photos.decoding.view import View

FORMAT = 1  # raised when an older version could not use what is written here
FACTS, IMAGES, TEXTS = "model.json", "images.onnx", "text"
CALIBRATION = "calibration.json"  # of one that lies with an index


@dataclass(frozen=True, slots=True)
class Facts:
    """What a folder says of its model, as JSON in `model.json`."""

    format: int
    spec: str  # the model that was exported
    weights: str  # of the identity: of these files for int8, and else torch's
    preprocess: str  # of the identity
    precision: str  # "fp32", "fp16" or "int8"
    dim: int
    resolution: int
    context: int
    logit_scale: float
    logit_bias: float | None
    view: Mapping[str, Any]  # how a picture is brought to the model's square
    files: Mapping[str, str]  # SHA-256 of each file, by its path in the folder

    @property
    def identity(self) -> tuple[str, str]:
        """What tells whether vectors are of one and the same model."""
        return self.weights, self.preprocess


def cached_folder(weights: str, preprocess: str) -> Path:
    """Where a model's image tower is exported to, in the cache folder."""
    key = hashlib.sha256(f"{FORMAT} {weights} {preprocess}".encode()).hexdigest()
    return cache_folder() / "onnx" / key[:16]


def facts_in(folder: Path) -> Facts:
    """What a folder says of its model.

    Raises:
        ModelError: it was not written by an export, or by that of a newer version.
    """
    file = existing(folder / FACTS)
    try:
        told = json.loads(file.read_text("utf-8"))
        if told["format"] == FORMAT:
            facts = Facts(**told)
            view_from(facts.view)
            return facts
        reason = f"format {told['format']}, this version reads {FORMAT}"
    except (OSError, ValueError, TypeError, LookupError) as error:
        reason = first_line(error)
    raise ModelError(f"{file} cannot be used: {reason}; export the model again")


def view_from(told: Mapping[str, Any]) -> View:
    """The view that `view_as_json` told of."""
    from PIL import Image  # not at the top: an index run with nothing to do asks for folders

    from clipsearch.photos.decoding.view import MaskedView, View

    rest = dict(told)
    kind = MaskedView if rest.pop("masked") else View
    return kind(**rest | {"resample": Image.Resampling[rest["resample"].upper()]})


def view_as_json(view: View) -> dict[str, Any]:
    """A view as plain values."""
    from clipsearch.photos.decoding.view import MaskedView

    masked = isinstance(view, MaskedView)
    return asdict(view) | {"resample": view.resample.name.lower(), "masked": masked}


def existing(file: Path) -> Path:
    """The file of an exported model.

    Raises:
        ModelError: it is not there.
    """
    if not file.is_file():
        raise ModelError(
            f"{file.parent} is no exported model, or not all of one: {file.name} is missing.\n"
            "Write one: clipsearch export onnx --model SPEC --out FOLDER"
        )
    return file

"""How pictures are prepared, in every form in which transformers has written it down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import Fit, View

# The older file is of pictures alone, the newer tells of words too.
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"

# What transformers takes for what it is not told, which is the authors' own.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_USUAL: dict[str, Any] = {
    "image_mean": list(MEAN), "image_std": list(STD), "resample": int(Image.Resampling.BICUBIC),
    "do_resize": True, "do_center_crop": True, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "do_convert_rgb": True,
}  # fmt: skip

_Sides = dict[str, int]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture before the model sees it."""

    view: View
    mean: tuple[float, ...]  # of each colour, of values from 0 to 1
    std: tuple[float, ...]

    @classmethod
    def of(cls, side: int, told: dict[str, Any], source: Path) -> Preprocessing:
        """What `told` asks for, of a model of `side` pixels; for nothing the authors' own.

        Raises:
            ModelError: it asks for what no square view can be.
        """
        told = _USUAL | (told or {"size": [side, side]})
        try:
            view = View(side, _fit(told, side), _resampling(told["resample"]))
            mean, std = _scaled(told)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(
                f"{source} tells of pictures what a model of {side}x{side} pixels cannot use:"
                f" {first_line(error)}"
            ) from error
        return cls(view, mean, std)

    def as_json(self) -> str:
        """The same as transformers writes it."""
        square = {"height": self.view.size, "width": self.view.size}
        squashed = self.view.fit == "squash"
        told = _USUAL | {
            "image_processor_type": "ChineseCLIPImageProcessor",
            "image_mean": list(self.mean), "image_std": list(self.std),
            "resample": int(self.view.resample), "do_center_crop": not squashed,
            "size": square if squashed else {"shortest_edge": self.view.size}, "crop_size": square,
        }  # fmt: skip
        return json.dumps(told, indent=2, sort_keys=True) + "\n"


def told_in(folder: Path) -> tuple[dict[str, Any], Path]:
    """What a folder tells of its pictures, nothing if it does not, and the file that does."""
    file = folder / PREPROCESSOR
    if file.is_file() or not (folder / PROCESSOR).is_file():
        return read_json(file), file
    told = read_json(folder / PROCESSOR).get("image_processor", {})
    return told if isinstance(told, dict) else {}, folder / PROCESSOR


def read_json(file: Path) -> dict[str, Any]:
    """What a JSON file tells; nothing if it is not there.

    Raises:
        ModelError: it is damaged, or holds no object.
    """
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {first_line(error)}") from error
    if not isinstance(told, dict):
        raise ModelError(f"{file} is no configuration")
    return told


def _fit(told: dict[str, Any], side: int) -> Fit:
    """How a square is made: the authors squash, a centre crop keeps the shape."""
    square = {"height": side, "width": side}
    crops = told["do_center_crop"]
    size = _sides(told.get("size", side), "shortest_edge")
    crop = _sides(told.get("crop_size", side), "square")
    if told["do_resize"] and (not crops or crop == square):
        if size == square:  # of which the crop leaves all
            return "squash"
        if crops and size == {"shortest_edge": side}:
            return "shortest"
    raise ValueError(f"size {size}, crop {crop if crops else None}")


def _sides(told: Any, of_one: str) -> _Sides:
    """A size as its named sides; it was written as a number, as two, and by name."""
    if isinstance(told, dict):
        return {name: int(value) for name, value in told.items()}
    if isinstance(told, list):
        height, width = told if len(told) > 1 else (*told, *told)
        return {"height": int(height), "width": int(width)}
    if of_one == "square":
        return {"height": int(told), "width": int(told)}
    return {of_one: int(told)}


def _resampling(told: Any) -> Image.Resampling:
    return Image.Resampling[told.upper()] if isinstance(told, str) else Image.Resampling(told)


def _scaled(told: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of values from 0 to 1, which a picture may be scaled to otherwise."""
    mean, std = ([0.0] * 3, [1.0] * 3)
    if told["do_normalize"]:
        mean, std = list(told["image_mean"]), list(told["image_std"])
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"mean {mean} and deviation {std} are not of three colours")
    factor = told["rescale_factor"] if told["do_rescale"] else 1
    if factor == 1 / 255:
        return tuple(mean), tuple(std)
    return tuple(it / factor / 255 for it in mean), tuple(it / factor / 255 for it in std)

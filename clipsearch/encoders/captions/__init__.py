"""Pictures to sentences, and how well a sentence fits a picture: what to load for which model.

`blip` runs those of transformers, `llava` LLaVA, `coca` open_clip's. Torch is imported only when
one is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch.encoders.spec import parse_spec
from clipsearch.errors import ModelError, arg, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from clipsearch.photos.decoding.view import View

# Models that write captions. What begins with "coca_" is open_clip's, all else is transformers';
# what is asked in words of a model, "llava:".
CAPTIONERS = {
    "blip": "Salesforce/blip-image-captioning-base",
    "blip-large": "Salesforce/blip-image-captioning-large",
    "vit-gpt2": "nlpconnect/vit-gpt2-image-captioning",
    "coca": "coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k",
    "coca-large": "coca_ViT-L-14/mscoco_finetuned_laion2b_s13b_b90k",
    "llava": "llava:llava-hf/llava-1.5-7b-hf",
}
LLAVA = "llava:"

# Models that say whether a text fits a picture.
MATCHERS = {
    "blip": "Salesforce/blip-itm-base-coco",
    "blip-large": "Salesforce/blip-itm-large-coco",
}


class Captioner(Protocol):
    """Writes a sentence about a picture."""

    # Brings an RGB picture to what the model sees; for any thread or process. A MaskedView where
    # it can be told a part of the picture.
    prepare: View
    batch_size: int  # pictures at a time that suit the device

    def write(self, batch: np.ndarray) -> list[str]:
        """A caption for each of (n, r, r, 3) uint8 views; it may be empty.

        Views of a model that can be told a part may have four channels, the last one its mask.
        """
        ...


class Matcher(Protocol):
    """Says how well pictures fit a text, looking at both together."""

    prepare: View  # brings an RGB picture to what the model sees; for any thread or process
    batch_size: int  # pictures at a time that suit the device

    def match(self, batch: np.ndarray, text: str) -> np.ndarray:
        """How likely each of (n, r, r, 3) uint8 views fits: (n,) float32, 0 to 1."""
        ...


def captioner_name(text: str) -> str:
    """The whole name of a captioning model, under which its captions are kept.

    `text` is an alias, a repository of the hub, a folder that transformers wrote, "llava:" with one
    of these two, or open_clip's name of a CoCa model (NAME/PRETRAINED or NAME:FILE).

    Raises:
        ModelError: it is none of these.
    """
    if text.strip().startswith(LLAVA):
        return LLAVA + _whole_name(text.strip().removeprefix(LLAVA), {})
    name = _whole_name(text, CAPTIONERS)
    return str(parse_spec(name)) if _is_coca(name) else name


def load_captioner(name: str, device: str = "auto", alpha: Path | None = None) -> Captioner:
    """The model of a name that `captioner_name` gave, its weights loaded.

    `alpha`, for LLaVA, is a checkpoint of Alpha-CLIP whose image tower takes the place of its own.

    Raises:
        ModelError: it writes no captions, or what it needs is not installed; or with `alpha`, it is
            no LLaVA, or of another size.
        WeightsUnavailable: the weights are not here and could not be downloaded.
        InvalidInput: the device does not exist on this machine.
    """
    from clipsearch.encoders.device import pick_device

    device = pick_device(device)
    if alpha is not None and not name.startswith(LLAVA):
        raise ModelError(f"{arg('alpha')} goes with LLaVA: {arg('model')} llava:FOLDER")
    if _is_coca(name):
        from clipsearch.encoders.captions.coca import CocaCaptioner

        return CocaCaptioner(parse_spec(name), device)
    _check_transformers()
    if name.startswith(LLAVA):
        from clipsearch.encoders.captions.llava import LlavaCaptioner

        return LlavaCaptioner(name.removeprefix(LLAVA), device, alpha)
    from clipsearch.encoders.captions.blip import SentenceCaptioner

    return SentenceCaptioner(name, device)


def load_matcher(text: str, device: str = "auto") -> Matcher:
    """The image-text matching model that an alias, a repository or a folder names.

    Raises:
        ModelError, WeightsUnavailable, InvalidInput: as `load_captioner`.
    """
    from clipsearch.encoders.device import pick_device

    name, device = _whole_name(text, MATCHERS), pick_device(device)
    _check_transformers()
    from clipsearch.encoders.captions.blip import BlipMatcher

    return BlipMatcher(name, device)


def _whole_name(text: str, aliases: dict[str, str]) -> str:
    name = text.strip()
    if name in aliases:
        return aliases[name]
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return str(folder.resolve())
    if _is_coca(name) or _is_repository(name.split("/")):
        return name
    raise ModelError(
        f"{text!r} names no such model{did_you_mean(name, aliases) or '.'} Write"
        f" {'one of ' * bool(aliases)}{''.join(f'{it}, ' for it in aliases)}"
        "a repository of the Hugging Face hub (ORG/NAME), or a folder that holds one."
    )


def _is_coca(name: str) -> bool:
    return name.startswith("coca_") and not Path(name).is_absolute()


def _is_repository(parts: Sequence[str]) -> bool:
    return len(parts) == 2 and all(part.strip(".") for part in parts)


def _check_transformers() -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise ModelError("this model comes with: pip install 'clipsearch[captions]'")

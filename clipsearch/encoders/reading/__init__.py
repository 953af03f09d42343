"""Pictures to the text in them: what to load for which model. `rapid` runs PaddleOCR's models.

Nothing heavy is imported before a reader is loaded, and nothing is ever downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipsearch.encoders.reading.line import Line
from clipsearch.errors import ModelError, arg

if TYPE_CHECKING:
    import numpy as np

    from clipsearch.photos.decoding.view import View

USUAL = "PP-OCRv6"  # what comes with the group `ocr`


class TextReader(Protocol):
    """Reads the text in a picture."""

    prepare: View  # brings an RGB picture to what is read; for any thread or process

    def read(self, pixels: np.ndarray) -> list[Line]:
        """The lines in (height, width, 3) uint8 RGB pixels, from above to below; none is usual."""
        ...


def reader_name(text: str) -> str:
    """The name under which what a reader reads is kept: USUAL, or that of the file of its letters.

    Raises:
        ModelError: `text` is neither USUAL nor an ONNX file.
    """
    name = text.strip()
    if name.casefold() == USUAL.casefold():
        return USUAL
    file = Path(name).expanduser()
    if file.suffix == ".onnx" and file.is_file():
        return file.stem
    raise ModelError(
        f"{text!r} reads no text. {arg('model')} is {USUAL}, or for other alphabets the file of a"
        " recognition model of PaddleOCR's that was exported to ONNX (FILE.onnx)."
    )


def check_installed() -> None:
    """Raise ModelError unless what reads text is installed."""
    from importlib.util import find_spec

    if find_spec("rapidocr") is None:
        raise ModelError("reading the text in photos needs: pip install 'clipsearch[ocr]'")


def load_reader(text: str = USUAL) -> TextReader:
    """The reader that `text` names, as `reader_name` takes it, its weights loaded.

    Raises:
        ModelError: it reads no text, or what it needs is not installed.
    """
    name = reader_name(text)
    check_installed()
    from clipsearch.encoders.reading.rapid import RapidReader

    return RapidReader(None if name == USUAL else Path(text.strip()).expanduser())

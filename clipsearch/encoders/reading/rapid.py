"""PaddleOCR's models by rapidocr, whose package holds their weights: it needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.reading.line import Line, Quad
from clipsearch.errors import ModelError, first_line
from clipsearch.photos.decoding.view import View

# Sides of what letters are cut from, and of what lines are looked for in, which is what a photo
# without text costs: its time grows with the square, and a larger one finds no more on a page of a
# book. Measured: docs/benchmarks.md.
READ_AT, FOUND_AT = 2000, 960
LEAST_SIDE = 10  # pixels: no line is lower, and rapidocr would blow such a picture up

# What is less certain is mostly no text but branches, tiles and cloth; and one letter alone needs
# to be surer, for such a thing is most often taken for one. Measured: docs/benchmarks.md.
LEAST, LEAST_OF_ONE = 0.8, 0.95


class RapidReader:
    """PP-OCRv6: Latin letters with accents, Chinese and Japanese; or others, by their own file."""

    prepare = View(READ_AT, "within")

    def __init__(self, letters: Path | None = None) -> None:
        with quiet():
            import rapidocr

            models = Path(rapidocr.__file__).with_name("models")
            # Named as files, they are never downloaded.
            files = {
                "Det": models / "PP-OCRv6_det_small.onnx",
                "Cls": models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
                "Rec": letters or models / "PP-OCRv6_rec_small.onnx",
            }
            _check_whole(files)
            if letters:
                _check_letters(letters)
            self._engine: Any = rapidocr.RapidOCR(
                params={
                    "Global.log_level": "critical",
                    "Global.text_score": 0.0,
                    "Global.max_side_len": READ_AT,
                    "Det.limit_side_len": FOUND_AT,
                    "Det.limit_type": "max",
                    **{f"{part}.model_path": str(file) for part, file in files.items()},
                }
            )

    def read(self, pixels: np.ndarray) -> list[Line]:
        """The lines in (height, width, 3) uint8 RGB pixels, from above to below."""
        height, width = pixels.shape[:2]
        if min(height, width) < LEAST_SIDE:
            return []
        found = self._engine(pixels[..., ::-1])
        if not getattr(found, "txts", None):
            return []
        lines = [
            Line(" ".join(text.split()), _quad(corners / [width, height]), round(float(score), 3))
            for text, corners, score in zip(found.txts, found.boxes, found.scores, strict=True)
        ]
        return [line for line in lines if _is_sure(line)]


def _quad(corners: np.ndarray) -> Quad:
    inside = corners.clip(0, 1).round(4)
    return tuple((float(x), float(y)) for x, y in inside)


def _is_sure(line: Line) -> bool:
    letters = sum(map(str.isalnum, line.text))
    return letters > 0 and line.certainty >= (LEAST if letters > 1 else LEAST_OF_ONE)


def _check_whole(files: Mapping[str, Path]) -> None:
    """Raise ModelError unless all files are here: rapidocr would fetch others."""
    for file in files.values():
        if not file.is_file():
            raise ModelError(
                f"{file} is missing.\nInstall what reads text again:"
                " pip install --force-reinstall --no-deps rapidocr"
            )


def _check_letters(file: Path) -> None:
    """Raise ModelError unless a file is a recognition model that names its letters."""
    import onnxruntime

    try:
        told = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each kind of fault
        raise ModelError(f"{file} is no ONNX model: {first_line(error)}") from error
    if "character" not in told.get_modelmeta().custom_metadata_map:
        raise ModelError(
            f"{file} does not say which letters it reads; a recognition model of PaddleOCR's that"
            " was exported for rapidocr does"
        )

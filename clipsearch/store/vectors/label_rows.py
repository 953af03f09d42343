"""The embeddings of labels that a model was asked about, remembered in a file beside its vectors.

Derived: deleting it costs time and nothing else. It is not in the catalog, since a question must
be answered on a read-only disk and while another process writes.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipsearch.encoders.rows import are_units
from clipsearch.replacing import replacing


@dataclass(slots=True)
class LabelRows:
    """The labels that are remembered."""

    logit_scale: float  # of the model, so that probabilities need no model
    logit_bias: float | None  # the same
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # label: (dim,) float32, unit


def read_label_rows(path: Path, made_with: str) -> LabelRows | None:
    """What the file remembers; None if it is not there, damaged or not `made_with` the same."""
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            if str(file["made_with"]) != made_with:
                return None
            labels = file["labels"].tobytes().decode().split("\n")
            if not are_units(file["rows"]).all():
                return None
            rows = dict(zip(labels, file["rows"], strict=True))
            bias = float(file["logit_bias"])
            return LabelRows(float(file["logit_scale"]), None if math.isnan(bias) else bias, rows)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def write_label_rows(path: Path, made_with: str, known: LabelRows) -> None:
    """Put a new file in place of the old one.

    Raises:
        OSError: the disk is full or read-only.
    """
    path.parent.mkdir(exist_ok=True)  # and not that of an index that is gone
    with replacing(path) as fresh, fresh.open("wb") as file:
        np.savez(
            file,
            made_with=np.array(made_with),
            logit_scale=np.array(known.logit_scale),
            logit_bias=np.array(math.nan if known.logit_bias is None else known.logit_bias),
            # No label has a line break in it, and an array of texts is as wide as its longest.
            labels=np.frombuffer("\n".join(known.rows).encode(), np.uint8),
            rows=np.stack(list(known.rows.values())),
        )

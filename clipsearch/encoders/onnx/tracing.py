"""From a module of torch to ONNX, and whether what came of it gives the same vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch

# An export that agrees less with torch than this is not used.
LEAST_COSINE = 0.9999
LEAST_IN_FP16 = 0.999  # as torch in half precision differs


def least_cosine(rows: np.ndarray, expected: np.ndarray) -> float:
    """The least cosine of (n, dim) unit rows with the expected ones, row by row."""
    return float((rows * expected).sum(axis=1).min())


def check(tower: str, least: float, asked: float = LEAST_COSINE) -> None:
    """Refuse a tower, "text" or "image", whose vectors are not those of torch.

    Raises:
        ModelError: the least cosine is too low.
    """
    if not least >= asked:
        raise ModelError(
            f"the exported {tower} tower gives other embeddings than torch: the least cosine is"
            f" {least:.5f}, and {asked} is asked for"
        )


def trace(
    module: torch.nn.Module,
    example: torch.Tensor,
    name: str,
    dims: Any,
    to: Path,
    optimize: bool = True,
) -> None:
    """Write a module as ONNX: from the input `name`, whose sizes in `dims` are free.

    Where it is not to `optimize`, each weight stays as the module has it, by its name there.
    """
    import torch

    with quiet():
        torch.onnx.export(
            module,
            (example,),
            to,
            input_names=[name],
            output_names=["embeddings"],
            dynamic_shapes=(dims,),
            external_data=True,
            dynamo=True,
            verbose=False,
            optimize=optimize,
        )

"""Write the graphs of the pocket model's towers, which ship without any weights.

    python scripts/pocket_graphs.py

Each is traced from torch, and then a weight's place is put where it was: of a tower the byte of
its package's file where it begins and the order of its axes there, of the heads its name. What
fills them is `clipsearch/encoders/pocket/graphs.py`, without torch. To be run when the code of the
towers or the shape of the heads changes; heads of the same shape use the same graphs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import numpy_helper
from onnxscript import optimizer

from clipsearch.encoders.onnx.tracing import trace
from clipsearch.encoders.pocket.encoder import load
from clipsearch.encoders.pocket.graphs import AT, GRAPHS, HEADS, SHAPE
from clipsearch.encoders.pocket.parts import CONTEXT, RESOLUTION, pocket_files
from clipsearch.encoders.pocket.towers import ImageTower, JointPhoto, JointText

# Constants of fewer values are computed once, here; a weight has more, and stays as it is.
_SMALL = 2


def main() -> None:
    """Trace both towers, and write their graphs beside the code that reads them."""
    encoder = load()
    image_file, text_file = pocket_files() or (Path(), Path())
    shape = json.dumps(asdict(encoder.heads.shape))
    views = torch.zeros((2, RESOLUTION, RESOLUTION, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("length", max=CONTEXT)
    text = encoder.text_export().module
    assert isinstance(text, JointText)
    photo = JointPhoto(ImageTower(image_file, folded=False), encoder.heads)
    tokens = torch.ones((2, 9), dtype=torch.int64)
    for tower, module, name, example, dims, file in (
        ("image", photo, "views", views, {0: batch}, image_file),
        ("text", text, "tokens", tokens, {0: batch, 1: length}, text_file),
    ):
        model = traced(module.eval(), example, name, dims)
        content = file.read_bytes()
        empty(model, partial(_place, file=content))
        model.metadata_props.add(key=SHAPE, value=shape)
        GRAPHS[tower].write_bytes(model.SerializeToString(deterministic=True))
        print(f"{GRAPHS[tower]}: {GRAPHS[tower].stat().st_size:,} bytes")


def traced(
    module: torch.nn.Module, example: torch.Tensor, name: str, dims: dict[int, object]
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traced.onnx"
        trace(module, example, name, dims, file, optimize=False)
        traced = onnx_ir.load(file)
        optimizer.fold_constants(
            traced,
            input_size_limit=_SMALL,
            output_size_limit=_SMALL,
            should_fold=lambda node: False if node.op_type == "Transpose" else None,
        )
        optimizer.remove_unused_nodes(traced)
        model = onnx_ir.to_proto(traced)
        onnx.external_data_helper.load_external_data_for_model(model, folder)
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def empty(model: onnx.ModelProto, place_of: Callable[[onnx.TensorProto], str | None]) -> None:
    """Take out the weights, and name each by where it is to be found; a constant has no place."""
    renamed = {}
    for tensor in model.graph.initializer:
        if place := place_of(tensor):
            renamed[tensor.name] = place
            tensor.name = place
            tensor.ClearField("raw_data")
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _place(tensor: onnx.TensorProto, file: bytes) -> str | None:
    """Where a weight of pocket's is: in the tower's file, or by its name among the heads."""
    if tensor.name.startswith("heads."):
        return HEADS + tensor.name.removeprefix("heads.")
    if not tensor.name.startswith("tower."):
        return None
    at, order = _found(numpy_helper.to_array(tensor), file)
    # Two of one value begin at one byte, and a name is one tensor's.
    return f"{AT}{at} {order} {tensor.name.removeprefix('tower.')}"


def _found(weight: np.ndarray, file: bytes) -> tuple[int, str]:
    """At which byte a weight begins, and the order in which its axes are there, as "2310"."""
    for order in permutations(range(weight.ndim)):
        at = file.find(weight.transpose(order).astype("<f4").tobytes())
        if at >= 0:
            return at, "".join(map(str, order))
    raise ValueError("a weight is not in the file as it is")


if __name__ == "__main__":
    main()

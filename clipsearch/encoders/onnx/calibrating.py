"""An image tower in 8 bits, the ranges of what flows through it being those of photos.

    the graph, constants folded -> outliers moved into weights -> ranges on photos -> 8 bits

Each output of a matrix or a convolution has a scale of its own, and what is multiplied one for
all. A few channels of what a transformer multiplies are many times as large as the others, and
would leave these few steps: there the channels are divided, and the rows of the matrix multiplied,
by the same (SmoothQuant; Xiao and others, 2023). What looks at the pixels stays as it is, since it
costs little time and most of what 8 bits do to a network of convolutions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clipsearch.encoders.onnx.text_export import optimize
from clipsearch.encoders.processor import adds_8_bits
from clipsearch.encoders.quiet import quiet
from clipsearch.errors import ModelError, first_line

if TYPE_CHECKING:
    import onnx

BATCH = 8  # photos at a time
PASSES = 2  # over all photos
_MATRICES = ("MatMul", "Gemm")
_QUANTIZED = ["Conv", "Clip", *_MATRICES]  # a Clip that follows a convolution is a part of it


class _Product(NamedTuple):
    """A matrix of weights that something is multiplied with."""

    node: onnx.NodeProto
    input: str
    weights: str
    axis: int  # of the weights, which the channels of the input are summed over


def quantize_on(
    plain: Path | bytes,
    views: np.ndarray,
    to: Path,
    step: Callable[[int], None],
    matrices: bool = True,
) -> bool:
    """Write an image tower in 8 bits, calibrated on (n, r, r, channels) uint8 views.

    `plain` is a file, or what stands in one. `step` is called with how many of the views were
    looked at, PASSES times each; what it raises ends this. Without `matrices` only convolutions
    are in 8 bits; gives whether that is something, as it is not in a transformer.

    Raises:
        ModelError: it has what cannot be quantized.
    """
    import onnx

    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        folded, smoothed = Path(folder) / "folded.onnx", Path(folder) / "smoothed.onnx"
        optimize(plain, folded, "basic")
        model = onnx.load(folded)
        if matrices:
            _smooth(model, _peaks(model, folded, views, step))
        onnx.save_model(model, smoothed, save_as_external_data=True, location="smoothed.data")
        try:
            _quantize(smoothed, _QUANTIZED if matrices else _QUANTIZED[:2], views, to, step)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"it cannot be quantized: {first_line(error)}") from error
    return [node.op_type for node in model.graph.node].count("Conv") > 1


def _quantize(
    plain: Path, kinds: list[str], views: np.ndarray, to: Path, step: Callable[[int], None]
) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        """What onnxruntime draws batches from."""

        def __init__(self) -> None:
            self._batches = _batches(views)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            if batch is None:
                return None
            step(len(batch))
            return {"views": batch}

    with quiet():
        quantize_static(
            plain,
            to,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            per_channel=True,
            reduce_range=not adds_8_bits(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[_first_look(onnx.load(plain, load_external_data=False))],
            extra_options={"MatMulConstBOnly": True},
        )


def _batches(views: np.ndarray) -> Iterator[np.ndarray]:
    return (views[start : start + BATCH] for start in range(0, len(views), BATCH))


def _first_look(model: onnx.ModelProto) -> str:
    """The convolution that sees the pixels."""
    return next((node.name for node in model.graph.node if node.op_type == "Conv"), "")


def _products(model: onnx.ModelProto) -> Iterator[_Product]:
    shapes = {weights.name: weights.dims for weights in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _MATRICES or len(shapes.get(node.input[1], ())) != 2:
            continue
        flags = {flag.name: flag.i for flag in node.attribute}
        if not flags.get("transA"):
            yield _Product(node, node.input[0], node.input[1], flags.get("transB", 0))


def _peaks(
    model: onnx.ModelProto, file: Path, views: np.ndarray, step: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """The largest absolute value of each channel of what is multiplied, by its name."""
    import onnx
    import onnxruntime

    names = list(dict.fromkeys(product.input for product in _products(model)))
    if not names:
        return {}
    graph = onnx.load(file, load_external_data=False)
    told = {output.name for output in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in told)
    seen = file.with_name("seen.onnx")
    onnx.save(graph, seen)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(seen, options, providers=["CPUExecutionProvider"])
    peaks: dict[str, Any] = dict.fromkeys(names, 0)
    for batch in _batches(views):
        step(len(batch))
        for name, found in zip(names, session.run(names, {"views": batch}), strict=True):
            largest = np.abs(found).reshape(-1, found.shape[-1]).max(axis=0)
            peaks[name] = np.maximum(peaks[name], largest)
    return peaks


def _smooth(model: onnx.ModelProto, peaks: dict[str, np.ndarray]) -> None:
    """Divide channels that are multiplied, and multiply the rows of their matrices, by the same."""
    from onnx import numpy_helper

    weights = {it.name: it for it in model.graph.initializer}
    by_input: dict[str, list[_Product]] = {}
    for product in _products(model):
        by_input.setdefault(product.input, []).append(product)
    for name, products in by_input.items():
        matrices = [numpy_helper.to_array(weights[it.weights]) for it in products]
        rows = [np.abs(m).max(axis=1 - it.axis) for m, it in zip(matrices, products, strict=True)]
        scales = _scales(peaks[name], np.max(rows, axis=0))
        _divide(model, name, products, scales)
        for matrix, product in zip(matrices, products, strict=True):
            larger = matrix * np.expand_dims(scales, 1 - product.axis)
            product.node.input[1] = _constant(model, f"{product.node.name} smooth", larger)
    used = {name for node in model.graph.node for name in node.input}
    for unused in [it for it in model.graph.initializer if it.name not in used]:
        model.graph.initializer.remove(unused)


def _scales(peaks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """By which to divide channels with such peaks, and multiply rows of a matrix with such."""
    scales = np.sqrt(np.maximum(peaks, 1e-5) / np.maximum(rows, 1e-5))
    scaled: np.ndarray = (scales / np.exp(np.log(scales).mean())).astype(np.float32)
    return scaled


def _divide(
    model: onnx.ModelProto, name: str, products: list[_Product], scales: np.ndarray
) -> None:
    """Divide what these products multiply: where it is made, if nothing else uses it."""
    import onnx
    from onnx import numpy_helper

    nodes = model.graph.node
    maker = next((number for number, node in enumerate(nodes) if name in node.output), -1)
    users = sum(name in node.input for node in nodes)
    weights = {it.name: it for it in model.graph.initializer}
    if (
        maker >= 0
        and nodes[maker].op_type == "LayerNormalization"
        and users == len(products)
        and all(part in weights for part in nodes[maker].input[1:])
    ):
        for place, part in enumerate(nodes[maker].input[1:], 1):
            smaller = numpy_helper.to_array(weights[part]) / scales
            nodes[maker].input[place] = _constant(model, f"{name} smooth {place}", smaller)
        return
    divisor = _constant(model, f"{name} scales", 1 / scales)
    divided = f"{name} smooth"
    nodes.insert(maker + 1, onnx.helper.make_node("Mul", [name, divisor], [divided], divided))
    for product in products:
        product.node.input[0] = divided


def _constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return name

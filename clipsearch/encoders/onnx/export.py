"""Write a whole model as ONNX: into a folder for `onnx:FOLDER`, or into the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clipsearch.cache import (
    cache_folder,
    check_takes_more,
    give_up,
    is_settled,
    made_in_cache,
    sha256_of,
)
from clipsearch.encoders import Encoder, load
from clipsearch.encoders.onnx.encoder import OnnxEncoder, open_cached
from clipsearch.encoders.onnx.folder import (
    FACTS,
    FORMAT,
    IMAGES,
    TEXTS,
    Facts,
    cached_folder,
    view_as_json,
)
from clipsearch.encoders.onnx.probes import made_views
from clipsearch.encoders.onnx.text_export import export_texts, write_texts
from clipsearch.encoders.onnx.texts import RULES, folder_of
from clipsearch.encoders.onnx.tracing import LEAST_IN_FP16, check, least_cosine, trace
from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.spec import Spec
from clipsearch.errors import InvalidInput, ModelError, arg, first_line
from clipsearch.replacing import check_writable, draft_folder, put_in_place

log = logging.getLogger("clipsearch")

# Batches of the made pictures that an exported tower is checked with: no size is built in.
BATCHES = (1, 3, 8)
# An image tower of more is exported only for who asks for it.
MOST_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Tower:
    """One exported tower, and how far its embeddings agree with those of torch in fp32."""

    name: str  # "image" or "text"
    precision: str  # "fp32", "fp16" or "int8"
    cosine: float  # the least, over made pictures or probing texts
    bytes: int | None  # None for what was measured on the way and not kept


def export_model(spec: Spec, folder: Path, precision: str = "fp32") -> tuple[Tower, ...]:
    """Write both towers of a model into a folder; gives how they agree with torch.

    In "fp16" weights and arithmetic are of half the bits. In "int8" the weights of its matrices are
    kept in 8 bits, and their inputs are quantized as they come: a model of its own, whose
    embeddings are not those of the full one.

    Raises:
        InvalidInput: the folder holds something, or cannot be written to.
        ModelError: a tower cannot be exported, or gives other vectors than torch.
    """
    folder = Path(os.path.realpath(folder))  # a link stays, and what it leads to is written
    if os.path.exists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is there already and not an empty folder; name another")
    check_writable(folder.parent, arg("out"))  # where it is made, and then renamed
    encoder = _loaded(spec)
    with _writing(folder), draft_folder(folder.parent) as scratch:
        (scratch / TEXTS).mkdir()
        cosines = {
            "image": _write_images(scratch, encoder, precision),
            "text": write_texts(scratch / TEXTS, encoder, _SMALLER.get(precision)),
        }
        if precision == "fp16":
            for name, (_, least) in cosines.items():
                check(name, least, LEAST_IN_FP16)
        facts = _facts(scratch, spec, encoder, precision)
        (scratch / FACTS).write_text(json.dumps(asdict(facts), indent=2), "utf-8")
        for file in scratch.rglob("*.data"):  # which quantizing leaves to their owner alone
            shutil.copymode(scratch / FACTS, file)
        put_in_place(scratch, folder)
    sizes = {"image": _size(folder, IMAGES + "*"), "text": _size(folder / TEXTS, "tower*")}
    return tuple(
        Tower(name, kept, cosine, sizes[name] if kept == precision else None)
        for name, found in cosines.items()
        for kept, cosine in zip(("fp32", precision), found, strict=False)
    )


def export_to_cache(spec: Spec, encoder: Encoder, device: str) -> OnnxEncoder:
    """A model's ONNX form from the cache, written there first if need be.

    `encoder` is the model as torch has it.

    Raises:
        ModelError: a tower cannot be exported, or gives other vectors than torch.
        InvalidInput: onnxruntime has no such device here, or the cache cannot be written.
    """
    identity = encoder.weights, encoder.preprocess
    if found := open_cached(*identity, device):
        return found
    if encoder.device != "cpu" or encoder.precision != "fp32":
        encoder = _loaded(spec)
    if not export_texts(encoder):
        if not is_settled(folder_of(*identity), RULES):  # it was not for the tower's sake
            raise InvalidInput(
                f"{cache_folder()} cannot be written to, or is full; CLIPSEARCH_CACHE can name"
                " another folder"
            )
        raise ModelError(
            f"the text tower of {spec} cannot be run as ONNX; use {arg('runtime')} torch"
        )

    def write(folder: Path) -> Facts:
        _write_images(folder, encoder)
        return _facts(folder, spec, encoder)

    write_to_cache(*identity, write)
    exported = open_cached(*identity, device)
    if exported is None:
        raise ModelError(f"{spec} was exported to the cache, but cannot be read back from there")
    return exported


def try_export(spec: Spec, encoder: Encoder) -> Encoder:
    """A model as onnxruntime runs it on the processor, exported to the cache unless that was tried.

    Where that fails, or it is too large, that is said once, and the encoder is given back, as it
    is where its kind has no export.
    """
    folder = cached_folder(encoder.weights, encoder.preprocess)
    if isinstance(encoder, OnnxEncoder) or is_settled(folder, FACTS):
        return encoder
    try:
        if module := encoder.image_export():
            check_room(4 * sum(weight.numel() for weight in module.parameters()), folder)
            return export_to_cache(spec, encoder, "cpu")
    except (ModelError, InvalidInput) as error:
        log.warning(
            "PyTorch embeds pictures with %s, also where they are few, which takes some seconds"
            " more: %s", spec, first_line(error),
        )  # fmt: skip
        if isinstance(error, InvalidInput):  # no room, or no right to write: that passes
            return encoder
    give_up(folder)
    return encoder


def check_room(size: int, folder: Path) -> None:
    """Refuse an image tower of so many bytes that is not to be written to a folder.

    Raises:
        ModelError: it is too large.
        InvalidInput: the disk has no room.
    """
    if size > MOST_BYTES:
        raise ModelError(f"its image tower of {size / 1e9:.1f} GB is too large to be kept twice")
    there = next(parent for parent in folder.parents if parent.exists())
    if shutil.disk_usage(there).free < 3 * size:
        raise InvalidInput(f"{there} has no room for {size / 1e6:.0f} MB more")


def write_to_cache(weights: str, preprocess: str, write: Callable[[Path], Facts]) -> None:
    """Have a model's image tower written to the cache, unless another process was quicker.

    Raises:
        InvalidInput: the cache cannot be written.
        ClipsearchError: what `write` raises, which is given an empty folder.
    """
    folder = cached_folder(weights, preprocess)
    with _writing(folder), made_in_cache(folder, FACTS) as scratch:
        (scratch / FACTS).write_text(json.dumps(asdict(write(scratch))), "utf-8")


def quantize(plain: Path, smaller: Path) -> None:
    """Write a tower with its matrices in 8 bits; what multiplies them is quantized as it comes."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(plain)
    # Told of tensors that quantizing transposes, which then contradicts it; it finds them itself.
    del model.graph.value_info[:]
    with quiet():
        quantize_dynamic(
            model,
            smaller,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Not convolutions: onnxruntime's in 8 bits are slower than those in full.
            op_types_to_quantize=["MatMul", "Gemm"],
            use_external_data_format=True,
        )


def halve(plain: Path, smaller: Path) -> None:
    """Write a tower in fp16; what goes in and what comes out are as they were."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    # Without the weights, since shapes cannot be inferred in 2 GB and more.
    model = onnx.shape_inference.infer_shapes(onnx.load(plain, load_external_data=False))
    onnx.load_external_data_for_model(model, str(plain.parent))
    with quiet():
        halved = convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_NOT_IN_FP16],
        )
    onnx.save(halved, smaller, save_as_external_data=True, location=f"{smaller.name}.data")


# The squares of an embedding's numbers may be too large for it; and onnxruntime 1.32 ends the
# process over a Gelu on a processor.
_NOT_IN_FP16 = ("ReduceL2", "Gelu")
_SMALLER = {"fp16": halve, "int8": quantize}


def _loaded(spec: Spec) -> Encoder:
    if spec.family == "onnx":
        raise InvalidInput(f"{spec} is exported already; name the model that it was made of")
    return load(spec, "cpu", "fp32")


def _write_images(folder: Path, encoder: Encoder, precision: str = "fp32") -> tuple[float, ...]:
    """Write the image tower; gives its least cosine with torch's, and that of a smaller one."""
    import torch

    module = encoder.image_export()
    if module is None:
        raise ModelError("an image tower of its kind cannot be exported")
    views = made_views(encoder, sum(BATCHES))
    expected = encoder.encode_images(views)
    file = folder / IMAGES
    try:
        dims = {0: torch.export.Dim("batch")}
        trace(module.eval(), torch.tensor(views[:2]), "views", dims, file)
        least = [_measured(file, views, expected)]
        check("image", least[0])
        if make := _SMALLER.get(precision):
            # In a folder of its own, since the name of the file with its weights stands in it.
            with tempfile.TemporaryDirectory(dir=folder) as beside:
                make(file, Path(beside) / IMAGES)
                for smaller in Path(beside).iterdir():
                    smaller.replace(folder / smaller.name)
            least.append(_measured(file, views, expected))
    except (OSError, ModelError):
        raise
    except Exception as error:  # an operator that ONNX lacks
        check_takes_more(folder)
        raise ModelError(f"the image tower cannot be exported: {first_line(error)}") from error
    return tuple(least)


def _measured(file: Path, views: np.ndarray, expected: np.ndarray) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    ends = np.cumsum(BATCHES)
    rows = [session.run(None, {"views": batch})[0] for batch in np.split(views, ends[:-1])]
    return least_cosine(np.concatenate(rows), expected)


def hashes_in(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its path there."""
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*"))
    return {name: sha256_of(folder / name) for name in names}


def _facts(folder: Path, spec: Spec, encoder: Encoder, precision: str = "fp32") -> Facts:
    files = hashes_in(folder)
    weights = encoder.weights
    if precision == "int8":  # what it gives depends on who does it: these very files are the model
        weights = hashlib.sha256("".join(files.values()).encode()).hexdigest()
    return Facts(
        FORMAT, str(spec), weights, encoder.preprocess, precision,
        encoder.dim, encoder.resolution, encoder.context, encoder.logit_scale,
        encoder.logit_bias, view_as_json(encoder.prepare), files,
    )  # fmt: skip


def _size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror or error}") from error

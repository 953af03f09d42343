"""Write a model's text tower as ONNX, so that a query need not import torch."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.encoders.quiet import quiet
from clipsearch.encoders.texts import (
    RULES,
    TOKENIZER,
    TOWER,
    ExportedTexts,
    TokenRules,
    folder_of,
)

if TYPE_CHECKING:
    import torch

    from clipsearch.encoders import Encoder

log = logging.getLogger("clipsearch")

# An export that agrees less with torch than this is not used.
LEAST_COSINE = 0.9999

# Of all lengths, several scripts, and with what cleaning changes.
PROBES = (
    "dog",
    "A black cat on a couch",
    "two people, on a beach... at sunset &amp; a dog's ball_game!",
    "café Zürich naïve — “quotes” … 10% 2024",
    "собака бежит по снегу",
    "海辺の夕日 高楼大厦 한국 음식",
    "مسجد عند الغروب שלום",
    "🐶🎉 party 👩‍👩‍👧 ❤️",
    "a photo of " + "a very long road through a wide green valley, " * 12,
)


@dataclass(frozen=True, slots=True)
class TextExport:
    """What is exported of an encoder."""

    module: torch.nn.Module  # (n, t) int64 tokens to (n, dim) float32 unit rows; CPU, float32
    tokenizer: str  # as JSON of the tokenizers library
    rules: TokenRules


def export_texts(encoder: Encoder) -> bool:
    """Export an encoder's text tower unless that is done; gives whether there is one now.

    Not every tower can be exported. One that gives other vectors than torch is not kept.
    """
    folder = folder_of(encoder.weights, encoder.preprocess)
    if folder.is_dir():
        return (folder / RULES).is_file()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    except OSError as error:  # a full or read-only disk: queries take longer, no more
        log.debug("no text tower was exported: %s", error)
        return False
    try:
        worked = _export_into(scratch, encoder)
        if not worked:
            # An empty folder says that it was tried, and need not be again.
            for file in scratch.iterdir():
                file.unlink()
        os.replace(scratch, folder)
    except OSError as error:  # also: another process was quicker
        log.debug("no text tower was exported: %s", error)
        return (folder / RULES).is_file()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return worked


def _export_into(folder: Path, encoder: Encoder) -> bool:
    try:
        tower = encoder.text_export()
        if tower is None:
            return False
        (folder / TOKENIZER).write_text(tower.tokenizer, "utf-8")
        logits = {"logit_scale": encoder.logit_scale, "logit_bias": encoder.logit_bias}
        (folder / RULES).write_text(json.dumps(asdict(tower.rules) | logits), "utf-8")
        _write_tower(tower, folder)
        exported = ExportedTexts(folder).encode_texts(PROBES)
    except OSError:
        raise
    except Exception as error:  # an operator that ONNX lacks, a tokenizer of another kind
        log.debug("the text tower cannot be exported: %s", error)
        return False
    cosines = (exported * encoder.encode_texts(PROBES)).sum(axis=1)
    log.debug("the exported text tower's least cosine with torch's is %.6f", cosines.min())
    return bool(cosines.min() >= LEAST_COSINE)


def _write_tower(tower: TextExport, folder: Path) -> None:
    import torch

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=tower.rules.context)
    if tower.rules.padding is None:
        example, dims = torch.ones((2, 9), dtype=torch.int64), {0: batch, 1: length}
    else:
        example = torch.ones((2, tower.rules.context), dtype=torch.int64)
        dims = {0: batch}
    plain = folder / "plain.onnx"
    with quiet():
        torch.onnx.export(
            tower.module,
            (example,),
            plain,
            input_names=["tokens"],
            output_names=["embeddings"],
            dynamic_shapes=(dims,),
            external_data=True,
            dynamo=True,
            verbose=False,
        )
    _optimize(plain, folder / TOWER)
    for file in folder.glob("plain.*"):
        file.unlink()


def _optimize(plain: Path, optimized: Path) -> None:
    """Have onnxruntime merge operators once, with the weights beside it to be memory-mapped."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Not further: what is done beyond suits one processor alone.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimized)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", optimized.name + ".data"
    )
    options.add_session_config_entry("session.disable_prepacking", "1")
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])

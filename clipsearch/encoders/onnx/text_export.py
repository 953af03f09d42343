"""Write a model's text tower as ONNX, so that a query need not import torch."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cache import check_takes_more, give_up, is_settled, made_in_cache
from clipsearch.encoders.onnx.texts import (
    RULES,
    TOKENIZER,
    TOWER,
    ExportedTexts,
    TokenRules,
    folder_of,
)
from clipsearch.encoders.onnx.tracing import check, least_cosine, trace
from clipsearch.errors import ClipsearchError, ModelError, first_line

if TYPE_CHECKING:
    import torch

    from clipsearch.encoders import Encoder

log = logging.getLogger("clipsearch")

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


def export_texts(encoder: Encoder, step: Callable[[], None] = lambda: None) -> bool:
    """Export an encoder's text tower unless that is done; gives whether there is one now.

    Not every tower can be exported. One that gives other vectors than torch is not kept. `step` is
    called when it is traced, optimized and compared.
    """

    def write(folder: Path) -> None:
        (least,) = write_texts(folder, encoder, step=step)
        log.debug("the exported text tower's least cosine with torch's is %.6f", least)

    return keep_texts(encoder.weights, encoder.preprocess, write)


def keep_texts(weights: str, preprocess: str, write: Callable[[Path], None]) -> bool:
    """Have a model's text tower written to the cache unless that is done; gives whether it is.

    `write` is given an empty folder. What it raises of this library's says that there will be none.
    """
    folder = folder_of(weights, preprocess)
    if not is_settled(folder, RULES):
        try:
            with made_in_cache(folder, RULES) as scratch:
                write(scratch)
        except ClipsearchError as error:
            log.debug("%s", error)
            give_up(folder)
        except OSError as error:  # a full or read-only disk: queries take longer, no more
            log.debug("no text tower was exported: %s", error)
    return (folder / RULES).is_file()


def write_texts(
    folder: Path,
    encoder: Encoder,
    smaller: Callable[[Path, Path], None] | None = None,
    step: Callable[[], None] = lambda: None,
) -> tuple[float, ...]:
    """Write an encoder's text tower and what it reads into a folder.

    Gives the least cosine of its embeddings with torch's. `smaller` makes another file of the
    tower's, to be kept in its place; the least cosine of that one is then given too. `step` is as
    for `export_texts`.

    Raises:
        ModelError: it cannot be exported, or gives other vectors than torch.
    """
    found = encoder.text_export()
    if isinstance(found, Path):  # done elsewhere, and measured there
        shutil.copytree(found, folder, dirs_exist_ok=True)
        return (1.0,)
    if found is None:
        raise ModelError("a text tower of its kind cannot be exported")
    (folder / TOKENIZER).write_text(found.tokenizer, "utf-8")
    logits = {"logit_scale": encoder.logit_scale, "logit_bias": encoder.logit_bias}
    (folder / RULES).write_text(json.dumps(asdict(found.rules) | logits), "utf-8")
    plain, quantized = folder / "plain.onnx", folder / "smaller.onnx"
    try:
        _trace_texts(found, plain)
        step()
        optimize(plain, folder / TOWER)
        step()
        expected = encoder.encode_texts(PROBES)
        least = [least_cosine(ExportedTexts(folder).encode_texts(PROBES), expected)]
        check("text", least[0])
        step()
        if smaller:
            smaller(plain, quantized)
            optimize(quantized, folder / TOWER)
            least.append(least_cosine(ExportedTexts(folder).encode_texts(PROBES), expected))
    except (OSError, ClipsearchError):
        raise
    except Exception as error:  # an operator that ONNX lacks, a tokenizer of another kind
        check_takes_more(folder)
        raise ModelError(f"the text tower cannot be exported: {first_line(error)}") from error
    for file in (*folder.glob("plain.*"), *folder.glob("smaller.*")):
        file.unlink()
    return tuple(least)


def _trace_texts(tower: TextExport, to: Path) -> None:
    import torch

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=tower.rules.context)
    if tower.rules.padding is None:
        example, dims = torch.ones((2, 9), dtype=torch.int64), {0: batch, 1: length}
    else:
        example = torch.ones((2, tower.rules.context), dtype=torch.int64)
        dims = {0: batch}
    trace(tower.module, example, "tokens", dims, to)


def optimize(plain: Path | bytes, optimized: Path, how: str = "extended") -> None:
    """Have onnxruntime merge operators once, with the weights beside it to be memory-mapped.

    `plain` is a file, or what stands in one. With "basic" it is ONNX still.

    Raises:
        OSError: the disk is full.
        ModelError: it cannot be done.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Not further: what is done beyond suits one processor alone.
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = getattr(levels, f"ORT_ENABLE_{how.upper()}")
    options.optimized_model_filepath = str(optimized)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", optimized.name + ".data"
    )
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # what onnxruntime raises has no common base
        check_takes_more(optimized.parent)
        raise ModelError(f"onnxruntime cannot write {optimized}: {first_line(error)}") from error

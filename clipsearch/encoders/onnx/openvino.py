"""An exported image tower run by OpenVINO, on the processor: in bf16 where that is near enough.

It is imported in a tenth of a second, where torch takes several. onnxruntime, which takes as
little, has no bf16 on a processor; in fp32 they are about as fast.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cache import cache_folder
from clipsearch.encoders.processor import bf16
from clipsearch.errors import ModelError, first_line
from clipsearch.replacing import make_private

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("clipsearch")

# Kinds of processors on which it was measured, and is the fastest.
KINDS = ("x86_64", "amd64")
# How near its vectors have to be to those of onnxruntime: the least cosine over made pictures.
LEAST = {"bf16": 0.999, "fp32": 0.9999}
_SLOWER = 0.9  # times as fast as onnxruntime: what bf16 has to be more than
_HINTS = {"bf16": "bf16", "fp32": "f32"}  # what it calls them
_CHECKED = "openvino.json"  # in the cache: what was found, by its version and instructions


@cache
def version() -> str | None:
    """The version of the package that is installed; None for none."""
    from importlib import metadata

    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return None


@cache
def suits() -> bool:
    """Whether it is here and measured on such a machine, and onnxruntime has no faster device.

    Elsewhere than on Linux only torch tells what a processor has, which is not to be imported.
    """
    is_such = sys.platform == "linux" and platform.machine().lower() in KINDS
    if version() is None or not is_such:
        return False
    import onnxruntime

    from clipsearch.encoders.onnx.providers import CPU, pick_provider

    return pick_provider("auto", onnxruntime.get_available_providers())[0] == CPU


class Tower:
    """An image tower compiled for this processor."""

    def __init__(self, file: Path, precision: str) -> None:
        """Read and compile the tower in a file, to compute in "bf16" or "fp32".

        Raises:
            ModelError: OpenVINO cannot read it, or not compute so.
        """
        self.precision = precision
        self._lock = threading.Lock()
        try:
            core = _imported().Core()
            settings = {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "PERFORMANCE_HINT": "LATENCY",  # all cores for one batch
                "ENABLE_CPU_PINNING": False,  # decoders run beside it
            }
            self._tower: Any = core.compile_model(core.read_model(file), "CPU", settings)
        except Exception as error:  # what OpenVINO raises has no common base
            raise ModelError(f"OpenVINO cannot run {file}: {first_line(error)}") from error

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Embed (n, r, r, channels) uint8 views: (n, dim) float32, unit rows.

        Raises:
            RuntimeError: there is no memory for so many.
        """
        with self._lock:  # what it computes in is one
            rows: np.ndarray = self._tower([views])[0].copy()
        return rows


def open_tower(
    file: Path, views: Callable[[], np.ndarray], by_onnxruntime: Callable[[np.ndarray], np.ndarray],
    note: Path | None,
) -> Tower:  # fmt: skip
    """The tower in a file, in the fastest precision that agrees with onnxruntime.

    That is found out by made `views`, and noted in `note`, if one is given, a folder of the cache,
    for the next time. Without AMX, bf16 is twice as fast as fp32 on some processors, and slower
    on others.

    Raises:
        ModelError: it cannot be run, or gives other vectors.
    """
    found = _noted(note)
    expected: tuple[np.ndarray, np.ndarray] | None = None
    instructions = bf16()
    for precision in ("bf16", "fp32") if instructions else ("fp32",):
        # Other machines may have the same cache, and other instructions.
        key = f"{version()} {instructions if precision == 'bf16' else precision}"
        pace = f"{key}, times onnxruntime"
        # Also where it is not a number.
        if not (found.get(key, 1) >= LEAST[precision] and found.get(pace, 1) > _SLOWER):
            continue
        try:
            tower = Tower(file, precision)
            if key not in found:
                if expected is None:
                    expected = (made := views()), by_onnxruntime(made)
                found[key] = _least_cosine(tower, *expected)
                log.debug("OpenVINO in %s: a least cosine of %.5f", precision, found[key])
                _write(note, found)
        except ModelError as error:  # not noted: memory that was short may be there the next time
            log.debug("%s", error)
            continue
        if found[key] >= LEAST[precision]:
            if instructions == "avx512_bf16" and precision == "bf16" and pace not in found:
                made = expected[0] if expected else views()
                found[pace] = _seconds(by_onnxruntime, made) / _seconds(tower, made)
                log.debug("OpenVINO in bf16: %.1f times as fast", found[pace])
                _write(note, found)
            if found.get(pace, 1) > _SLOWER:
                return tower
    raise ModelError(f"OpenVINO cannot run {file}, or gives other vectors than onnxruntime")


def _seconds(embed: Callable[[np.ndarray], np.ndarray], views: np.ndarray) -> float:
    """How long it takes when it is warm and nothing is in its way."""
    embed(views)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        embed(views)
        times.append(time.perf_counter() - began)
    return min(times)


def _least_cosine(tower: Tower, views: np.ndarray, expected: np.ndarray) -> float:
    try:
        return float((tower(views) * expected).sum(axis=1).min())
    except Exception as error:  # what it compiles it may still not be able to run
        raise ModelError(
            f"OpenVINO cannot embed {len(views)} pictures: {first_line(error)}"
        ) from error


def _imported() -> Any:
    # Or importing it tells its makers so, under a name that it gives the machine and writes to the
    # home folder. It has a stand-in for where this package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _noted(note: Path | None) -> dict[str, float]:
    if note is None:
        return {}
    # Whatever a file may hold: also numbers without end, and lists in lists.
    with suppress(OSError, ValueError, TypeError, OverflowError, RecursionError):
        told = json.loads((note / _CHECKED).read_text("utf-8"))
        return {str(key): float(value) for key, value in dict(told).items()}
    return {}


def _write(note: Path | None, found: dict[str, float]) -> None:
    if note is not None:
        with suppress(OSError):  # it is found out again
            make_private(cache_folder())
            note.mkdir(parents=True, exist_ok=True)
            (note / _CHECKED).write_text(json.dumps(found), "utf-8")

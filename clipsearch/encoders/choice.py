"""Whether torch, OpenVINO or onnxruntime embeds pictures, by the machine and how many there are.

torch is imported for that only where a GPU may be, or where nothing else tells of the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from clipsearch.encoders.onnx.openvino import suits as _suits_openvino
from clipsearch.encoders.onnx.openvino import version
from clipsearch.encoders.processor import BF16, may_have_card
from clipsearch.encoders.processor import bf16 as _bf16
from clipsearch.errors import InvalidInput, arg, did_you_mean

LOCAL = ("auto", "cpu")  # devices for which what was exported does as well
RUNTIMES = ("auto", "torch", "onnx", "openvino")
NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
EXPORTED = ("onnx", "openvino")  # those that run what was exported
# So many are embedded by onnxruntime, which loads a model faster, before OpenVINO compiles it.
FEWEST = 32
# So many are embedded by onnxruntime before torch is imported and has read a model of 350 MB.
FEW = 200
# From so many on it pays to export a model before, where onnxruntime is the faster one.
MANY = 1000
# Which onnxruntime runs faster than torch on any processor, and OpenVINO no faster.
_SMALL = ("pocket",)


def check_runtime(name: str) -> None:
    """Raise InvalidInput unless that is what can embed pictures, or "auto"."""
    if name not in RUNTIMES:
        hint = did_you_mean(name, RUNTIMES)
        raise InvalidInput(f"{arg('runtime')} is auto, torch, onnx or openvino, not {name!r}{hint}")
    if name == "openvino" and version() is None:
        raise InvalidInput("OpenVINO is not installed.\nInstall it: pip install openvino")


class Choice(NamedTuple):
    """What embeds pictures, and why."""

    runtime: str  # "torch", "onnx" or "openvino"
    reason: str


@cache
def _card() -> str | None:
    """The device that torch would take before the processor, as "cuda"; None for none."""
    if not may_have_card():
        return None
    from clipsearch.encoders.device import pick_device

    device = pick_device("auto")
    return None if device == "cpu" else device


def choose(
    family: str,
    runtime: str,
    device: str,
    count: int,
    card: Callable[[], str | None] | None = None,
    bf16: Callable[[], str | None] | None = None,
    openvino: Callable[[], bool] | None = None,
) -> Choice:
    """What embeds `count` pictures with a model of a family on a device, "auto" or one of torch's.

    `runtime` is another than "auto" where a person said so; `card`, `bf16` and `openvino` tell of
    the machine, of this one where they are not given.
    """
    if runtime == "openvino" and version() is None:  # of an index from another machine
        return Choice("onnx", "OpenVINO was asked for, and is not here")
    if family == "onnx" and runtime != "openvino":
        return Choice("onnx", "the model is ONNX")
    if runtime != "auto":
        return Choice(runtime, "it was asked for")
    if device not in ("auto", "cpu"):
        return Choice("torch", f"the device {device} was asked for")
    if count <= FEWEST:
        return Choice("onnx", "for few pictures it is not worth loading more")
    if count > FEW and device == "auto" and (found := (card or _card)()):
        return Choice("torch", f"there is a GPU, {found}")
    if family in _SMALL:
        return Choice("onnx", f"it runs {family} as fast as any on a processor")
    bf16, openvino = bf16 or _bf16, openvino or _suits_openvino
    if openvino() and (feature := bf16()):
        return Choice("openvino", f"the processor has {feature}")
    if count <= FEW:
        return Choice("onnx", "for few pictures it is not worth importing PyTorch")
    if feature := bf16():
        return Choice("torch", f"the processor has {feature}")
    return Choice("onnx", f"the processor has neither {' nor '.join(BF16)}")

"""Which device and which precision to encode with."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from clipsearch.encoders.processor import BF16
from clipsearch.errors import InvalidInput, arg, did_you_mean

_GPUS = {"cuda": "card of NVIDIA's or AMD's", "mps": "GPU of Apple's", "xpu": "GPU of Intel's"}


def pick_device(wanted: str) -> str:
    """The torch device for `wanted`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InvalidInput: not a device, or one that this machine does not have.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _not_here(wanted) from error
    # Of torch's own devices one computes nothing; and all names of a processor mean the same one.
    if device.type == "meta" or (device.type == "cpu" and device.index):
        raise _not_here(wanted)
    return str(device)


def _not_here(wanted: str) -> InvalidInput:
    """What to raise for a device that torch does not reach, in words that are not torch's."""
    kind = wanted.partition(":")[0]
    if kind == "cuda" and (cards := torch.cuda.device_count()):
        why = "there is cuda:0 alone" if cards == 1 else f"there are cuda:0 to cuda:{cards - 1}"
    elif kind == "cpu":
        why = "all processors are one device, cpu"
    elif kind == "gpu":
        why = f"a GPU is called {' or '.join(', '.join(_GPUS).rsplit(', ', 1))}"
    elif kind in _GPUS:
        why = f"PyTorch reaches no {_GPUS[kind]} on this machine"
    else:
        why = f"PyTorch knows none of that name{did_you_mean(kind, ('auto', 'cpu', *_GPUS))}"
    return InvalidInput(
        f"the device {wanted!r} is not available here: {why}\n"
        f"Use {arg('device')} auto to take the best one there is."
    )


def pick_precision(device: str) -> str:
    """The fastest precision that keeps an embedding's cosine to fp32 at 0.999 or more."""
    return explain_precision(device)[0]


def explain_precision(device: str) -> tuple[str, str]:
    """What `pick_precision` gives, and why."""
    kind = torch.device(device).type
    if kind == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the card computes in it"
        return "fp16", "the card lacks bf16"
    if kind == "mps":
        return "fp16", "Apple's GPUs are fastest in it"
    if kind == "cpu":
        return precision_of_cpu(torch.cpu.get_capabilities())
    return "fp32", f"half precision was never tried on {kind}"


def precision_of_cpu(features: Mapping[str, bool | str]) -> tuple[str, str]:
    """The precision for a processor by what torch says it can do, and why."""
    for name in BF16:
        if features.get(name):
            return "bf16", f"the processor has {name}"
    return "fp32", f"the processor has neither {' nor '.join(BF16)}, so bf16 would be slower"

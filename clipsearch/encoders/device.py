"""Which device and which precision to encode with."""

from __future__ import annotations

import torch

from clipsearch.errors import InvalidInput


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
        raise InvalidInput(
            f"the device {wanted!r} is not available here: {str(error).splitlines()[0]}\n"
            "Use --device auto to take the best one there is."
        ) from error
    return str(device)


def pick_precision(device: str) -> str:
    """The fastest precision that keeps an embedding's cosine to fp32 at 0.999 or more."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if kind == "mps":
        return "fp16"
    if kind == "cpu":
        # Without these instructions bf16 is emulated, and slower than fp32.
        features = torch.cpu.get_capabilities()
        return "bf16" if features.get("amx_bf16") or features.get("avx512_bf16") else "fp32"
    return "fp32"

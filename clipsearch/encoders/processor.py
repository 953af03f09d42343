"""What tells of the processor and of cards without torch being imported, where that can be."""

from __future__ import annotations

import platform
import re
import sys
from functools import cache
from pathlib import Path

# With these instructions a processor computes in bf16; without them that is emulated.
BF16 = ("amx_bf16", "avx512_bf16")
# With these it multiplies and adds 8-bit numbers in one step.
VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
# What Linux has where there is a driver of somebody's cards.
DRIVERS = {"nvidia": "/proc/driver/nvidia/version", "amd": "/dev/kfd"}
_SIGNS = (*DRIVERS.values(), "/dev/dxg")  # the last is how Windows lends a card to Linux


@cache
def bf16() -> str | None:
    """By which instructions this processor computes in bf16; None where it does not."""
    return next((name for name in BF16 if name in _flags()), None)


@cache
def adds_8_bits() -> bool:
    """Whether this processor adds products of 8-bit numbers without an end to how large they are.

    One that is x86 and has none of VNNI adds two of them in 16 bits, in which large ones are cut.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return any(name in _flags() for name in VNNI)


@cache
def _flags() -> list[str]:
    if sys.platform == "linux":
        told = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
        return told[1].split() if told else []
    import torch

    return [name for name, has in torch.cpu.get_capabilities().items() if has]


def may_have_card() -> bool:
    """Whether there may be a card that torch can use; only of Linux more is known than maybe."""
    return sys.platform != "linux" or any(Path(sign).exists() for sign in _SIGNS)

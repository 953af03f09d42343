"""What this machine has to run models with, as torch and onnxruntime see it."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipsearch.encoders.onnx.openvino import KINDS
from clipsearch.encoders.onnx.openvino import version as openvino_version
from clipsearch.encoders.onnx.providers import has_one_of, pick_provider
from clipsearch.encoders.processor import DRIVERS

# What models as ONNX can be run by: the name of the device, and the packages that bring it.
_ACCELERATORS = {
    "TensorRT": ("tensorrt", "onnxruntime-gpu tensorrt"),
    "Core ML": ("mps", "--force-reinstall onnxruntime"),
}
_REINSTALL = "install the build of torch that pytorch.org names for it"


@dataclass(frozen=True, slots=True)
class Machine:
    """Plain facts; what they mean is told by functions of them."""

    torch: str  # its version
    cuda: str | None  # the version of CUDA that torch was built for
    hip: str | None  # the version of HIP, AMD's CUDA, that torch was built for
    cards: tuple[str, ...]  # by name, what torch reaches as "cuda"
    mps: bool  # Apple's GPU
    xpu: tuple[str, ...]  # Intel's GPUs by name
    cpu: str  # the instructions that torch's own kernels use
    features: frozenset[str]  # of the processor, as torch names them
    drivers: frozenset[str]  # "nvidia", "amd": what the system has a driver of
    onnxruntime: str  # its version
    providers: tuple[str, ...]  # onnxruntime's, the first is preferred
    openvino: str | None  # its version
    system: str  # "Linux", "Darwin" or "Windows"
    kind: str  # of processor, as "x86_64"


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that there is, or that should be; a remedy says that it is not as it could be."""

    name: str
    what: str
    remedy: str | None = None
    short: str | None = None  # in a few words, of what is told in a line with others


def this_machine() -> Machine:
    """The facts of this machine; imports torch and onnxruntime."""
    import onnxruntime
    import torch

    cards = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    xpu = range(torch.xpu.device_count() if torch.xpu.is_available() else 0)
    told = torch.cpu.get_capabilities()
    return Machine(
        torch.__version__,
        torch.version.cuda,
        torch.version.hip,
        tuple(torch.cuda.get_device_name(number) for number in cards),
        torch.backends.mps.is_available(),
        tuple(torch.xpu.get_device_name(number) for number in xpu),
        torch.backends.cpu.get_cpu_capability(),
        frozenset(name for name, has in told.items() if has is True),
        frozenset(name for name, file in DRIVERS.items() if Path(file).exists()),
        onnxruntime.__version__,
        tuple(onnxruntime.get_available_providers()),
        openvino_version(),
        platform.system(),
        platform.machine().lower(),
    )


def seen(machine: Machine) -> list[Seen]:
    """What the facts come to, for a person."""
    processor = ", ".join([machine.cpu, *_notable(machine.features)])
    torch = Seen("torch", machine.torch, short=f"torch {machine.torch}")
    found = [torch, Seen("processor", processor)]
    found += [Seen(f"cuda:{n}", f"{_platform(machine)}, {c}") for n, c in enumerate(machine.cards)]
    found += [Seen(f"xpu:{n}", card) for n, card in enumerate(machine.xpu)]
    if machine.mps:
        found.append(Seen("mps", "Apple's GPU"))
    if not machine.cards:
        found += _unused(machine)
    taken, _ = pick_provider("auto", machine.providers)
    what = f"{machine.onnxruntime}, takes {taken} of {', '.join(machine.providers)}"
    short = f"onnxruntime {machine.onnxruntime} ({taken.removesuffix('ExecutionProvider')})"
    return [*found, Seen("onnxruntime", what, short=short), *_accelerators(machine)]


def _accelerators(machine: Machine) -> list[Seen]:
    """What makes the most of such a machine for models as ONNX, and how it is had."""
    nvidia = machine.hip is None and (machine.cards or "nvidia" in machine.drivers)
    suiting = {
        "TensorRT": nvidia,
        "Core ML": machine.system == "Darwin",
    }
    is_such = machine.system == "Linux" and machine.kind in KINDS
    found = [_openvino(machine)] if is_such else []
    for name in (name for name, suits in suiting.items() if suits):
        device, package = _ACCELERATORS[name]
        if has_one_of(device, machine.providers):
            found.append(Seen(name, f"onnxruntime has it: --runtime onnx --device {device}"))
            continue
        remedy = f"pip uninstall onnxruntime; pip install {package}; then --device {device}"
        found.append(Seen(name, "this onnxruntime was built without it", remedy))
    return found


def _openvino(machine: Machine) -> Seen:
    if machine.openvino is None:
        remedy = "pip install openvino"
        return Seen(
            "OpenVINO", "without it PyTorch embeds many photos where the processor has bf16", remedy
        )
    return Seen("OpenVINO", machine.openvino, short=f"OpenVINO {machine.openvino}")


def _platform(machine: Machine) -> str:
    """What torch calls "cuda" and may be AMD's ROCm."""
    if machine.hip:
        return f"ROCm (HIP {_short(machine.hip)})"
    return f"CUDA {machine.cuda}"


def _unused(machine: Machine) -> list[Seen]:
    """Cards that the system has a driver of, and torch does not reach."""
    builds = {"nvidia": ("NVIDIA", machine.cuda), "amd": ("AMD", machine.hip)}
    found = []
    for driver in sorted(machine.drivers):
        maker, build = builds[driver]
        if build is None:
            why, remedy = f"this torch was not built for {maker}'s cards", _REINSTALL
        else:
            why = "torch cannot use the card"
            remedy = f"see that the driver is new enough for {_short(build)}, or {_REINSTALL}"
        found.append(Seen("GPU", f"there is a driver of {maker}'s, but {why}", remedy))
    return found


def _notable(features: Sequence[str] | frozenset[str]) -> list[str]:
    """What makes models faster: matrix units, and wide vectors with bf16 or int8."""
    kinds = ("amx", "avx512_bf16", "avx512_vnni", "avx_vnni", "sve", "neon", "bf16", "i8mm", "dot")
    return sorted(name for name in features if name.startswith(kinds))


def _short(version: str) -> str:
    return ".".join(re.split(r"[.-]", version)[:2])

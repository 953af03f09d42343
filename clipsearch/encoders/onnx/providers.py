"""What onnxruntime runs a model on: its execution providers, by the names that torch has."""

from __future__ import annotations

from collections.abc import Sequence

from clipsearch.errors import InvalidInput, arg, did_you_mean

CPU = "CPUExecutionProvider"

# What onnxruntime calls the devices that torch knows, the first that there is being taken; and
# further names, for what torch has no name for. AMD's GPUs are "cuda" to torch.
_AMD = ("MIGraphXExecutionProvider", "ROCMExecutionProvider")
_PROVIDERS = {
    "cpu": (CPU,),
    "cuda": ("CUDAExecutionProvider", *_AMD),
    "mps": ("CoreMLExecutionProvider",),
    "xpu": ("OpenVINOExecutionProvider",),
    "rocm": _AMD,
    "openvino": ("OpenVINOExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider",),
}
# TensorRT is for those who name it: it builds an engine for minutes at each new size of a batch.
_BEST = (*_PROVIDERS["cuda"], *_PROVIDERS["mps"], *_PROVIDERS["openvino"], CPU)


def pick_provider(device: str, available: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The execution provider for a device, of those that onnxruntime has, and its options.

    `device` is torch's name for it, as "cuda:1", or "rocm", "openvino" or "tensorrt"; "auto"
    takes the best.

    Raises:
        InvalidInput: no such device, or none here.
    """
    kind, _, number = device.partition(":")
    wanted = _BEST if device == "auto" else _PROVIDERS.get(kind, ())
    name = next((name for name in wanted if name in available), None)
    is_one = device in ("auto", kind) or (number.isdigit() and (kind != "cpu" or int(number) == 0))
    if name is None or not is_one:
        hint = did_you_mean(kind, ("auto", *_PROVIDERS)) if not wanted else ""
        raise InvalidInput(
            f"the device {device!r} is not available to ONNX Runtime here, which has"
            f" {', '.join(available)}{hint}\n"
            f"Use {arg('device')} auto to take the best one there is."
        )
    options = {"device_id": number} if number and kind != "cpu" else {}
    return name, options | ({"device_type": "GPU"} if kind == "xpu" else {})


def has_one_of(device: str, available: Sequence[str]) -> bool:
    """Whether among onnxruntime's execution providers there is one for a device."""
    return any(name in available for name in _PROVIDERS[device])


def check_device(device: str) -> None:
    """Raise InvalidInput unless torch or ONNX Runtime has such a device on this machine."""
    if device in ("auto", "cpu"):  # which all have, so that torch need not be asked
        return
    from clipsearch.encoders.device import pick_device

    try:
        pick_device(device)
    except InvalidInput:
        if not has_provider(device):
            raise


def has_provider(device: str) -> bool:
    """Whether onnxruntime is here and has an execution provider for a device."""
    try:
        import onnxruntime

        pick_provider(device, onnxruntime.get_available_providers())
    except (ImportError, InvalidInput):
        return False
    return True

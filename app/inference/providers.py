"""The execution providers of ONNX Runtime, by the names users write.

How many threads a model may have here.
"""

from __future__ import annotations

import ctypes
import difflib
import os
import sys

from app.errors import UsageError


def usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def too_many_threads(threads: int, cores: int) -> str:
    return f"{threads} threads are more than this machine's {cores} cores"


PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
NVIDIA = frozenset({"cuda", "tensorrt"})
NVIDIA_DRIVER = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

_NAMES = {runtime_name: name for name, runtime_name in PROVIDERS.items()}


def runtime_name(provider: str) -> str:
    """ONNX Runtime's name of a provider; raises UsageError with the nearest right name."""
    if provider in PROVIDERS:
        return PROVIDERS[provider]
    nearest = difflib.get_close_matches(provider.lower(), PROVIDERS, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"Providers are {', '.join(PROVIDERS)}."
    raise UsageError(f"there is no provider {provider!r}", hint=hint)


def name_of(runtime_name: str) -> str:
    """The name users write; one that has none keeps ONNX Runtime's."""
    return _NAMES.get(runtime_name, runtime_name)


def nvidia_driver_loads() -> bool:
    """Whether the driver's management library loads: it comes with the driver and with nothing else."""
    try:
        ctypes.CDLL(NVIDIA_DRIVER)
    except OSError:
        return False
    return True

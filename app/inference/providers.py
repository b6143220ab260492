"""Names of ONNX Runtime's execution providers as used in profiles, and the number of usable
cores."""

from __future__ import annotations

import ctypes
import difflib
import os
import sys

from app.errors import UsageError


def count_usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def format_too_many_threads(threads: int, cores: int) -> str:
    return f"{threads} threads exceed this machine's {cores} cores"


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
NVIDIA_PROVIDERS = frozenset({"cuda", "tensorrt"})
NVIDIA_DRIVER = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

_PROVIDERS_BY_RUNTIME_NAME = {runtime_name: name for name, runtime_name in PROVIDERS.items()}


def get_runtime_name(provider: str) -> str:
    """Return ONNX Runtime's name of an execution provider. Raises UsageError for an unknown name,
    with the closest valid name in the hint."""
    if provider in PROVIDERS:
        return PROVIDERS[provider]
    close_names = difflib.get_close_matches(provider.lower(), PROVIDERS, n=1)
    hint = f"Did you mean {close_names[0]}?" if close_names else f"Use one of {', '.join(PROVIDERS)}."
    raise UsageError(f"the provider {provider!r} is unknown", hint=hint)


def get_profile_name(runtime_name: str) -> str:
    """Return the name of an execution provider as used in profiles, or ONNX Runtime's name if
    profiles have no name for the provider."""
    return _PROVIDERS_BY_RUNTIME_NAME.get(runtime_name, runtime_name)


def is_nvidia_driver_available() -> bool:
    """Return True if the NVIDIA management library (NVML) can be loaded. Only the NVIDIA driver
    installs this library."""
    try:
        ctypes.CDLL(NVIDIA_DRIVER)
    except OSError:
        return False
    return True

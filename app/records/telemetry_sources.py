"""Names of the telemetry sources that are GPUs. The module loads no heavy library, so that the
window can name a GPU before its first paint."""

from __future__ import annotations

import re

AMD_GPU_PREFIX = "gpu-amd"
_GPU_SOURCE = re.compile(rf"(gpu|{AMD_GPU_PREFIX})\d+", re.ASCII)


def is_gpu_source(source: str) -> bool:
    """Return True if a telemetry source is a whole GPU of this machine: gpuN for NVIDIA, gpu-amdN
    for AMD. Parts such as MIG instances or processes, and GPUs of scraped pages, are not."""
    return _GPU_SOURCE.fullmatch(source) is not None

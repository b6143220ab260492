"""Names of the telemetry sources that are GPUs of this machine, by vendor. The module loads no heavy
library, so that the window can name a GPU before its first paint."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class GpuVendor(NamedTuple):
    """`prefix` is followed by the index of the GPU in the name of a source, and `title` in texts.

    GPUs of a vendor other than NVIDIA are read by the pollers that the function `create_pollers` of
    the module `app.telemetry.<id>` returns."""

    id: str
    prefix: str
    title: str


NVIDIA = GpuVendor("nvidia", "gpu", "GPU")
AMD = GpuVendor("amd", "gpu-amd", "AMD GPU")
GPU_VENDORS = (NVIDIA, AMD)


def name_gpu_source(index: int, vendor: GpuVendor = NVIDIA) -> str:
    """Return the name of a GPU's source, such as gpu0 or gpu-amd0."""
    return f"{vendor.prefix}{index}"


@lru_cache(maxsize=256)
def find_gpu_vendor(source: str) -> GpuVendor | None:
    """Return the vendor of a source that is a whole GPU of this machine, and None for every other
    source: parts such as MIG instances or processes, and GPUs of scraped pages, are not."""
    for vendor in GPU_VENDORS:
        if re.fullmatch(rf"{vendor.prefix}\d+", source, re.ASCII) is not None:
            return vendor
    return None


def is_gpu_source(source: str) -> bool:
    """Return True if a telemetry source is a whole GPU of this machine."""
    return find_gpu_vendor(source) is not None


def format_gpu_source(source: str) -> str:
    """Return the title of a GPU's source, such as "GPU 0" or "AMD GPU 0". Any other source keeps its
    name."""
    vendor = find_gpu_vendor(source)
    return source if vendor is None else f"{vendor.title} {source.removeprefix(vendor.prefix)}"

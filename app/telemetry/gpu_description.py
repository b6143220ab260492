"""What one GPU is: read once, when it is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from app.records.gpu import MigInstance
from app.records.result import Gpu

GIB = 2**30


def describe(index: int, handle: Any) -> Gpu:
    memory_bytes = or_none(total_bytes, handle)
    lowest_mw, highest_mw = or_none(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid_hash=uuid_hash(handle),
        memory_gib=None if memory_bytes is None else memory_bytes / GIB,
        power_limit_w=_watts(or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        power_limit_default_w=_watts(or_none(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        power_limit_lowest_w=_watts(lowest_mw),
        power_limit_highest_w=_watts(highest_mw),
        max_sm_clock_mhz=or_none(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
        max_memory_clock_mhz=or_none(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        pcie_generation=or_none(pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
        pcie_width=or_none(pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
        pcie_max_generation=or_none(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_max_width=or_none(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        vbios=or_none(pynvml.nvmlDeviceGetVbiosVersion, handle),
        driver=or_none(pynvml.nvmlSystemGetDriverVersion),
        cuda_driver=_cuda_version(or_none(pynvml.nvmlSystemGetCudaDriverVersion_v2)),
        mig=tuple(_describe_mig(at, instance) for at, instance in mig_handles(handle)),
    )


def mig_handles(handle: Any) -> Iterator[tuple[int, Any]]:
    """The MIG instances of a GPU, by the driver's index, which may leave some out; none where MIG is off."""
    for at in range(or_none(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = or_none(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, at)
        if instance is not None:
            yield at, instance


def memory(handle: Any) -> Any:
    """What the driver keeps for itself is not in `used`; drivers before 510 cannot tell it apart."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def total_bytes(handle: Any) -> int:
    return int(memory(handle).total)


def used_gib(handle: Any) -> float:
    return float(memory(handle).used / GIB)


def uuid_hash(handle: Any) -> str | None:
    """Tells one card from another without giving its serial number away."""
    uuid = or_none(pynvml.nvmlDeviceGetUUID, handle)
    return None if uuid is None else hashlib.sha256(uuid.encode()).hexdigest()[:12]


def or_none(ask: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def _describe_mig(index: int, handle: Any) -> MigInstance:
    memory_bytes = or_none(total_bytes, handle)
    return MigInstance(
        index=index,
        name=or_none(pynvml.nvmlDeviceGetName, handle) or "MIG instance",
        uuid_hash=uuid_hash(handle),
        memory_gib=None if memory_bytes is None else memory_bytes / GIB,
    )


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1_000


def _cuda_version(number: int | None) -> str | None:
    """13010 is CUDA 13.1."""
    return None if number is None else f"{number // 1_000}.{number % 1_000 // 10}"

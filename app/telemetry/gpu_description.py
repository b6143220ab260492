"""Static description of one GPU, read once when it is found, and the processes that use it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import psutil
import pynvml

from app.records.gpu import GpuProcess, MigInstance
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
        mig=tuple(_describe_mig(index, instance) for index, instance in mig_handles(handle)),
    )


def mig_handles(handle: Any) -> Iterator[tuple[int, Any]]:
    """Yield the MIG instances of a GPU by the driver's index, which may have gaps; none if MIG is off."""
    for index in range(or_none(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = or_none(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if instance is not None:
            yield index, instance


def memory(handle: Any) -> Any:
    """Return memory information. `used` excludes the driver's reserved memory; drivers before 510 cannot separate
    it."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def total_bytes(handle: Any) -> int:
    return int(memory(handle).total)


def used_gib(handle: Any) -> float:
    return float(memory(handle).used / GIB)


def uuid_hash(handle: Any) -> str | None:
    """Hash the UUID, which identifies a card without revealing its serial number."""
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
    """Format a CUDA version number: 13010 is CUDA 13.1."""
    return None if number is None else f"{number // 1_000}.{number % 1_000 // 10}"


def processes_on(gpu: int, handle: Any) -> Iterator[GpuProcess]:
    """Yield the processes that compute; raises NVML's errors."""
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        yield GpuProcess(gpu, process.pid, None if process.usedGpuMemory is None else process.usedGpuMemory / GIB)


def foreign_processes(processes: Iterable[GpuProcess], ours: Collection[int]) -> tuple[GpuProcess, ...]:
    """Return the processes that are not in `ours`, nor children of those.

    A process that is not visible here is not foreign: it has ended, or its number is from outside this container, where
    our own processes may have such numbers too.
    """
    return tuple(process for process in processes if _is_foreign(process.pid, ours))


def _is_foreign(pid: int, ours: Collection[int]) -> bool:
    if pid in ours:
        return False
    try:
        return all(parent.pid not in ours for parent in psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it belongs to another user
        return True

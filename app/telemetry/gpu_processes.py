"""Who else uses a GPU."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import psutil
import pynvml

from app.records.gpu import GpuProcess
from app.telemetry.gpu_description import GIB


def processes_on(gpu: int, handle: Any) -> Iterator[GpuProcess]:
    """Those that compute; raises what NVML raises."""
    for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        yield GpuProcess(gpu, one.pid, None if one.usedGpuMemory is None else one.usedGpuMemory / GIB)


def foreign_processes(processes: Iterable[GpuProcess], ours: Collection[int]) -> tuple[GpuProcess, ...]:
    """Those that are none of `ours`, nor begun by one of them.

    A process that is not here counts as none of both: it has ended, or its number is from outside this container, where
    our own may have such numbers too.
    """
    return tuple(one for one in processes if _is_foreign(one.pid, ours))


def _is_foreign(pid: int, ours: Collection[int]) -> bool:
    if pid in ours:
        return False
    try:
        return all(parent.pid not in ours for parent in psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's
        return True

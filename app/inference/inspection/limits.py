"""Resource limits for inspecting a model."""

from __future__ import annotations

import sys
from pathlib import Path

MIB = 2**20
_BASE_MEMORY_MIB = 320
_FILE_COPIES = 4
"""Number of copies of the file in memory: as bytes, as protobuf messages, and two more for models
passed within onnx without weights."""

_BASE_CPU_TIME_S = 1.0
_CPU_TIME_PER_MIB_S = 4.0
_MAX_CPU_TIME_S = 20.0
WALL_TIME_LIMIT_S = 30.0
"""Time limit in s for a process that blocks without using CPU time, such as on a disconnected
network drive."""


def compute_cpu_time_limit_s(file_bytes: int) -> float:
    """Return the CPU time limit in s for a file of the given size. A small file that takes longer
    is probably malicious."""
    return min(_BASE_CPU_TIME_S + _CPU_TIME_PER_MIB_S * file_bytes / MIB, _MAX_CPU_TIME_S)


def limit_this_process(file_bytes: int) -> None:
    """Set resource limits on this process: memory on Linux, and CPU time on systems with signals.

    On Windows, only the timeout of the parent applies. Beyond the memory limit, the process raises
    MemoryError or aborts; beyond the time limit, it is killed by SIGPROF, even in native code."""
    if sys.platform == "win32":
        return
    import resource
    import signal

    if sys.platform == "linux":
        page_count = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit_bytes = page_count * resource.getpagesize() + _BASE_MEMORY_MIB * MIB + _FILE_COPIES * file_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, compute_cpu_time_limit_s(file_bytes))

"""Resource limits of the child process that inspects a model."""

from __future__ import annotations

import sys
from pathlib import Path

MIB = 2**20
COSTS_OPTION = "--costs"
"""Argument of the child process that requests the costs of a decoder."""
TOKENIZER_OPTION = "--tokenizer"
"""Argument of the child process that requests the trial of a tokenizer."""
_BASE_MEMORY_MIB = 320
_FILE_COPIES = 4
"""Number of copies of the file that the memory limit allows: raw bytes, protobuf messages, and two
copies that the `onnx` package makes of the model without its weights."""

_BASE_CPU_TIME_S = 1.0
_CPU_TIME_PER_MIB_S = 4.0
_MAX_CPU_TIME_S = 20.0
WALL_TIME_LIMIT_S = 30.0
"""Wall time limit of the inspection in s. It applies to a process that blocks without using CPU
time, such as on a disconnected network drive."""


def compute_cpu_time_limit_s(file_bytes: int) -> float:
    """Return the CPU time limit in s for a file of the given size. A small file that exceeds its
    limit is probably malicious."""
    return min(_BASE_CPU_TIME_S + _CPU_TIME_PER_MIB_S * file_bytes / MIB, _MAX_CPU_TIME_S)


def limit_this_process(file_bytes: int) -> None:
    """Set resource limits on this process: memory on Linux, and CPU time on Linux and macOS.

    On Windows, only the timeout of the parent process applies. Beyond the memory limit, this
    process raises MemoryError or aborts. Beyond the CPU time limit, it is killed by SIGPROF, even
    in native code."""
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

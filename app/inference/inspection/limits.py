"""Limits on the resources that inspecting a model may take."""

from __future__ import annotations

import sys
from pathlib import Path

MIB = 2**20
_MEMORY_MIB = 320
_FILE_COPIES = 4
"""Copies of the file in memory: as bytes, as records, and twice more for what onnx passes on without the weights."""

_SECONDS = 1.0
_SECONDS_PER_MIB = 4.0
_MAX_SECONDS = 20.0
WALL_TIME_LIMIT_S = 30.0
"""Time limit in seconds for a process that waits without computing, for example on a lost network drive."""


def cpu_time_limit_s(file_bytes: int) -> float:
    """Return the CPU time limit for a file of this size: a small file that takes longer was made to take long."""
    return min(_SECONDS + _SECONDS_PER_MIB * file_bytes / MIB, _MAX_SECONDS)


def limit_this_process(file_bytes: int) -> None:
    """Limit this process from now on: memory on Linux, and CPU time wherever there are signals.

    On Windows only the parent's timeout applies. Beyond its memory limit the process raises MemoryError or aborts;
    beyond its time limit it is killed by SIGPROF, even in native code.
    """
    if sys.platform == "win32":
        return
    import resource
    import signal

    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + _MEMORY_MIB * MIB + _FILE_COPIES * file_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, cpu_time_limit_s(file_bytes))

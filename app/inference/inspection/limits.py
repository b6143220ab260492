"""The most that looking at a model may take of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

MIB = 2**20
_MEMORY_MIB = 320
_FILE_COPIES = 4
"""The file as bytes and as records, and as much again for what onnx passes on without the weights."""

_SECONDS = 1.0
_SECONDS_PER_MIB = 4.0
_LONGEST_S = 20.0
WALL_S = 30.0
"""A limit for what waits without working, such as a file on a network drive that is gone."""


def processor_seconds(file_bytes: int) -> float:
    """For a file of this size: a small one that takes longer is made to take long."""
    return min(_SECONDS + _SECONDS_PER_MIB * file_bytes / MIB, _LONGEST_S)


def limit_this_process(file_bytes: int) -> None:
    """From now on: memory where Linux limits it, processor time where there are signals; Windows has the parent's wait.

    Past its memory the process sees MemoryError or aborts; past its time it is killed by SIGPROF, in native code too.
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
    signal.setitimer(signal.ITIMER_PROF, processor_seconds(file_bytes))
